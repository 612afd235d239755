"""What pip installs as commands: ``run_glue_tensorized FLAG...`` and ``tensorized-adapters SCRIPT FLAG...``.

The scripts are files that a checkout runs by their paths, and installed they are the same files, beside the package.
"""

import runpy
import sys
from pathlib import Path

from ..errors import printable

_ROOT = Path(__file__).resolve().parent.parent
_FOLDERS = (_ROOT / "tensorized_adapters_scripts", _ROOT / "scripts")  # installed, and in a checkout


def run_glue() -> None:
    """The run script, with the command line as it is."""
    _run(_ROOT / "run_glue_tensorized.py")


def main() -> None:
    """Run the script that the first word names on the words after it; by itself list the scripts. Exits with 2 at
    another word."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    scripts = {path.stem: path for path in sorted(folder.glob("*.py")) if '__name__ == "__main__"' in path.read_text()}
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("-h", "--help"):
        print("usage: tensorized-adapters SCRIPT FLAG..., and SCRIPT --help for its flags", *scripts, sep="\n  ")
        return
    if word not in scripts:
        known = ", ".join(scripts)
        print(f"error: no script {printable(word)[:80]}; there are {known}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    sys.path.insert(0, str(folder))  # as Python does for a file: they import each other by their names
    _run(scripts[word])


def _run(path: Path) -> None:
    sys.argv[0] = str(path)
    runpy.run_path(str(path), run_name="__main__")

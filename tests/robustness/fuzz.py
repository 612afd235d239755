"""Runs the main job on hostile arguments, data files, adapters, checkpoints and JSON files, drawn by hypothesis.

Whatever it is given, a command ends with exit code 0, 1 or 2, says in one line why if it is not 0, writes nothing
outside of its folders, unpickles nothing, runs no code of a repository and opens no connection. This also holds for
adapters and checkpoints whose checksums were recomputed. Each cause of a failure is shown once, with its shortest
case, and the exit code is 1 then. Needs hypothesis (requirements.txt).
"""

import argparse
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from tensorized_adapters.cli.parser import ScriptParser, names_among, nonnegative_integer, positive_integer
from tensorized_adapters.errors import UsageError, one_line
from tensorized_adapters.runtime.exits import run_program

_KINDS = ("arguments", "data", "adapters", "checkpoints", "json")


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise UsageError("hypothesis is missing: pip install -r requirements.txt") from None
    if arguments.keep and arguments.keep.exists():
        raise UsageError(f"--keep {arguments.keep} exists; name a new folder")
    from forked_run import preload

    preload()
    began, kinds = time.time(), arguments.only or _KINDS
    with tempfile.TemporaryDirectory(prefix="fuzz_", ignore_cleanup_errors=True) as folder:
        folder = arguments.keep or Path(folder)
        failures, done = run_cases(folder, kinds, arguments.cases, arguments.seed, keep=arguments.keep is not None)
    for cause, (times, shown) in sorted(failures.items(), key=lambda entry: -entry[1][0]):
        print(f"\n{times} x {one_line(cause)}\n{shown}")
    counts = ", ".join(f"{name} {number}" for name, number in done.items())
    print(f"\n{done.total()} cases ({counts}) in {time.time() - began:.0f} s: {len(failures)} causes of failure")
    return int(bool(failures))


def run_cases(
    folder: Path, kinds: tuple[str, ...], cases: int, seed: int, keep: bool = False
) -> tuple[dict[str, tuple[int, str]], Counter]:
    """Run about ``cases`` cases, as many of each kind; with ``keep``, the folders of those that fail stay.

    Returns:
        How often each cause of failure was seen, with its shortest case; how many cases of each kind were run.
    """
    import hypothesis
    from fuzzing.cases import flaw_of, make_materials
    from fuzzing.strategies import KINDS

    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    materials = make_materials(folder / "materials")
    failures: dict[str, tuple[int, str]] = {}
    done: Counter = Counter()

    def judge(case: Any) -> None:
        done[case.kind] += 1
        path = folder / f"{case.kind}-{done[case.kind]}"
        flaw = flaw_of(case, materials, path)
        shutil.rmtree(path, ignore_errors=True)
        if flaw:
            if keep:  # as it was before it was run
                case.write(path)
            cause, shown = f"{case.kind}: {_cause(flaw, path)}", f"{path.name}: {case.shown(materials)}\n  -> {flaw}"
            times, shortest = failures.get(cause, (0, shown))
            failures[cause] = (times + 1, min(shown, shortest, key=len))

    for kind in kinds:
        options = hypothesis.settings(
            max_examples=max(1, cases // len(kinds)),
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],  # nothing is shrunk: a run must see all causes, not one
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.seed(seed)(options(hypothesis.given(KINDS[kind](materials))(judge)))()
    return failures, done


def _cause(flaw: str, path: Path) -> str:
    """Return what several cases of one cause have in common."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", flaw.replace(str(path), "."))
    return re.sub(r"\d+", "0", text)[:160]


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument("--cases", type=positive_integer, default=2000, help="about how many (default: 2000)")
    parser.add_argument("--only", type=names_among(_KINDS), metavar="KIND,...", help=f"of {', '.join(_KINDS)}")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="a new folder where what the failing cases need stays"
    )
    parser.add_argument("--seed", type=nonnegative_integer, default=0, help="of what is drawn (default: 0)")
    return parser


if __name__ == "__main__":
    run_program(main)

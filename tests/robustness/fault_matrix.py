"""Disturbs a small run in many ways, starts it again, and compares its bits.

Each trial is a fault (a kill, a signal, a full disk, a damaged file, ...) in a process of the main job, and then the
same command again: its adapter's tensors, metrics and step losses must be those of an undisturbed run, and whatever
stops must say why in one line. Exit code 1 if anything was lost, or ended without its line or with a traceback.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from tensorized_adapters.cli.parser import ScriptParser, names_among, nonnegative_integer, positive_integer
from tensorized_adapters.errors import one_line
from tensorized_adapters.runtime.exits import run_program

_SEALS_OF_HALF = 3


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="fault_matrix_", ignore_cleanup_errors=True) as folder:
        verdicts, undisturbed = run_trials(Path(folder).resolve(), arguments)
    _print(verdicts, time.time() - began)
    if arguments.output:
        record = {"seed": arguments.seed, "undisturbed": undisturbed, "trials": [asdict(v) for v in verdicts]}
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(v.lost or v.untidy or v.tracebacks for v in verdicts))


def run_trials(folder: Path, arguments: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    """Run all trials in processes that are forked from this one once it has imported what they need.

    Returns:
        The verdicts (faults.trial.Verdict), and what is known of the undisturbed run.
    """
    from faults.kinds import KINDS
    from forked_run import preload

    os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")
    preload()
    fixture = _fixture(folder)
    kinds = arguments.only or tuple(KINDS)
    total = sum(KINDS[kind][1] for kind in kinds)
    counts = {kind: max(1, round(KINDS[kind][1] * (arguments.trials or total) / total)) for kind in kinds}
    points = [(kind, number, counts[kind]) for kind in kinds for number in range(counts[kind])]
    print(
        f"{len(points)} trials; the undisturbed run takes {fixture.seconds:.2f} s and changes files "
        f"{fixture.operations} times; a small disk "
        f"{'is mounted' if fixture.mounts else 'cannot be mounted here: RLIMIT_FSIZE stands for it'}",
        flush=True,
    )
    with ProcessPoolExecutor(arguments.at_a_time, get_context("fork")) as pool:
        futures = [pool.submit(_tried, *point, fixture, arguments.seed) for point in points]
        verdicts = [future.result() for future in futures]
    known = {"seconds": fixture.seconds, "changes_of_files": fixture.operations, "bytes": sum(fixture.bytes[1:])}
    return verdicts, known


def _fixture(folder: Path) -> Any:
    """Make the inputs, measure a run that nothing disturbs, and kill another one half way."""
    from faults.fixture import Fixture, make_inputs, result_of
    from faults.injections import counting, killed_after_seals
    from faults.trial import can_mount
    from forked_run import Child

    fixture = Fixture(folder, make_inputs(folder / "inputs"), mounts=can_mount(folder / "mount"))
    counter, complete, half = folder / "count", folder / "undisturbed", folder / "half"
    runs = [
        Child(fixture.inputs.words(complete), folder / "log", counting(complete, counter)).wait(),
        Child(fixture.inputs.words(half), folder / "log", killed_after_seals(half, _SEALS_OF_HALF)).wait(),
    ]
    if runs[0].code or runs[1].code != -9:
        raise SystemExit(f"failed: the undisturbed run: {one_line(runs[0].err or runs[1].err)}")
    fixture.undisturbed, fixture.seconds = result_of(complete), runs[0].seconds
    fixture.operations, fixture.half = counter.stat().st_size, half
    sizes = [path.stat().st_size for path in complete.rglob("*") if path.is_file()]
    fixture.bytes = (max(sizes), sum(sizes))
    return fixture


def _tried(kind: str, number: int, count_of_kind: int, fixture: Any, seed: int) -> Any:
    """Run a trial and return its verdict. A fault in the trial itself is a loss too, and does not end the others."""
    from faults.kinds import KINDS
    from faults.trial import Trial

    trial = Trial(kind, number, count_of_kind, fixture, seed)
    try:
        KINDS[kind][0](trial)
    except Exception as error:
        trial.verdict.lost.append(f"the trial itself broke: {type(error).__name__}: {error}")
    return trial.verdict


def _print(verdicts: Iterable[Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(title=f"{len(verdicts)} trials in {seconds:.0f} s", title_justify="left")
    table.add_column("kind")
    for name in ("trials", "bits equal", "one-line stops", "lost", "untidy", "tracebacks"):
        table.add_column(name, justify="right")
    for kind in dict.fromkeys(verdict.kind for verdict in verdicts):
        of_kind = [verdict for verdict in verdicts if verdict.kind == kind]
        table.add_row(kind, *map(str, _sums(of_kind)))
    table.add_section()
    table.add_row("all", *map(str, _sums(verdicts)))
    console.print(table)
    for verdict in verdicts:
        for word, reasons in (("lost", verdict.lost), ("untidy", verdict.untidy)):
            for reason in reasons:
                console.print(f"{word}: {verdict.kind}: {verdict.what}: {reason}", soft_wrap=True, markup=False)


def _sums(verdicts: list[Any]) -> tuple[int, ...]:
    return (
        len(verdicts),
        sum(verdict.equal for verdict in verdicts),
        sum(verdict.stops for verdict in verdicts),
        sum(bool(verdict.lost) for verdict in verdicts),
        sum(bool(verdict.untidy) for verdict in verdicts),
        sum(verdict.tracebacks for verdict in verdicts),
    )


def _parser() -> argparse.ArgumentParser:
    from faults.kinds import KINDS

    parser = ScriptParser(__doc__)
    total = sum(number for _, number in KINDS.values())
    parser.add_argument(
        "--trials", type=positive_integer, help=f"about how many, spread over the kinds (default: {total})"
    )
    parser.add_argument("--only", type=names_among(KINDS), metavar="KIND,...", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=nonnegative_integer, default=0, help="of the random moments (default: 0)")
    parser.add_argument("--at_a_time", type=positive_integer, default=2, help="trials at a time (default: 2)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="every trial and its processes as JSON")
    return parser


if __name__ == "__main__":
    run_program(main)

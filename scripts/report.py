"""Tables and figures from run records (run.json) at any depth below RESULTS.

Writes into --output_dir: report.html (everything, in one file), tables.md, tables.tex, scores.csv, parameters.csv,
contribution.csv where runs measured what adapters account for, and figures/ as PNG and SVG. Scores are means over
seeds of runs that differ in nothing else; what is missing is listed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tensorized_adapters import entry

if __name__ == "__main__":
    entry.begin()

import argparse

from command_line import ScriptParser  # noqa: E402

from tensorized_adapters.endings import run, tell  # noqa: E402
from tensorized_adapters.errors import UsageError, need  # noqa: E402


def main(argv: list[str]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        need("matplotlib", "report", "a report")
        from reporting.summaries import mean_table
        from reporting.tables import markdown, score_table
        from reporting.write import write_report

        results = write_report(arguments.results, arguments.output_dir, arguments.published)
    except UsageError as error:
        return tell("error", error, 2)
    for table in (score_table(results, "last", arguments.published), mean_table(results)):
        if table:
            print(markdown(table))
    for line in results.missing:
        print(f"missing: {line}")
    for line in results.notes:
        print(f"note: {line}")
    print(f"report: {arguments.output_dir / 'report.html'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ScriptParser(__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="run.json files, or folders")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the report is written")
    parser.add_argument("--published", action="store_true", help="the published figures beside ours")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))

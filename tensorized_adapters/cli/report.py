"""Tables and figures from run records (run.json) at any depth below RESULTS.

Writes into --output_dir: report.html (everything, in one file), tables.md, tables.tex, scores.csv, parameters.csv,
contribution.csv if runs measured the contribution of their adapters, and figures/ as PNG and SVG. Scores are means
over seeds of runs that differ in nothing else. Missing runs, and records that cannot be read, are listed.
"""

from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser
from tensorized_adapters.errors import need
from tensorized_adapters.reporting import PACKAGES


def main(argv: list[str]) -> int:
    """Write the report; raise UsageError if input is refused."""
    parser = ScriptParser(__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="run.json files, or folders")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the report is written")
    parser.add_argument("--published", action="store_true", help="show the published figures beside ours")
    arguments = parser.parse_args(argv)
    for package in PACKAGES:
        need(package, "report", "a report")
    from tensorized_adapters.reporting.summaries import mean_table
    from tensorized_adapters.reporting.tables import score_table
    from tensorized_adapters.reporting.write import markdown, write_report

    results = write_report(arguments.results, arguments.output_dir, arguments.published)
    for table in (score_table(results, "last", arguments.published), mean_table(results)):
        if table:
            print(markdown(table))
    for line in results.missing:
        print(f"missing: {line}")
    for line in results.notes:
        print(f"note: {line}")
    print(f"report: {arguments.output_dir / 'report.html'}")
    return 0

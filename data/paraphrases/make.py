"""Write the packaged paraphrase data set: pairs of English sentences with and without the same meaning.

The same seed always gives the same files. Nothing but Python is needed.
"""

import csv
from pathlib import Path

from pairs import make_data

from tensorized_adapters.cli.parser import ScriptParser, nonnegative_integer
from tensorized_adapters.runtime.exits import run_program


def main(argv: list[str]) -> int:
    """Write the three files."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("data/paraphrases"))
    parser.add_argument("--seed", type=nonnegative_integer, default=0)
    args = parser.parse_args(argv)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, rows in make_data(args.seed).items():
        with open(args.output_dir / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["sentence1", "sentence2", "label", "idx"])
            writer.writerows((one, two, label, index) for index, (one, two, label, _) in enumerate(rows))
    return 0


if __name__ == "__main__":
    run_program(main)

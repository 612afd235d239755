"""Write the packaged paraphrase data set: pairs of English sentences with and without the same meaning.

The same seed always gives the same files. Nothing but Python is needed.
"""

import argparse
import csv
from pathlib import Path

from paraphrases.pairs import make_data


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=Path("data/paraphrases"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, rows in make_data(args.seed).items():
        with open(args.output_dir / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["sentence1", "sentence2", "label", "idx"])
            writer.writerows((one, two, label, index) for index, (one, two, label, _) in enumerate(rows))


if __name__ == "__main__":
    main()

"""Run the command line of predict in this process, and read its output and that of evaluations."""

import csv
import io

from tensorized_adapters.cli import predict as script
from tensorized_adapters.runtime import exits


def table(text):
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def evaluated(folders, kind):
    return table((folders / kind / "eval_predictions.tsv").read_text())


def predicted(capfd, words, code=0):
    """Standard output and error of the script."""
    capfd.readouterr()
    assert exits.run(script.main, [str(word) for word in words]) == code
    return capfd.readouterr()


def refused_by_script(capfd, *words):
    out, error = predicted(capfd, words, 2)
    assert error.startswith("error: ") and error.count("\n") == 1
    return error

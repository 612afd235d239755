"""The commands of docs/data.md run with another model on small files."""

import csv
import gzip
import json
import re
import shlex
from pathlib import Path

import pytest
from helpers import pairs

from run_glue_tensorized import main
from tensorized_adapters.cli.predict import main as predict

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def beside_the_files(tmp_path, monkeypatch):
    """A working folder with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    rows = pairs(40, 1)
    for name in ("train.csv", "dev.csv"):
        with open(name, "w", newline="") as file:
            csv.writer(file).writerows([("question", "answer", "verdict"), *(row[:3] for row in rows)])
    with gzip.open("tickets.csv.gz", "wt", newline="") as file:
        lines = [("house", a, b, ("red", "blue")[label]) for a, b, label, _ in rows]
        csv.writer(file).writerows([("product", "title", "body", "team"), *lines])
    topics = [{"text": a, "label": sorted({"cat", "dog"} & set(a.split()))} for a, *_ in rows]
    Path("topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in topics))


def test_the_commands_run(beside_the_files, base):
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    done = []
    for program, *words in map(shlex.split, lines):
        if words[0].endswith("run_glue_tensorized.py"):
            words[words.index("bert-base-cased")] = str(base)
            assert main([*words[1:], "--num_train_epochs", "1", "--disable_tqdm", "True", "--cpu_threads", "1"]) == 0
            done.append(words[-1])
        elif program.endswith("tensorized-adapters"):
            assert words[0] == "predict" and predict(words[1:]) == 0
            done.append(words[-1])
    assert done == ["runs/own", "runs/tickets", "runs/topics", "topics_predicted.tsv"]
    notes = json.loads(Path("runs/tickets/adapter/adapter_config.json").read_text())["notes"]
    assert notes["texts"] == ["product", "title", "body"] and notes["text_column_delimiter"] == " | "
    results = json.loads(Path("runs/topics/all_results.json").read_text())
    assert results["train_samples"] == 30 and {"eval_f1_micro", "eval_f1_macro"} <= set(results)
    table = Path("topics_predicted.tsv").read_text().splitlines()
    assert len(table) == 41 and table[0] == "index\tprediction\tprobability_of_cat\tprobability_of_dog"

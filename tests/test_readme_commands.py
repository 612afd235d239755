"""Commands of docs/ run as they stand, on the packaged data, with a tiny model in MiniLM's stead."""

import json

import pytest
from test_readme import ROOT, RUN_SCRIPT, beside_the_data, blocks, commands  # noqa: F401 (a fixture)

from run_glue_tensorized import main

FOUND = [
    words
    for name in ("metrics", "methods")
    for block in blocks(ROOT / "docs" / f"{name}.md")
    for words in commands(block)
]
RUNS = [
    words
    for words in FOUND
    if len(words) > 2 and RUN_SCRIPT.fullmatch(words[1]) and "data/paraphrases/train.csv" in words
]


@pytest.mark.parametrize("words", RUNS, ids=lambda words: words[-1])
@pytest.mark.usefixtures("beside_the_data")
def test_the_commands_run(words, base):
    words = [str(base) if "tensorized_adapters.embedded" in word else word for word in words[2:]]
    assert main(words) == 0
    with open(f"{words[-1]}/run.json") as file:
        record = json.load(file)
    assert record["status"] == "finished"
    expected = {
        "runs/metrics": "eval_roc_auc",
        "runs/weighted": "eval_f1_macro",
        "runs/early": "eval_accuracy",
        "runs/vera": "eval_accuracy",
    }
    assert expected[words[-1]] in record["metrics"]
    if words[-1] == "runs/weighted":
        assert record["class_weights"] == {"0": 1, "1": 5}
    if words[-1] == "runs/early":
        assert record["stopped_early_at_step"] < 32


def test_every_section_has_a_command():
    assert [words[-1] for words in RUNS] == ["runs/metrics", "runs/weighted", "runs/early", "runs/vera"]

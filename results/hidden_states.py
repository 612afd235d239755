"""How much the hidden states of trained models differ between tokens, layer by layer: what a collapse looks like.

  python results/hidden_states.py runs/mrpc runs/collapsed [--model_name_or_path FOLDER]

The spread of a layer is the mean distance of its hidden states from their common mean, divided by their mean norm. The
states are those of all tokens of 64 pairs of data/paraphrases, or of their first texts if a run was trained on single
texts. In a model that has collapsed they are nearly equal, so that the classifier cannot tell one input from another.
"""

import csv
from pathlib import Path

import torch
from torch import Tensor

from tensorized_adapters import adapters_off, load_pipeline, unmerge_adapters
from tensorized_adapters.adaptation.parameters import adaptation_of
from tensorized_adapters.cli.parser import ScriptParser
from tensorized_adapters.runtime.console import console, numbers_table
from tensorized_adapters.runtime.exits import run_program

PAIRS = 64
_PAIRS_FILE = Path(__file__).parents[1] / "data" / "paraphrases" / "validation.csv"


def main(argv: list[str]) -> int:
    """Print a table with a line a layer, and columns for the model without adapters and for each run."""
    parser = ScriptParser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, all of one pre-trained model")
    parser.add_argument("--model_name_or_path", help="where the pre-trained model is now")
    arguments = parser.parse_args(argv)
    columns = {}
    for run in arguments.runs:
        plain, columns[run.name] = spreads_of(run, arguments.model_name_or_path)
        columns = {"no adapters": plain} | columns
    table = numbers_table("Spread of the hidden states", "layer", *columns)
    for layer, spreads in enumerate(zip(*columns.values())):
        table.add_row(str(layer or "embeddings"), *(f"{spread:.3f}" for spread in spreads))
    console().print(table)
    return 0


@torch.no_grad()
def spreads_of(run: Path, model_name_or_path: str | None) -> tuple[list[float], list[float]]:
    """Return the spread of the embeddings and of each layer, without and with the run's adapters."""
    pipeline = load_pipeline(run, model_name_or_path, device="cpu")
    model = pipeline.model
    with open(_PAIRS_FILE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:PAIRS]
    texts = [[row[name] for row in rows] for name in ("sentence1", "sentence2")]
    if pipeline.columns and len(pipeline.columns.texts) == 1:
        del texts[1]
    inputs = pipeline.tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
    tokens = inputs["attention_mask"].bool()
    adapted = [spread(states[tokens]) for states in model(**inputs, output_hidden_states=True).hidden_states]
    if adaptation_of(model).merged:
        unmerge_adapters(model)
    with adapters_off(model):
        plain = [spread(states[tokens]) for states in model(**inputs, output_hidden_states=True).hidden_states]
    return plain, adapted


def spread(states: Tensor) -> float:
    """Return the mean distance of (tokens x hidden) states from their mean, divided by their mean norm."""
    return ((states - states.mean(0)).norm(dim=-1).mean() / states.norm(dim=-1).mean()).item()


if __name__ == "__main__":
    run_program(main)

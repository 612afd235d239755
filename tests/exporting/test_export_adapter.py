"""scripts/export_adapter.py: each kind of output, run without this package, gives the adapter's logits."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import CONFIGS, save_base, tiny_config, trained_a_little
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tensorized_adapters import add_adapters, load_pipeline, save_adapter

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))
import export_adapter  # noqa: E402

TEXTS = ["the cat saw a dog", "red", "the old woman found a new house and not the river"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A base, and adapters of several methods on it that were trained a little."""
    root = tmp_path_factory.mktemp("export")
    base = save_base(root / "base", config=tiny_config(initializer_range=0.3))
    for key in ("joint", "parallel", "weights", "dense", "diff_pruning"):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base)
        save_adapter(trained_a_little(add_adapters(model, CONFIGS[key])), root / key, {"max_seq_length": 32})
    return root


def expected(places, key):
    """Token ids, and the logits of the adapter on them."""
    pipeline = load_pipeline(places / key)
    inputs = pipeline.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return inputs, pipeline.model(**inputs).logits


def export(places, key, out, to):
    words = ["--adapter_path", str(places / key), "--output_dir", str(out), "--to", to]
    assert export_adapter.main(words) == 0
    return out


def rows_of(inputs, number):
    return {name: values[:number] for name, values in inputs.items()}


@pytest.mark.parametrize("key", ["joint", "parallel", "diff_pruning"])
def test_a_program_of_torch_export_takes_any_batch_and_length(places, tmp_path, key):
    folder = export(places, key, tmp_path / "program", "pt2")
    program = torch.export.load(folder / "model.pt2").module()
    inputs, logits = expected(places, key)
    assert AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True).input_ids == inputs["input_ids"].tolist()
    for number in (3, 1):
        given = rows_of(inputs, number)
        torch.testing.assert_close(program(*given.values()), logits[:number], rtol=0, atol=1e-5)
    assert not any("tltorch" in line or "tensorized" in line for line in str(program.graph).splitlines())

"""The README's Python examples, word for word, in their order."""

import re
from pathlib import Path

import torch

from tensorized_adapters.backbone.architectures import ARCHITECTURES, BERT

ROOT = Path(__file__).parent.parent


def examples():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_examples_run_as_they_stand_one_after_the_other(tmp_path, monkeypatch):
    text = "\n".join(examples())
    assert len(examples()) == 7 and "optimizer.step()" in text and "Trainer(" in text and "adapters_off(" in text
    assert "unmerge_adapters(model)" in text and "register_architecture(" in text and "adapter_names=" in text
    assert "PeftModel.from_pretrained(" in text
    monkeypatch.setitem(ARCHITECTURES, "roberta-prelayernorm", BERT)  # so that the example's row is gone afterwards
    del ARCHITECTURES["roberta-prelayernorm"]
    (tmp_path / "data").symlink_to(ROOT / "data")  # the examples' paths are relative to the repository
    monkeypatch.chdir(tmp_path)
    space = {}  # what they have defined so far; one goes on from the other
    for example in examples():
        exec(example, space)
        assert torch.isfinite(space["loss"])
        assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size < 150_000
    assert not hasattr(space["model"], "adaptation")  # the one before the last took them out
    assert space["own"].adaptation.config.describe() == "cp-2"

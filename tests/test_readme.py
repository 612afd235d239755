"""The README's Python examples, word for word, in their order."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


def examples():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def space():
    """What the examples have defined so far; one goes on from the other."""
    return {}


@pytest.mark.parametrize("number", range(len(examples())))
def test_an_example_runs_as_it_stands(number, space, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "readme"
    if not number:
        folder.mkdir()
        (folder / "data").symlink_to(ROOT / "data")  # the examples' paths are relative to the repository
    monkeypatch.chdir(folder)
    exec(examples()[number], space)
    assert torch.isfinite(space["loss"])
    assert (folder / "adapter" / "adapter_model.safetensors").stat().st_size < 150_000


def test_the_examples_are_those_that_the_readme_promises(space):
    text = "\n".join(examples())
    assert len(examples()) == 4 and "optimizer.step()" in text and "Trainer(" in text and "adapters_off(" in text
    assert "unmerge_adapters(model)" in text
    assert not hasattr(space["model"], "adaptation")  # the last example took them out

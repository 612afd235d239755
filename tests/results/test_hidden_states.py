"""The spread of hidden states: 0 for equal ones, and that of the plain model where the adapters are switched off."""

import re

import hidden_states as script
import pytest
import torch
from helpers import argv
from helpers import main as run_glue


def test_the_spread_is_relative_and_zero_for_equal_states():
    states = torch.tensor([[3.0, 4.0], [-3.0, -4.0]])
    assert script.spread(states) == pytest.approx(1)
    assert script.spread(10 * states) == pytest.approx(1)
    assert script.spread(states + 100) == pytest.approx(5 / 141.4, rel=1e-2)
    assert script.spread(torch.ones(4, 3)) == 0


def test_each_layer_has_a_line_without_and_with_adapters(base, files, tmp_path, capsys):
    flags = {"model_name_or_path": base, "task_name": "mrpc", "do_train": True, "train_file": files["train"]}
    flags |= {"output_dir": tmp_path / "run", "method": "bitfit", "learning_rate": 0.1, "num_train_epochs": 1}
    assert run_glue(argv(flags | {"disable_tqdm": True, "cpu_threads": 1})) == 0
    capsys.readouterr()
    assert script.main([str(tmp_path / "run")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if re.search(r"\d\.\d{3}", line)]
    assert "embeddings" in lines[0] and len(lines) == 3  # and two layers
    assert all(0 < float(number) < 2 for line in lines for number in re.findall(r"\d\.\d{3}", line))
    without, adapted = re.findall(r"\d\.\d{3}", lines[-1])
    assert without != adapted

"""The records that a report is made of: a real one, and changed copies of it."""

import pytest
from helpers import argv, record_of
from records import put

from run_glue_tensorized import main as run
from tensorized_adapters.reporting import write


@pytest.fixture(scope="package")
def real(base, files, tmp_path_factory):
    """The record of a run of the main job."""
    out = tmp_path_factory.mktemp("report") / "run"
    flags = {"model_name_or_path": base, "task_name": "mrpc", "do_train": True, "do_eval": True, "disable_tqdm": True}
    flags |= {"train_file": files["train"], "validation_file": files["validation"], "output_dir": out, "seed": 1}
    flags |= {"adapter_projection_type": "cp", "tensorized_layer_rank": 2, "adapter_size": 8, "num_train_epochs": 2}
    assert run(argv(flags)) == 0
    return record_of(out)


@pytest.fixture
def results(real, tmp_path):
    """cp-2 with three seeds and tt-2 with one on two tasks, and a baseline on one of them."""
    root = tmp_path / "results"
    for seed, score in enumerate((0.8, 0.83, 0.85), 1):
        put(root / f"a/b/cp{seed}", real, score, seed)
    put(root / "cp-rte", real, 0.6, task="rte")
    put(root / "tt", real, 0.82, adapter_projection_type="tt", trained=900)
    put(root / "tt-rte", real, 0.7, task="rte", adapter_projection_type="tt", trained=900)
    put(root / "cp4", real, 0.81, tensorized_layer_rank=4, trained=1500)
    return root


@pytest.fixture
def undrawn(monkeypatch):
    """Reports with empty figure files, for tests that do not look at these: drawing takes most of a report's time."""
    monkeypatch.setattr(write, "as_bytes", lambda figure, kind: b"<svg></svg>")

"""Tiny local models and files, without network and GLUE data. They are built once a session and only read."""

import atexit
import gc
import os
import shutil
import tempfile
from types import SimpleNamespace

# Hide GPUs, since tests fork and compare a CPU's bits. Only test_gpu.py shows them again, to its commands.
os.environ.setdefault("TESTS_MAY_SEE_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="tensorized_adapters_tests_")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import accelerate.utils.memory
import pytest
import torch
from architecture_table import (  # noqa: F401 (hooks)
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_terminal_summary,
)
from helpers import pairs, save_base, tiny_config, write_rows

from tensorized_adapters.runtime import processor

torch.set_num_threads(1)
processor.get_capabilities = dict  # a run's notes must not depend on the machine's processor

# Waiting for the disk, which guards against power cuts alone, and collecting garbage take a third of a tiny run.
os.fsync = lambda descriptor: None
accelerate.utils.memory.gc = SimpleNamespace(collect=lambda: 0)


@pytest.fixture(scope="module", autouse=True)
def imports_frozen():
    """Freeze imported objects. Otherwise the Trainer's garbage collections would take half of a tiny run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def other_base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def still_base(tmp_path_factory):
    """A base model without dropout, whose draws differ between processes and devices."""
    still = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return save_base(tmp_path_factory.mktemp("models") / "still", config=still)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Training, validation and test CSVs in MRPC's columns."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "train": write_rows(folder / "train.csv", pairs(48, 1)),
        "validation": write_rows(folder / "validation.csv", pairs(16, 2)),
        "test": write_rows(folder / "test.csv", pairs(12, 3)),
    }


@pytest.fixture
def flags(base, files, tmp_path):
    """A complete command line as a dict; tests change what they are about and pass it through :func:`argv`."""
    return {
        "model_name_or_path": base,
        "task_name": "mrpc",
        "train_file": files["train"],
        "validation_file": files["validation"],
        "do_train": True,
        "do_eval": True,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "adapter_projection_type": "cp",
        "tensorized_layer_rank": 2,
        "adapter_size": 8,
        "cpu_threads": 1,
        "disable_tqdm": True,
        "output_dir": tmp_path / "out",
    }

"""One run in two processes: it computes what one process of the same global batch computes, and one of them speaks."""

import os
import socket
import sys

import pytest
import torch
from helpers import argv, record_of, save_base, tensors_of, tiny_config

from run_glue_tensorized import main

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
METHODS = {
    "cp": {"adapter_projection_type": "cp"},
    "tucker": {"adapter_projection_type": "tucker", "tensor_scope": "model"},
    "tt": {"adapter_projection_type": "tt", "adapter_placement": "weights", "adapter_size": None},
    "tr": {"adapter_projection_type": "tr", "adapter_placement": "parallel"},
    **{
        name: dict.fromkeys(("adapter_projection_type", "tensorized_layer_rank", "adapter_size")) | {"method": name}
        for name in ("dense", "compacter", "bitfit", "layer_norm", "head", "lora", "ia3", "diff_pruning", "full")
    },
}


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def in_processes(rank: int, port: int, count: int, commands: list[list[str]]) -> None:
    """What torchrun sets, then one run after the other; its output goes to a file beside the run's folder."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": count, "OMP_NUM_THREADS": 1}
    for name, value in (address | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}).items():
        os.environ[name] = str(value)
    torch.set_num_threads(1)
    for words in commands:
        assert main(words) == 0, words
    sys.stdout.flush()


def run_in_processes(commands: list[list[str]], count: int = 2) -> None:
    torch.multiprocessing.spawn(in_processes, (free_port(), count, commands), nprocs=count)


@pytest.fixture(scope="module")
def still_base(tmp_path_factory):
    """A base model without dropout, whose draws differ between processes."""
    return save_base(tmp_path_factory.mktemp("models") / "still", config=tiny_config(**STILL))


def test_two_processes_train_what_one_does(flags, still_base, tmp_path):
    """With 41 examples: in the last step of each epoch one process has one, and the other none."""
    flags |= {"model_name_or_path": still_base, "max_train_samples": 41, "eval_strategy": "no", "save_strategy": "no"}
    flags |= {"per_device_eval_batch_size": 3, "num_train_epochs": 1}
    cases = {
        name: argv(flags | changes, output_dir=tmp_path / name, per_device_train_batch_size=4)
        for name, changes in METHODS.items()
    }
    run_in_processes(list(cases.values()))
    for name, changes in METHODS.items():
        one, two = tmp_path / f"{name}-one", tmp_path / name
        assert main(argv(flags | changes, output_dir=one)) == 0
        ours, theirs = tensors_of(one), tensors_of(two)
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-5) for key in ours), name
        records = record_of(one), record_of(two)
        losses, metrics = ([record[key] for record in records] for key in ("step_losses", "metrics"))
        assert losses[1] == pytest.approx(losses[0], abs=1e-5) and len(losses[1]) == 6, name
        timed = ("_runtime", "_per_second")
        metrics = [{key: value for key, value in of.items() if not key.endswith(timed)} for of in metrics]
        assert metrics[1] == pytest.approx(metrics[0], abs=1e-5), name
        texts = [(folder / "eval_predictions.tsv").read_text().splitlines() for folder in (one, two)]
        assert [line.split("\t")[:3] for line in texts[0]] == [line.split("\t")[:3] for line in texts[1]], name
        assert [record["arguments"]["processes"] for record in records] == [1, 2]

"""One run in two processes: it computes what one process of the same global batch computes, and one of them speaks."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import argv, assert_equal_runs, record_of, refused, save_base_of, tensors_of

import run_glue_tensorized
from run_glue_tensorized import main
from tensorized_adapters.runs.same_run import differences
from tensorized_adapters.training.batch_shares import Sharing

METHODS = {
    "cp": {"adapter_projection_type": "cp"},
    "accumulated": {"adapter_projection_type": "cp", "tensorized_layer_rank": 1},
    "weighted": {"adapter_projection_type": "cp", "class_weights": "not_equivalent=1,equivalent=7"},
    "prefix": {"adapter_projection_type": "cp", "adapter_layers": "1", "cache_frozen_prefix": True},
    "tucker": {"adapter_projection_type": "tucker", "tensor_scope": "model"},
    "tt": {"adapter_projection_type": "tt", "adapter_placement": "weights", "adapter_size": None},
    "tr": {"adapter_projection_type": "tr", "adapter_placement": "parallel"},
    **{
        name: dict.fromkeys(("adapter_projection_type", "tensorized_layer_rank", "adapter_size")) | {"method": name}
        for name in ("dense", "compacter", "bitfit", "layer_norm", "head", "lora", "ia3", "diff_pruning", "full")
    },
}
METHODS["compiled"] = METHODS["diff_pruning"] | {"torch_compile": True, "torch_compile_backend": "eager"}
ARCHITECTURES = ["albert", "modernbert", "gpt2", "llama"]  # a few of different making
# In each of two processes, where one has 8 examples a step.
SHARES = dict.fromkeys([*METHODS, *ARCHITECTURES], {"per_device_train_batch_size": 4})
SHARES["weighted"] = SHARES["accumulated"] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def in_processes(rank: int, port: int, count: int, commands: list[list[str]]) -> None:
    """What torchrun sets, then one run after the other."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": count, "OMP_NUM_THREADS": 1}
    for name, value in (address | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}).items():
        os.environ[name] = str(value)
    torch.set_num_threads(1)
    for words in commands:
        assert main(words) == 0, words


def run_in_processes(commands: list[list[str]], count: int = 2) -> None:
    torch.multiprocessing.spawn(in_processes, (free_port(), count, commands), nprocs=count)


# Ends its process, that of rank 1, once both have written their parts of the first checkpoint.
KILLED = """
import os, signal, sys
import run_glue_tensorized
from tensorized_adapters.training.trainer import AdapterTrainer
save = AdapterTrainer._save_checkpoint
def killing(self, *args, **kwargs):
    save(self, *args, **kwargs)
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
AdapterTrainer._save_checkpoint = killing
run_glue_tensorized.signals.begin()
sys.exit(run_glue_tensorized.main(sys.argv[1:]))
"""


def torchrun(script: Path, words: list[str]) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    home = str(Path(run_glue_tensorized.__file__).parent)
    return subprocess.run(
        [*launch, "--master_port", str(free_port()), str(script), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=300,
    )


def lines_of(error: str) -> list[str]:
    """Those of the run itself, among torchrun's."""
    return [line for line in error.splitlines() if line.startswith(("error: ", "failed: ", "terminated: "))]


def without_dropout(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: 0.0 for key in config if "drop" in key}))
    return folder


def test_two_processes_train_what_one_does(flags, still_base, tmp_path, request):
    """With 41 examples: in the last step of each epoch one process has one, and the other none."""
    flags |= {"model_name_or_path": still_base, "max_train_samples": 41, "eval_strategy": "no", "save_strategy": "no"}
    flags |= {"per_device_eval_batch_size": 3, "num_train_epochs": 1}
    cases = {name: flags | changes for name, changes in METHODS.items()}
    cases["prefix"]["prefix_cache_dir"] = tmp_path / "cache"
    for name in ARCHITECTURES:
        cases[name] = cases["cp"] | {"model_name_or_path": without_dropout(save_base_of(tmp_path / "of" / name, name))}
    run_in_processes([argv(case | SHARES[name], output_dir=tmp_path / name) for name, case in cases.items()])
    for name, case in cases.items():
        one, two = tmp_path / f"{name}-one", tmp_path / name
        assert main(argv(case, output_dir=one)) == 0
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
    for name in ("bert", *ARCHITECTURES):
        request.node.user_properties.append(("cell", (name, "two processes", "ok")))


def test_a_killed_process_ends_the_run_which_goes_on(flags, tmp_path, capsys):
    """Killed in the middle of the second epoch: one line, one whole checkpoint; then the same bits, with dropout."""
    flags |= {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 8, "test_file": None}
    out, whole, moved = flags["output_dir"], tmp_path / "whole", tmp_path / "moved"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    ended = torchrun(script, argv(flags))
    assert ended.returncode
    (line,) = lines_of(ended.stderr)  # what is left notices by itself, or is ended by torchrun before
    assert "another process of this run has ended; " in line or line.startswith("terminated: ")
    assert "the same command goes on from the newest checkpoint" in line
    assert record_of(out)["status"] in ("failed", "interrupted")
    assert {path.name for path in (out / "checkpoint-8").glob("rng*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    shutil.copytree(out, moved)

    gone_on = torchrun(Path(run_glue_tensorized.__file__), argv(flags))
    assert gone_on.returncode == 0, gone_on.stderr
    assert gone_on.stdout.count(f"going on from {out / 'checkpoint-8'}") == 1
    assert gone_on.stdout.count(f"record: {out / 'run.json'}") == 1 and not lines_of(gone_on.stderr)
    run_in_processes([argv(flags, output_dir=whole)])
    assert_equal_runs(whole, out)
    predicted = [(folder / "eval_predictions.tsv").read_text() for folder in (whole, out)]
    assert predicted[0] == predicted[1] and predicted[0].count("\n") == 17

    # In one process: as many examples a step, or not at all.
    error = refused(capsys, argv(flags, output_dir=moved))
    assert "8 examples a step there, 4 now, in all processes together" in error
    assert main(argv(flags, output_dir=moved, per_device_train_batch_size=8)) == 0
    said = capsys.readouterr().out
    assert f"going on from {moved / 'checkpoint-8'}" in said
    assert "was trained in 2 process(es), this run has 1" in said
    assert len(record_of(moved)["step_losses"]) == 12


def test_a_refusal_is_said_once(flags):
    """By all processes together, and before any waits for another."""
    flags["output_dir"].mkdir()
    (flags["output_dir"] / "foreign").touch()
    ended = torchrun(Path(run_glue_tensorized.__file__), argv(flags))
    assert ended.returncode and ended.stdout == ""
    (line,) = lines_of(ended.stderr)
    assert line.startswith("error: --output_dir") and "not a run of this program" in line


# As of a machine where somebody changed the command.
OTHER = """
import os, sys
import run_glue_tensorized
run_glue_tensorized.signals.begin()
code = run_glue_tensorized.main([*sys.argv[1:], "--seed", os.environ["RANK"]])
run_glue_tensorized.distributed.part(code)
sys.exit(code)
"""


def test_processes_that_were_given_something_else_are_refused(flags, tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    ended = torchrun(tmp_path / "other.py", argv(flags, seed=None))
    (line,) = lines_of(ended.stderr)
    assert line == "error: rank 1: given something else than the first process (--seed 0 there, 1 now)"
    assert ended.returncode and not flags["output_dir"].exists()


@pytest.mark.parametrize("size", [1, 7, 40, 41, 45])
def test_each_example_of_a_step_counts_once(size):
    """However a step's examples are shared out and accumulated, weights make the mean over them."""
    for batch_size, processes, accumulated in ((8, 1, 1), (4, 2, 1), (2, 2, 2), (2, 4, 1), (4, 1, 2), (1, 3, 3)):
        step_batch, start = batch_size * processes * accumulated, 0
        sharing = Sharing(size, batch_size, processes, accumulated)
        for step in range(-(-size // step_batch)):
            shares = [sharing.of_step(step, rank) for rank in range(processes)]
            count = min(step_batch, size - start)
            assert sum(own for of_rank in shares for own, _ in of_rank) == count
            for of_rank in shares:
                for own, weight in of_rank:  # as the Trainer divides by batches and averages over processes
                    assert weight / (len(of_rank) * processes) == pytest.approx(own / count)
            start += count
        assert sharing.of_step(step + 1, 0) == sharing.of_step(0, 0)  # the next epoch


def test_the_number_of_processes_is_part_of_what_a_run_is():
    one = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "seed": 1, "use_cpu": False}
    two = one | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "processes": 2, "use_cpu": True}
    assert differences(one, two) == [] == differences(one, one | {"processes": 1})
    assert differences(one | {"do_train": False}, one | {"do_train": False, "processes": 2}) == []
    assert differences(one, two | {"seed": 2}) == ["--seed 1 there, 2 now"]
    assert "examples a step" in differences(one, one | {"processes": 2})[0]
    assert "--per_device_train_batch_size" in differences(two, two | {"per_device_train_batch_size": 4})[0]

"""One run in two processes computes the same as one process with the same global batch, and rank 0 alone prints."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import argv, assert_equal_runs, pairs, record_of, refused, save_base_of, tensors_of
from processes import in_two_processes, lines_of, torchrun

from run_glue_tensorized import main
from tensorized_adapters.runs.same_run import differences
from tensorized_adapters.training.batch_shares import shares_of_step
from tensorized_adapters.training.checkpoints import flaw_of_checkpoint
from tensorized_adapters.training.trainer import AdapterTrainer

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
ARCHITECTURES = ["albert", "modernbert", "gpt2", "llama"]  # a few different ones
# These differ in how processes share their work, the others in what is trained, and compiling takes 20 s a process.
FEW = ["cp", "accumulated", "weighted", "prefix", "tucker", "diff_pruning", "gpt2", "several labels"]
OTHERS = [name for name in [*METHODS, *ARCHITECTURES] if name not in FEW]
# In each of two processes, where one has 8 examples a step.
SHARES = dict.fromkeys([*METHODS, *ARCHITECTURES, "several labels"], {"per_device_train_batch_size": 4})
SHARES["weighted"] = SHARES["accumulated"] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}


def without_dropout(folder: Path) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: 0.0 for key in config if "drop" in key}))
    return folder


@pytest.mark.parametrize("names", [FEW, pytest.param(OTHERS, marks=pytest.mark.exhaustive)], ids=["few", "others"])
def test_two_processes_train_what_one_does(flags, still_base, tmp_path, request, names):
    """With 41 examples, one process has one example in the last step of each epoch, and the other has none."""
    flags |= {"model_name_or_path": still_base, "max_train_samples": 41, "eval_strategy": "no", "save_strategy": "no"}
    flags |= {"per_device_eval_batch_size": 3, "num_train_epochs": 1}
    cases = {name: flags | changes for name, changes in METHODS.items()}
    cases["prefix"]["prefix_cache_dir"] = tmp_path / "cache"
    for name in ARCHITECTURES:
        cases[name] = cases["cp"] | {"model_name_or_path": without_dropout(save_base_of(tmp_path / "of" / name, name))}
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "text,label\n" + "".join(f"{a},{' '.join(set(a.split()) & {'cat', 'dog'})}\n" for a, *_ in pairs(48, 1))
    )
    of_files = {"task_name": None, "train_file": labels, "validation_file": labels, "label_separator": " "}
    cases["several labels"] = cases["cp"] | of_files
    cases = {name: cases[name] for name in names}
    commands = [argv(case | SHARES[name], output_dir=tmp_path / name) for name, case in cases.items()]
    codes, _, error = in_two_processes(tmp_path, *commands)
    assert codes == [0, 0], error
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
    for name in {"bert", *ARCHITECTURES} & {"bert", *names}:
        request.node.user_properties.append(("cell", (name, "two processes", "ok")))


def kill_after_first_checkpoint(rank: int) -> None:
    """Kill rank 1 when rank 0 has completed the first checkpoint."""
    save = AdapterTrainer._save_checkpoint

    def killing(self, *args, **kwargs):
        save(self, *args, **kwargs)
        if rank == 1:
            folder, until = Path(self.args.output_dir) / "checkpoint-8", time.monotonic() + 60
            while flaw_of_checkpoint(folder) and time.monotonic() < until:
                pass
            os.kill(os.getpid(), signal.SIGKILL)

    AdapterTrainer._save_checkpoint = killing


@pytest.mark.parametrize("launcher", exhaustive_but(["fork"], ["fork", "torchrun"]))
def test_a_killed_process_ends_the_run_which_goes_on(flags, tmp_path, capsys, launcher):
    """Killed in the second epoch: one line and one complete checkpoint, then the same bits, with dropout."""
    flags |= {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 8, "test_file": None}
    out, complete, moved = flags["output_dir"], tmp_path / "complete", tmp_path / "moved"
    codes, _, error = in_two_processes(tmp_path, argv(flags), prepare=kill_after_first_checkpoint)
    assert codes[0] in (1, 143) and codes[1] == -signal.SIGKILL
    (line,) = lines_of(error)  # rank 0 notices it itself, or is ended by the launcher before
    assert "another process of this run has ended; " in line or line.startswith("terminated: ")
    assert "the same command goes on from the newest checkpoint" in line
    assert record_of(out)["status"] in ("failed", "interrupted")
    assert {path.name for path in (out / "checkpoint-8").glob("rng*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    shutil.copytree(out, moved)

    if launcher == "torchrun":
        resumed = torchrun(argv(flags))
        codes, printed, error = [resumed.returncode], resumed.stdout, resumed.stderr
    else:
        codes, printed, error = in_two_processes(tmp_path, argv(flags))
    assert not any(codes) and not lines_of(error) and "[transformers]" not in error, error
    assert printed.count(f"going on from {out / 'checkpoint-8'}") == 1
    assert printed.count(f"record: {out / 'run.json'}") == 1
    codes, _, error = in_two_processes(tmp_path, argv(flags, output_dir=complete))
    assert codes == [0, 0], error
    assert_equal_runs(complete, out)
    predicted = [(folder / "eval_predictions.tsv").read_text() for folder in (complete, out)]
    assert predicted[0] == predicted[1] and predicted[0].count("\n") == 17

    # One process has to take as many examples a step.
    error = refused(capsys, argv(flags, output_dir=moved))
    assert "8 examples a step there, 4 now, in all processes together" in error
    assert main(argv(flags, output_dir=moved, per_device_train_batch_size=8)) == 0
    printed = capsys.readouterr().out
    assert f"going on from {moved / 'checkpoint-8'}" in printed
    assert "was trained in 2 process(es), this run has 1" in printed
    assert len(record_of(moved)["step_losses"]) == 12


@pytest.mark.parametrize("size", [1, 7, 40, 41, 45])
def test_each_example_of_a_step_counts_once(size):
    """The weights give the mean over a step's examples, for every division into processes and batches."""
    for batch_size, processes, accumulated in ((8, 1, 1), (4, 2, 1), (2, 2, 2), (2, 4, 1), (4, 1, 2), (1, 3, 3)):
        step_batch, start = batch_size * processes * accumulated, 0
        division = dict(train_batch_size=batch_size, world_size=processes, gradient_accumulation_steps=accumulated)
        args = [SimpleNamespace(process_index=rank, **division) for rank in range(processes)]
        for step in range(-(-size // step_batch)):
            shares = [shares_of_step(step, size, of_rank) for of_rank in args]
            count = min(step_batch, size - start)
            assert sum(own for of_rank in shares for own, _ in of_rank) == count
            for of_rank in shares:
                for own, weight in of_rank:  # as the Trainer divides by batches and averages over processes
                    assert weight / (len(of_rank) * processes) == pytest.approx(own / count)
            start += count
        assert shares_of_step(step + 1, size, args[0]) == shares_of_step(0, size, args[0])  # the next epoch


def test_the_number_of_processes_is_part_of_what_a_run_is():
    one = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "seed": 1, "use_cpu": False}
    two = one | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "processes": 2, "use_cpu": True}
    assert differences(one, two) == [] == differences(one, one | {"processes": 1})
    assert differences(one | {"do_train": False}, one | {"do_train": False, "processes": 2}) == []
    assert differences(one, two | {"seed": 2}) == ["--seed 1 there, 2 now"]
    assert "examples a step" in differences(one, one | {"processes": 2})[0]
    assert "--per_device_train_batch_size" in differences(two, two | {"per_device_train_batch_size": 4})[0]

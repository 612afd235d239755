"""On a GPU, if there is one: training equals the CPU's, resumes from a checkpoint, and never waits within a step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import OWN, argv, record_of, tensors_of

ROOT = Path(__file__).parent.parent
# A wait is an error in every step but the first one, which warms up, and those in which the Trainer logs.
UNWAITED = """
import sys, torch
import run_glue_tensorized
from tensorized_adapters.training.trainer import AdapterTrainer
step, taken = AdapterTrainer.training_step, []
def watched(self, *args, **kwargs):
    taken.append(1)
    torch.cuda.set_sync_debug_mode("error" if len(taken) > 2 else "default")
    try:
        return step(self, *args, **kwargs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
AdapterTrainer.training_step = watched
run_glue_tensorized.signals.begin()
sys.exit(run_glue_tensorized.main(sys.argv[1:]))
"""


def run(*words, gpus=True):
    """Return the output of a command that sees the visible GPUs, or none."""
    environment = dict(os.environ)
    if gpus and environment["TESTS_MAY_SEE_GPUS"] == "all":
        del environment["CUDA_VISIBLE_DEVICES"]
    elif gpus:
        environment["CUDA_VISIBLE_DEVICES"] = environment["TESTS_MAY_SEE_GPUS"]
    command = [sys.executable, *map(str, words)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module", autouse=True)
def a_gpu():
    if torch.version.cuda is None or run("-c", "import torch; print(torch.cuda.device_count())").strip() == "0":
        pytest.skip("there is no GPU, or PyTorch is built without CUDA")


@pytest.mark.parametrize("method", ["tt", "dense", "diff_pruning"])
def test_it_trains_as_the_cpu_does_and_goes_on_from_a_checkpoint(flags, still_base, tmp_path, method):
    flags |= {"model_name_or_path": still_base}
    if method != "tt":
        flags |= dict.fromkeys(OWN) | {"method": method}
    on_cpu, on_gpu, resumed = (tmp_path / name for name in ("cpu", "gpu", "resumed"))
    run("run_glue_tensorized.py", *argv(flags, output_dir=on_cpu), gpus=False)
    assert " on cuda" in run("run_glue_tensorized.py", *argv(flags, output_dir=on_gpu))
    run("run_glue_tensorized.py", *argv(flags, output_dir=resumed, resume_from_checkpoint=on_gpu / "checkpoint-6"))
    assert record_of(on_gpu)["peak_memory_bytes"]["gpu"] > 0
    expected, found, again = (tensors_of(folder) for folder in (on_cpu, on_gpu, resumed))
    for name, values in expected.items():
        torch.testing.assert_close(again[name], found[name], rtol=1e-4, atol=1e-5)
        if method != "diff_pruning":  # its gates use the device's generator
            torch.testing.assert_close(found[name], values, rtol=1e-3, atol=1e-4)


def test_half_precision(flags):
    run("run_glue_tensorized.py", *argv(flags, bf16=True, bf16_full_eval=True, measure_contribution=True))


def test_no_step_waits_for_it(flags):
    run("-c", UNWAITED, *argv(flags, logging_steps=100, save_strategy="no"))


def test_the_benchmark():
    words = ["--methods", "cp-4", "--shapes", "2x16", "--rounds", "2", "--device", "cuda", "--dtype", "bfloat16"]
    assert "cp-4" in run("benchmarks/benchmark.py", *words)

"""A processor without bfloat16 is slower in it than in float32, and the run says so."""

import pytest
from helpers import argv

from run_glue_tensorized import main
from tensorized_adapters.runtime import processor


@pytest.mark.parametrize(
    "flag, features, noted",
    [("bf16", "fpu avx512f", True), ("bf16_full_eval", "fpu avx2", True), ("bf16", "fpu avx512_bf16", False)],
)
def test_bf16_on_a_processor_without_it_is_noted(flags, capsys, monkeypatch, tmp_path, flag, features, noted):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {features}\n")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert main(argv(flags, **{flag: True}, num_train_epochs=None, max_steps=1)) == 0
    note = f"note: this processor has no instructions for bfloat16, and float32 is faster on it: leave --{flag}"
    assert (note in capsys.readouterr().out) == noted


def test_a_processor_that_reports_nothing_is_not_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    assert processor.computes_bfloat16()

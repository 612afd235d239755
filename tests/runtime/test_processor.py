"""Which precision is the faster one depends on the processor, and the run says so."""

import pytest
from helpers import argv

from run_glue_tensorized import main
from tensorized_adapters.runtime import processor

SLOWER = "note: this processor has no instructions for bfloat16, and float32 is faster on it: leave --"
FASTER = "note: in float32, since no other precision is given; --bf16 is faster on this processor (AMX)"


@pytest.mark.parametrize(
    "flag, features, note",
    [
        ("bf16", "avx512_f", f"{SLOWER}bf16 out"),
        ("bf16_full_eval", "avx2", f"{SLOWER}bf16_full_eval out"),
        ("bf16", "avx512_bf16 amx_bf16", None),
        (None, "avx512_bf16", None),
        (None, "amx_bf16 amx_tile", FASTER),
    ],
)
def test_the_faster_precision_is_noted(flags, capsys, monkeypatch, flag, features, note):
    has = {name: name in features.split() for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_tile")}
    monkeypatch.setattr(processor, "get_capabilities", lambda: has)
    precision = {flag: True} if flag else {}
    assert main(argv(flags, **precision, num_train_epochs=None, max_steps=1)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "this processor" in line] == ([note] if note else [])


def test_a_processor_that_reports_nothing_is_not_judged(monkeypatch):
    monkeypatch.setattr(processor, "get_capabilities", lambda: {"architecture": "riscv64"})
    assert processor.computes_bfloat16() and not processor.multiplies_bfloat16()

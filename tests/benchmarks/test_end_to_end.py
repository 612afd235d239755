"""benchmarks/end_to_end.py: every variant's flags are flags of the program, and bad input is one line."""

from types import SimpleNamespace

import end_to_end
import pytest
import run_without

from tensorized_adapters.arguments.parsing import parse_arguments
from tensorized_adapters.runtime import exits


def test_the_flags_of_every_variant_are_accepted(tmp_path, base):
    common = SimpleNamespace(model=base, glue="glue", max_seq_length=64, epochs=1, max_train_samples=8, threads=1)
    ours = [name for name, words in end_to_end.VARIANTS.items() if "--do_eval" in words]
    assert len(ours) == 13
    for name in ours:
        words = end_to_end._command(common, "mrpc", name, str(tmp_path))[1:]
        script, *flags = words
        if script.endswith("run_without.py"):
            assert flags.pop(0) in run_without.WITHOUT
        assert parse_arguments(flags).data.task_name == "mrpc"


@pytest.mark.parametrize(
    "words, message",
    [
        ("--model nowhere", "--model nowhere is not a model folder"),
        ("--model {model} --variants cp-5", "--variants: 'cp-5' is none of"),
        ("--model {model} --tasks mrpc", "has no mrpc/train-*.parquet"),
        ("--model {model} --rounds 0", "must be an integer of at least 1"),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, base, capsys):
    assert exits.run(end_to_end.main, [*words.format(model=base).split(), "--glue", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out

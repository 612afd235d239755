"""Variables of accelerate launch that would change the result without a flag are refused in one line."""

import pytest
from helpers import argv, refused

from tensorized_adapters.arguments.parsing import parse_arguments

COMPUTES_IN_BF16 = "ACCELERATE_MIXED_PRECISION is 'bf16' and no precision is given: give --bf16, or unset it"
BAD = {
    ("ACCELERATE_MIXED_PRECISION", "bf16"): COMPUTES_IN_BF16,
    ("ACCELERATE_MIXED_PRECISION", "FP16"): "is 'fp16' and no precision is given: give --fp16, or unset it",
    ("ACCELERATE_MIXED_PRECISION", "fp8"): "is 'fp8' and no precision is given: unset it",
    ("ACCELERATE_DYNAMO_BACKEND", "EAGER"): "is 'eager' and nothing is to be compiled: give --torch_compile True, or",
    ("ACCELERATE_USE_FSDP", "true"): "ACCELERATE_USE_FSDP is 'true', which is not supported: ",
    ("ACCELERATE_USE_DEEPSPEED", "1"): "ACCELERATE_USE_DEEPSPEED is '1', which is not supported: ",
    ("ACCELERATE_USE_MEGATRON_LM", "true"): "ACCELERATE_USE_MEGATRON_LM is 'true', which is not supported: ",
    ("ACCELERATE_USE_PARALLELISM_CONFIG", "yes"): "ACCELERATE_USE_PARALLELISM_CONFIG is 'yes', which is not supported",
}
# What accelerate launch sets without flags, and other ways to say no.
HARMLESS = {
    "ACCELERATE_MIXED_PRECISION": ("no", "NO"),
    "ACCELERATE_DYNAMO_BACKEND": ("NO", "no"),
    "ACCELERATE_USE_FSDP": ("false", ""),
    "ACCELERATE_USE_DEEPSPEED": ("false", "0"),
}


@pytest.mark.parametrize("variable", BAD, ids="=".join)
def test_a_variable_that_changes_the_result(capsys, flags, monkeypatch, variable):
    monkeypatch.setenv(*variable)
    assert BAD[variable] in refused(capsys, argv(flags), flags["output_dir"])


@pytest.mark.parametrize("number", [0, 1])
def test_variables_that_change_nothing(flags, monkeypatch, number):
    for name, values in HARMLESS.items():
        monkeypatch.setenv(name, values[number])
    assert parse_arguments(argv(flags)).training.mixed_precision.lower() == "no"


def test_a_flag_decides_before_a_variable(flags, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    training = parse_arguments(argv(flags, bf16=True, torch_compile_backend="eager")).training
    assert training.mixed_precision == "bf16" and training.torch_compile_backend == "eager"

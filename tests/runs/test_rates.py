"""Default learning rates by the size of the pre-trained model."""

import pytest
from helpers import argv, record_of, save_base, tiny_config, tiny_model
from tiny_models import CONFIGS
from transformers import BertConfig

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, add_adapters, optimizer_groups
from tensorized_adapters.adaptation.parameters import trained_groups
from tensorized_adapters.arguments.parsing import parse_arguments
from tensorized_adapters.arguments.rates import resolve_rates
from tensorized_adapters.backbone.default_rates import rate_factor

BASE = BertConfig()


def rates(words, config):
    words = f"--task_name mrpc --do_train --output_dir x --model_name_or_path m {words}".split()
    arguments = parse_arguments(words, lambda model: config)
    return {name: pytest.approx(rate) for name, rate in resolve_rates(arguments).items()}


def test_the_factor_is_one_up_to_minilm_and_a_half_at_base_size():
    assert rate_factor(BertConfig(hidden_size=384, num_hidden_layers=6)) == 1
    assert rate_factor(tiny_config()) == 1
    assert rate_factor(BASE) == pytest.approx(0.5)
    assert rate_factor(BertConfig(hidden_size=1024, num_hidden_layers=24)) < 0.35


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--adapter_projection_type cp", {"adapters": 2.5e-3, "layer_norm": 1.25e-3, "head": 1.25e-3}),
        ("--adapter_projection_type tt", {"adapters": 2e-3, "layer_norm": 1.25e-3, "head": 1.25e-3}),
        ("--method layer_norm", {"adapters": 1e-3, "layer_norm": 1.25e-3, "head": 1.25e-3}),
        ("--method dense", {"adapters": 1e-3, "layer_norm": 3.125e-4, "head": 1.25e-3}),
        ("--adapter_projection_type cp --learning_rate 5e-3", {"adapters": 5e-3, "layer_norm": 2.5e-3}),
        ("--method lora --learning_rate 4e-3", {"adapters": 4e-3, "head": 5e-3}),
        (
            "--adapter_projection_type cp --head_learning_rate 7e-3",
            {"adapters": 2.5e-3, "layer_norm": 1.25e-3, "head": 7e-3},
        ),
        (
            "--adapter_projection_type cp --adapter_init published",
            dict.fromkeys(("adapters", "layer_norm", "head"), 2e-4),
        ),
    ],
)
def test_rates_at_base_size(words, expected):
    assert expected.items() <= rates(words, BASE).items()


@pytest.mark.parametrize(
    ("words", "config", "expected"),
    [
        ("--adapter_projection_type cp", BASE, "adafactor"),
        ("--method dense", BASE, "adafactor"),
        ("--adapter_projection_type tt", BASE, "adafactor"),
        ("--method lora", BASE, "adamw_torch_fused"),
        ("--method dense --optim sgd", BASE, "sgd"),
        ("--method dense --adam_beta2 0.99", BASE, "adamw_torch_fused"),
        ("--method dense --optim_args amsgrad=True", BASE, "adamw_torch_fused"),
        ("--adapter_projection_type cp --adapter_init published", BASE, "adamw_torch_fused"),
        ("--adapter_projection_type cp", tiny_config(), "adamw_torch_fused"),
    ],
)
def test_adapters_of_larger_models_are_trained_with_adafactor(words, config, expected):
    words = f"--task_name mrpc --do_train --output_dir x --model_name_or_path m {words}".split()
    arguments = parse_arguments(words, lambda model: config)
    assert arguments.training.optim == expected
    assert ("--optim adafactor, the default" in " ".join(arguments.notes)) == (expected == "adafactor")


def test_the_rate_of_tensorized_adapters_grows_up_to_base_size_and_no_further():
    large = rates("--adapter_projection_type cp", BertConfig(hidden_size=1024, num_hidden_layers=24))
    assert large == {
        "adapters": 2.5e-3,
        "layer_norm": 5e-3 * 6 * 384 / (24 * 1024),
        "head": large["layer_norm"].expected,
    }
    small = rates("--adapter_projection_type cp", tiny_config())
    assert small == {"adapters": 2e-3, "layer_norm": 5e-3, "head": 5e-3}


@pytest.mark.parametrize("method", ["full", "diff_pruning"])
def test_methods_that_change_the_whole_backbone_keep_their_rates(method):
    assert rates(f"--method {method}", BASE) == rates(f"--method {method}", tiny_config())


GRID = [CONFIGS[key] for key in ("tensorized", "dense", "layer_norm", "bitfit", "lora", "ia3", "diff_pruning", "full")]
GRID += [AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=2, adapter_init="published")]


@pytest.mark.parametrize("config", GRID, ids=lambda config: config.describe())
@pytest.mark.parametrize("given", [None, 3e-3])
def test_python_takes_the_rates_of_the_command_line(config, given):
    """Each parameter's rate, on a model that is larger than MiniLM."""
    model = add_adapters(tiny_model(hidden_size=384, num_hidden_layers=8, num_attention_heads=2), config)
    settings = {"method": config.method} if config.method != "tensorized" else {}
    for name in ("adapter_projection_type", "tensorized_layer_rank", "adapter_init"):
        settings |= {name: getattr(config, name)} if config.method == "tensorized" else {}
    words = " ".join(f"--{name} {value}" for name, value in settings.items())
    expected = rates(words + (f" --learning_rate {given}" if given else ""), model.config)
    of = {id(p): group["lr"] for group in optimizer_groups(model, given) for p in group["params"]}
    for group, parameters in trained_groups(model).items():
        found = {of[id(p)] for name, p in parameters.items() if p.numel() and "gate" not in name}
        assert not found or found == {expected["adapters" if group == "backbone" else group].expected}


def test_a_run_trains_at_these_rates_and_records_them(flags, tmp_path):
    wide = save_base(
        tmp_path / "wide", config=tiny_config(hidden_size=384, num_hidden_layers=7, num_attention_heads=2)
    )
    assert main(argv(flags, model_name_or_path=wide, num_train_epochs=1)) == 0
    rates_of_run = record_of(flags["output_dir"])["learning_rates"]
    assert 2e-3 < rates_of_run["adapters"] < 3e-3
    assert rates_of_run["layer_norm"] == rates_of_run["head"] == pytest.approx(2.5 * 2e-3 * 6 / 7)
    assert main(argv(flags, model_name_or_path=wide, num_train_epochs=1)) == 0  # the same run

"""--method peft: every type of peft that works according to docs/methods.md, and refusals in one line."""

import json

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import logits, tiny_model
from peft import IA3Config, inject_adapter_in_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft_cases import LORA, config_of, life

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    add_adapters,
    count_trained,
    load_adapter,
    remove_adapters,
    save_adapter,
)
from tensorized_adapters.adaptation.counts import count_parameters
from tensorized_adapters.methods.peft_settings import REFUSED

UNMERGED = ("beft", "glora", "ln_tuning")
TYPES = sorted({kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - set(REFUSED) - {"tensorized"})
IA3_TARGETS = [["key"], ["key", "output.dense"], ["key", "dense"], ["key", "attention.output.dense"]]
IA3_TARGETS += ["all-linear", r".*(key|output\.dense)"]
IA3 = [("ia3", {"target_modules": names}) for names in IA3_TARGETS]
FEW = [*((kind, {}) for kind in ("lora", "vera", "loha", "boft", "fourierft", "ln_tuning")), *IA3]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind, settings",
    exhaustive_but(FEW, [*((kind, {}) for kind in TYPES), *(("lora", more) for more in LORA.values()), *IA3]),
)
def test_a_type_of_peft_is_trained_saved_loaded_merged_and_removed(kind, settings, tmp_path):
    found = life(config_of(kind, **settings), tmp_path)
    assert found == dict.fromkeys(found, True) | {"merged": kind not in UNMERGED}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_a_type_that_cannot_be_used_is_refused_with_the_reason(kind):
    with pytest.raises(UsageError, match=f"^--peft_type {kind} cannot be used: "):
        add_adapters(tiny_model(), config_of(kind))


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        ("verra", {}, "--peft_type 'verra': PEFT has no such method; did you mean vera?"),
        ("vera", {"rr": 8}, "--peft_config: --peft_type vera has no setting 'rr'; did you mean r?"),
        (
            "vera",
            {"r": 0},
            "vera, --peft_config: PEFT does not take it: ZeroDivisionError: float division",
        ),
        ("lora", {"r": 0}, "lora, --peft_config: PEFT does not take it: `r` should be a positive integer"),
        (
            "vera",
            {"target_modules": ["quarry"]},
            "--peft_config: PEFT does not take it: No layers types compatible",
        ),
        ("lora", {"target_modules": ["query", "classifier"]}, "classifier, which is trained in full"),
        ("lora", {"bias": "all"}, "--method bitfit"),
        ("lora", {"init_lora_weights": "eva"}, "reads the training data first"),
        ("lora", {"init_lora_weights": "pissa_niter_4"}, "which a saved adapter cannot repeat"),
        ("lora", {"init_lora_weights": "mica"}, "freezes one of its two matrices"),
        ("lora", {"task_type": "CAUSAL_LM"}, "task_type is set by the program"),
        ("trainable_tokens", {}, "--peft_type trainable_tokens needs token_indices, a list of different ids$"),
        ("trainable_tokens", {"token_indices": []}, "token_indices, a list of different ids, got"),
        ("trainable_tokens", {"token_indices": [5, -1]}, "token_indices, a list of different ids, got .5, -1."),
        ("trainable_tokens", {"token_indices": 5}, "token_indices, a list of different ids, got 5"),
        ("trainable_tokens", {"token_indices": [5, 5]}, "token_indices, a list of different ids, got .5, 5."),
        ("trainable_tokens", {"token_indices": [100000]}, "PEFT does not take it: IndexError"),
        ("c3a", {"block_size": 5}, "--peft_type c3a, --peft_config: .*block size"),
        ("lora", {"init_lora_weights": "pissa", "r": 64}, "pissa.* has 32 singular vectors, and r is 64"),
        ("lora", {"init_lora_weights": "olora", "rank_pattern": {"query": 33}}, "query has 32 .* and r is 33"),
        ("lora", {"lora_alpha": 0}, "--peft_config: lora_alpha 0 would leave the adapter without effect"),
        ("lora", {"alpha_pattern": {"query": 0}}, "alpha_pattern {'query': 0} would leave the adapter without effect"),
        ("lora", {"use_dora": "no"}, "--peft_config: use_dora must be true or false, got 'no'"),
        ("lora", {"r": "8"}, "--peft_config: r must be an integer, got '8'"),
        ("lora", {"r": 8.0}, "--peft_config: r must be an integer, got 8.0"),
        ("lora", {"r": True}, "--peft_config: r must be an integer, got True"),
        ("lora", {"lora_alpha": "16"}, "--peft_config: lora_alpha must be a number, got '16'"),
        ("vera", {"d_initial": None}, "--peft_config: d_initial must be a number, got None"),
        ("randlora", {"sparse": 2}, "--peft_config: sparse must be true or false, got 2"),
        ("lora", {"alpha_pattern": None}, "--peft_config: alpha_pattern must be an object such as .*, got None"),
        ("psoft", {"psoft_alpha": 0}, "--peft_config: psoft_alpha 0 would leave"),
        ("delora", {"lambda_pattern": {"query": 0}}, "--peft_config: lambda_pattern {'query': 0} would leave"),
        ("fourierft", {"scaling": [150]}, "--peft_config: scaling must be a number, got .150."),
        ("vera", {"d_initial": 0.0}, "--peft_config: d_initial 0.0 would leave"),
        ("delora", {"delora_lambda": 0}, "--peft_config: delora_lambda 0 would leave"),
        ("lora", {"lora_dropout": 1}, "--peft_config: lora_dropout must be at least 0 and below 1, got 1"),
        ("lora", {"lora_dropout": -0.5}, "--peft_config: lora_dropout must be at least 0 and below 1, got -0.5"),
        ("loha", {"rank_dropout": "0.5"}, "--peft_config: rank_dropout must be at least 0 and below 1, got '0.5'"),
        ("lokr", {"module_dropout": 1.5}, "--peft_config: module_dropout must be at least 0 and below 1, got 1.5"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_and_changes_nothing(kind, settings, message):
    model = tiny_model()
    before = logits(model)
    with pytest.raises(UsageError, match=message) as refused:
        add_adapters(model, AdapterConfig(method="peft", peft_type=kind, peft_config=settings))
    assert "\n" not in str(refused.value)
    assert torch.equal(logits(model), before) and not hasattr(model, "peft_config")


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        ("lora", {"exclude_modules": ["zz"]}, "exclude_modules={'zz'} but no modules were excluded"),
        ("lora", {"rank_pattern": {"zz": 4}}, "rank_pattern keys did not match any targeted module"),
        ("lora", {"loftq_config": {"a": 1}}, "`loftq_config` specified but will be ignored"),
        ("boft", {}, None),  # PEFT warns of an extension that cannot be built
    ],
)
def test_a_setting_without_effect_is_reported_once(capsys, recwarn, kind, settings, message):
    add_adapters(tiny_model(), config_of(kind, **settings))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (message is not None) and not recwarn.list
    assert message is None or (lines[0].startswith("note: --peft_config: PEFT says: ") and message in lines[0])


@pytest.mark.parametrize("kind, own", [("lora", {"lora_r": 4}), ("ia3", {})])
def test_lora_and_ia3_are_two_of_them(kind, own):
    ours = add_adapters(tiny_model(), AdapterConfig(method=kind, **own))
    settings = {"r": 4, "lora_alpha": 16} if kind == "lora" else {}
    theirs = add_adapters(tiny_model(), config_of(kind, **settings))
    assert count_trained(ours) == count_trained(theirs) == count_parameters(theirs.adaptation.config, tiny_model())


@pytest.mark.parametrize("names", IA3_TARGETS)
def test_ia3_rescales_the_inputs_and_outputs_that_peft_chooses(names):
    ours = add_adapters(tiny_model(), config_of("ia3", target_modules=names))
    theirs = inject_adapter_in_model(IA3Config(target_modules=names), tiny_model())
    chosen = {name: p.shape for name, p in theirs.bert.named_parameters() if "ia3_l" in name}
    assert {name: p.shape for name, p in ours.bert.named_parameters() if "ia3_l" in name} == chosen
    assert count_trained(ours) == count_parameters(ours.adaptation.config, tiny_model())


@pytest.mark.parametrize(
    "kind, settings", [("psoft", {"r": 4, "psoft_alpha": 2.5}), ("lora", {"use_dora": 1}), ("lora", {"use_dora": 0})]
)
def test_numbers_that_peft_takes_for_those_of_its_own_types_are_loaded_too(kind, settings, tmp_path):
    model = add_adapters(tiny_model(), config_of(kind, **settings))
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(tiny_model(), tmp_path)), logits(model))


@pytest.mark.exhaustive  # adamss clusters the rows of each weight, which takes long
@pytest.mark.filterwarnings("ignore")
def test_adamss_on_a_base_in_another_precision_is_refused_with_the_cause(tmp_path):
    save_adapter(add_adapters(tiny_model(), config_of("adamss", target_modules=["value"])), tmp_path)
    with pytest.raises(UsageError, match="does not fit: .*; adamss .* load the base in the precision of its training"):
        load_adapter(tiny_model().bfloat16(), tmp_path)


def test_a_newly_initialised_layer_is_trained_in_full():
    new = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    config = config_of("lora", target_modules=["query", "pooler.dense"])
    model = add_adapters(tiny_model(), config, newly_initialized=new)
    wrapped = {name.rpartition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A." in name}
    assert len(wrapped) == 2 and all(name.endswith("query") for name in wrapped)
    remove_adapters(model)


def test_settings_are_json_a_dictionary_or_a_file(tmp_path):
    path = tmp_path / "vera.json"
    path.write_text('{"r": 8,\n "d_initial": 0.2}')
    given = ({"d_initial": 0.2, "r": 8}, '{"r": 8, "d_initial": 0.2}', str(path))
    configs = [AdapterConfig(method="peft", peft_type="VeRA", peft_config=each) for each in given]
    assert len(set(configs)) == 1 and configs[0].describe() == "vera (d_initial: 0.2, r: 8)"
    assert json.loads(configs[0].to_dict()["peft_config"]) == given[0]
    for wrong in ("nothing.json", "{", "[]", '{"r": 8, "r": 4}', '{"r": NaN}', str(tmp_path), 3):
        with pytest.raises(UsageError, match="^--peft_config"):
            AdapterConfig(method="peft", peft_type="vera", peft_config=wrong)
    with pytest.raises(UsageError, match="--method peft needs --peft_type"):
        AdapterConfig(method="peft")

"""Several adapters on one backbone: a switch leaves nothing behind, and a batch may mix them."""

import copy
import functools
import threading

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import logits, tokens, trained_a_little
from tiny_models import CONFIGS, build

from tensorized_adapters import (
    UsageError,
    active_adapter,
    adapter_names,
    adapter_summary,
    adapters_off,
    add_adapters,
    count_trained,
    delete_adapter,
    load_adapter,
    merge_adapters,
    optimizer_groups,
    remove_adapters,
    save_adapter,
    set_adapter,
    unmerge_adapters,
)

KEYS = ["tensorized", "parallel", "weights, joint", "compacter", "bitfit", "layer_norm", "lora", "ia3", "full"]
KEYS += ["diff_pruning"]
MODERNBERT = ["tensorized", "weights", "dense", "lora", "layer_norm"]  # it has no biases
ROWS = torch.randint(5, 20, (16, 9), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def folders_of(tmp_path_factory):
    """Return folders with a trained adapter of each method."""

    @functools.cache
    def folder_of(name, key):
        folder = tmp_path_factory.mktemp("adapter")
        save_adapter(trained_a_little(add_adapters(build(name)[0], CONFIGS[key])), folder)
        return folder

    return lambda name, keys: {key: folder_of(name, key) for key in keys}


def loaded(name, folders):
    model = build(name)[0]
    for key, folder in folders.items():
        load_adapter(model, folder, name=key)
    return model


@pytest.fixture(scope="module")
def folders(folders_of):
    return folders_of("bert", KEYS)


SWITCHED = [("bert", KEYS), ("albert", KEYS), ("modernbert", MODERNBERT)]


@pytest.mark.parametrize("name, keys", exhaustive_but(SWITCHED[:1], SWITCHED))
def test_each_computes_as_if_it_were_alone_after_any_switches(tmp_path, folders_of, name, keys):
    folders = folders_of(name, keys)
    plain = build(name)[0]
    before, state = logits(plain), copy.deepcopy(plain.state_dict())
    alone = {key: load_adapter(build(name)[0], folder) for key, folder in folders.items()}
    expected = {key: logits(model) for key, model in alone.items()} | {None: before}
    model = loaded(name, folders)
    assert adapter_names(model) == keys and active_adapter(model) == keys[-1]
    choices = torch.randint(len(expected), (100,), generator=torch.Generator().manual_seed(0)).tolist()
    for choice in [*choices, *range(len(expected))]:
        key = list(expected)[choice]
        set_adapter(model, key)
        if choice % 3 == 0 or key is None:
            assert torch.equal(logits(model), expected[key])
    for key in expected:
        set_adapter(model, key)
        assert torch.equal(logits(model), expected[key])
        if key is not None:
            assert count_trained(model) == count_trained(alone[key])
            assert {n: p.requires_grad for n, p in model.named_parameters()} == {
                n: p.requires_grad for n, p in alone[key].named_parameters()
            }
            save_adapter(model, tmp_path / "again")
            again = load_adapter(build(name)[0], tmp_path / "again")
            assert torch.equal(logits(again), expected[key])
    remove_adapters(model)
    assert adapter_names(model) == [] and not hasattr(model, "adaptation") and "forward" not in model.__dict__
    assert list(model.state_dict()) == list(state) and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name, keys", [("bert", KEYS), ("albert", KEYS[:4]), ("modernbert", MODERNBERT)])
def test_each_row_of_a_mixed_batch_gets_what_its_adapter_alone_gives(folders_of, name, keys):
    model = loaded(name, folders_of(name, keys))
    names = [*keys[:1], None, *keys, keys[0]]
    inputs = {"input_ids": ROWS[: len(names)], "attention_mask": torch.ones_like(ROWS[: len(names)])}
    inputs["attention_mask"][1::2, 6:] = 0
    with torch.no_grad():
        mixed = model(**inputs, adapter_names=names, output_hidden_states=True)
        assert active_adapter(model) == keys[-1]
        for each in dict.fromkeys(names):
            set_adapter(model, each)
            single = model(**inputs, output_hidden_states=True)
            for row in [i for i, key in enumerate(names) if key == each]:
                torch.testing.assert_close(mixed.logits[row], single.logits[row], rtol=1e-5, atol=1e-5)
                hidden = mixed.hidden_states[-1][row], single.hidden_states[-1][row]
                torch.testing.assert_close(*hidden, rtol=1e-5, atol=1e-4)
        as_tuple = model(inputs["input_ids"], inputs["attention_mask"], adapter_names=names, return_dict=False)
        torch.testing.assert_close(as_tuple[0], mixed.logits, rtol=1e-5, atol=1e-5)


def test_training_one_leaves_the_others_as_they_were(folders, tmp_path):
    model = loaded("bert", {key: folders[key] for key in ("tensorized", "lora", "full", "bitfit")})
    expected = {}
    for key in (None, *adapter_names(model)):
        set_adapter(model, key)
        expected[key] = logits(model)
    for key in ("tensorized", "full"):
        set_adapter(model, key)
        named = {id(p) for p in model.parameters() if p.requires_grad}
        assert {id(p) for g in optimizer_groups(model, 1e-3) for p in g["params"]} == named
        trained_a_little(model)
        for other in expected:
            set_adapter(model, other)
            assert torch.equal(logits(model), expected[other]) == (other != key)
        set_adapter(model, key)
        expected[key] = logits(model)
        save_adapter(model, tmp_path / key)
    set_adapter(model, "lora")
    save_adapter(model, tmp_path / "named", name="full")
    assert active_adapter(model) == "lora"
    assert torch.equal(logits(load_adapter(build("bert")[0], tmp_path / "named")), expected["full"])


@pytest.mark.parametrize("key", ["tensorized", "joint", "compacter", "lora", "diff_pruning", "full"])
def test_what_needs_another_adapter_for_a_while_does_not_end_a_training(key, tmp_path):
    """A table, saving another adapter and a mixed batch leave the parameters that an optimizer trains."""

    def trained(interrupt):
        model = build("bert")[0]
        for name in (key, "bitfit"):
            torch.manual_seed(1)
            add_adapters(model, CONFIGS[name], name=name)
        set_adapter(model, key)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
        for step in range(3):
            torch.manual_seed(step)  # of the dropout
            model.train()(tokens(), labels=torch.tensor([0, 1])).loss.backward()
            interrupt(model.eval())
            optimizer.step()
            optimizer.zero_grad()
        return logits(model)

    expected = trained(lambda model: None)
    assert torch.equal(trained(adapter_summary), expected)
    assert torch.equal(trained(lambda model: save_adapter(model, tmp_path, name="bitfit")), expected)
    assert torch.equal(trained(lambda model: model(tokens(), adapter_names=["bitfit", None])), expected)

    @torch.inference_mode()
    def in_inference_mode(model):
        model(tokens(), adapter_names=["bitfit", key])

    assert torch.equal(trained(in_inference_mode), expected)

    def same_settings_once_more(model):
        add_adapters(model, CONFIGS[key], name=f"{len(adapter_names(model))}")
        set_adapter(model, key)

    assert torch.equal(trained(same_settings_once_more), expected)


def test_a_named_adapter_does_what_an_only_one_does(folders):
    """It can be switched off, merged, converted to another precision and copied."""
    model = loaded("bert", {key: folders[key] for key in ("weights, joint", "tensorized")})
    plain = logits(build("bert")[0])
    with adapters_off(model):
        assert torch.equal(logits(model), plain)
        with pytest.raises(UsageError, match="merged or off"):
            set_adapter(model, None)
    set_adapter(model, "weights, joint")
    adapted = logits(model)
    merge_adapters(model)
    with pytest.raises(UsageError, match="merged or off"):
        set_adapter(model, "tensorized")
    unmerge_adapters(model)
    copied = copy.deepcopy(model)
    set_adapter(copied, "tensorized")
    assert torch.equal(logits(model), adapted) and not torch.equal(logits(copied), adapted)
    remove_adapters(copied)
    assert torch.equal(logits(copied), plain)
    model.train().double()
    for key, expected in (("tensorized", None), (None, plain), ("weights, joint", adapted)):
        set_adapter(model, key)
        assert {p.dtype for p in model.parameters()} == {torch.float64}
        assert all(module.training for module in model.modules())
        if expected is not None:
            torch.testing.assert_close(logits(model).float(), expected, rtol=1e-4, atol=1e-5)
            model.train()


def test_labels_go_with_their_adapter_and_deleting_one_leaves_the_rest(tmp_path):
    for key, labels in (("tensorized", "abc"), ("lora", "xyz")):
        model = trained_a_little(add_adapters(build("bert")[0], CONFIGS[key]))
        model.config.id2label = dict(enumerate(labels))
        save_adapter(model, tmp_path / key)
    model = loaded("bert", {key: tmp_path / key for key in ("tensorized", "lora")})
    assert model.config.id2label[0] == "x"
    set_adapter(model, "tensorized")
    assert model.config.id2label[0] == "a" and model.config.label2id["c"] == 2
    delete_adapter(model, "lora")
    assert adapter_names(model) == ["tensorized"] and active_adapter(model) == "tensorized"
    delete_adapter(model, "tensorized")
    assert adapter_names(model) == [] and model.config.id2label == {i: f"LABEL_{i}" for i in range(3)}
    assert torch.equal(logits(model), logits(build("bert")[0]))
    add_adapters(model, CONFIGS["dense"])  # as on a fresh model


def test_refusals_leave_the_model_as_it_was(folders, tmp_path):
    model = build("bert")[0]
    set_adapter(model, None)  # which it has
    plain = logits(model)
    with pytest.raises(UsageError, match="cannot be read"):
        load_adapter(model, tmp_path, name="a")
    assert torch.equal(logits(model), plain) and "forward" not in model.__dict__ and adapter_names(model) == []
    load_adapter(model, folders["tensorized"], name="a")
    expected = logits(model)
    refused = {
        "has an adapter 'a'": lambda: load_adapter(model, folders["lora"], name="a"),
        "name=3: an adapter's name": lambda: load_adapter(model, folders["lora"], name=3),
        "cannot be read": lambda: load_adapter(model, tmp_path, name="b"),
        "no adapter 'b' on the model; there are": lambda: set_adapter(model, "b"),
        "no adapter \\['b'\\] on the model": lambda: set_adapter(model, ["b"]),
        "no adapter 'c' on": lambda: model(tokens(), adapter_names=["a", "c"]),
        "2 for 1 rows|1 for 2 rows": lambda: model(tokens(), adapter_names=["a"]),
        "list of one name or None": lambda: model(tokens(), adapter_names="aa"),
        "leave labels out": lambda: model(tokens(), labels=torch.tensor([0, 1]), adapter_names=["a", None]),
        "compile it anew": lambda: set_adapter(torch.compile(model, backend="eager"), "a"),
        "adapted already": lambda: add_adapters(model, CONFIGS["lora"]),
        "was adapted with": lambda: load_adapter(model, folders["lora"]),
    }
    for message, call in refused.items():
        with pytest.raises(UsageError, match=message):
            call()
        assert active_adapter(model) == "a" and adapter_names(model) == ["a"]
        assert torch.equal(logits(model), expected)
    with pytest.raises(UsageError, match="model.eval"):
        model.train()(tokens(), adapter_names=["a", None])
    set_adapter(model, None)
    for call in (lambda: add_adapters(model, CONFIGS["lora"]), lambda: load_adapter(model, folders["lora"])):
        with pytest.raises(UsageError, match="adapters have names"):
            call()
    unnamed = load_adapter(build("bert")[0], folders["lora"])
    for call in (lambda: load_adapter(unnamed, folders["tensorized"], name="a"), lambda: set_adapter(unnamed, None)):
        with pytest.raises(UsageError, match="without a name|has no name"):
            call()


@pytest.mark.parametrize("active", ["bitfit", None])
def test_threads_never_compute_with_the_adapter_of_another_ones_rows(folders, active):
    """While one computes a mixed batch, a pass of another one and a switch are refused, and the reverse."""
    model = loaded("bert", {key: folders[key] for key in ("tensorized", "bitfit")}).eval()
    set_adapter(model, active)
    expected = logits(model)
    mixed = functools.partial(model, tokens(), adapter_names=["tensorized", None])
    found = []

    def refused(action):
        def run():
            with torch.no_grad(), pytest.raises(UsageError, match="another thread computes"):
                action()
            found.append(action)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    def during(compute, *actions):
        found.clear()

        def hook(*_):
            if threading.current_thread() is threading.main_thread():
                for action in actions:
                    refused(action)

        handle = model.classifier.register_forward_pre_hook(hook)
        with torch.no_grad():
            output = compute()
        handle.remove()
        assert len(found) >= len(actions)
        return output.logits

    before = mixed().logits
    assert torch.equal(during(mixed, lambda: model(tokens()), mixed, lambda: set_adapter(model, "bitfit")), before)
    plain = during(lambda: model(tokens()), mixed, lambda: set_adapter(model, "tensorized"))
    assert torch.equal(plain, expected) and torch.equal(logits(model), expected) and active_adapter(model) == active

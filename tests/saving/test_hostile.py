"""Adapter folders that somebody made up, and signed: each is refused in one line, and leaves the model as it was."""

import hashlib
import itertools
import json
import os

import pytest
import safetensors.torch
import torch
from helpers import CONFIGS, logits, rewrite, trained_a_little
from transformers import AutoModelForSequenceClassification

from tensorized_adapters import UsageError, add_adapters, load_adapter, save_adapter
from tensorized_adapters.errors import one_line
from tensorized_adapters.saving import BESIDE_PEFT_FILE, CONFIG_FILE, WEIGHTS_FILE
from tensorized_adapters.saving.format import config_checksum, read_config

DEEP = [[[[[[[["x"]]]]]]]]
NASTY = (
    None,
    True,
    -1,
    10**9,
    10**400,
    1.5,
    float("inf"),
    float("nan"),
    "\x1b[31m",
    "y" * 5000,
    [],
    [["a"]],
    {},
    DEEP,
)


def fresh(base, **options):
    return AutoModelForSequenceClassification.from_pretrained(base, **options)


@pytest.fixture(params=["tensorized", "lora", "diff_pruning"])
def saved(request, base, tmp_path):
    """A folder, its config's path, and the record and tensors in it."""
    folder = tmp_path / "adapter"
    model = trained_a_little(add_adapters(fresh(base), CONFIGS[request.param]), 1)
    save_adapter(model, folder, {"texts": ["sentence1", "sentence2"]})
    path = folder / (BESIDE_PEFT_FILE if request.param == "lora" else CONFIG_FILE)
    return folder, path, json.loads(path.read_text()), safetensors.torch.load((folder / WEIGHTS_FILE).read_bytes())


class Untouched:
    """A model that every refusal leaves alone: parameters, their names and what is trained of them, and labels."""

    def __init__(self, model):
        self.model, self.labels = model, dict(model.config.id2label)
        self.before = self._state()

    def _state(self):
        return {name: (p.detach().clone(), p.requires_grad) for name, p in self.model.named_parameters()}

    def refuses(self, folder) -> str:
        with pytest.raises(UsageError) as caught:
            load_adapter(self.model, folder)
        line = str(caught.value)
        assert str(folder) in line and len(line) < 1000 and one_line(line)
        now = self._state()
        assert list(now) == list(self.before) and self.model.config.id2label == self.labels
        assert all(torch.equal(now[n][0], p) and now[n][1] == grad for n, (p, grad) in self.before.items())
        return line


def write(path, record):
    """Signed as whoever edited it would."""
    path.write_text(json.dumps(record | {"config_sha256": config_checksum(record)}))


def sign(folder, path, record, content):
    """The weights' file with this content, and a record that fits it."""
    (folder / WEIGHTS_FILE).write_bytes(content)
    write(path, record | {"weights_sha256": hashlib.sha256(content).hexdigest()})


def changed(record, place, value):
    """The record with another value at ``place``, a path of keys; without any if the value is Ellipsis."""
    record = json.loads(json.dumps(record))
    within = record
    for key in place[:-1]:
        within = within[key]
    if value is ...:
        del within[place[-1]]
    else:
        within[place[-1]] = value
    return record


def test_every_field_of_the_record(saved, base):
    """A few values each; those that a field can have change nothing of what the adapter computes."""
    folder, path, record, _ = saved
    model, nasty, refused, accepted = Untouched(fresh(base)), itertools.cycle(NASTY), 0, []
    expected = logits(load_adapter(fresh(base), folder))
    places = [(name,) for name in record if name != "config_sha256"]
    places += [(part, name) for part in ("adapter", "base_model") for name in record[part]]
    for place in [*places, ("id2label", "1"), ("notes", "texts")]:
        for value in itertools.islice(nasty, 3):
            write(path, changed(record, place, value))
            try:
                read_config(folder)
            except UsageError:
                model.refuses(folder)
                refused += 1
            else:
                same = torch.equal(logits(load_adapter(fresh(base), folder)), expected)
                assert same or place == ("adapter", "adapter_scale")  # a factor of the update may be any number
                accepted.append((place, value))
    assert refused > 6 * len(accepted), accepted


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("num_labels",), 10**8, "'id2label' must name the 100000000 labels"),
        (("num_labels",), ..., "'num_labels' must be a whole number of at least 1; it is missing"),
        (("id2label",), {"0": "no", "2": "yes"}, "'id2label' must name the 2 labels"),
        (("id2label",), {"0": "no", "1": "no"}, "a text of its own"),
        (("id2label",), {"0": "no", "1": "\ud800"}, "a text of its own"),
        (("format_version",), True, "format version True"),
        (("format_version",), 2.0, "format version 2.0"),
        (("problem_type",), "ranking", "'problem_type' must be one of None, regression"),
        (("newly_initialized",), ["a", None], "'newly_initialized' must be names of parameters"),
        (("notes", "texts"), ["a", "b", "a"], "'notes.texts' must be columns of different names"),
        (("base_model", "dtype"), "int8", "'base_model.dtype' must be one of float32"),
        (("base_model", "dtype"), ..., "belong together"),
        (("base_model", "sample"), "zz", "'base_model.sample' must be numbers"),
        (("base_model", "fingerprint"), "0" * 64, "trained on another base model"),
        (("weights_sha256",), "0" * 64, "is truncated or was altered"),
        (("adapter", "method"), "magic", "unknown method 'magic'"),
    ],
)
@pytest.mark.parametrize("saved", ["tensorized"], indirect=True)
def test_what_is_wrong_is_told(saved, base, place, value, told):
    folder, path, record, _ = saved
    write(path, changed(record, place, value))
    assert told in Untouched(fresh(base)).refuses(folder)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"adapter_size": 10**6}, "numbers in the adapters of its settings"),
        ({"adapter_layers": "0-9999"}, "beyond the model's last layer"),
        ({"adapter_size": 4}, "does not fit"),
        ({"train_layer_norm": False}, "tensors missing or foreign"),
    ],
)
def test_nothing_is_built_that_the_file_cannot_fill(base, tmp_path, value, told):
    save_adapter(add_adapters(fresh(base), CONFIGS["dense"]), tmp_path)
    record = json.loads((tmp_path / CONFIG_FILE).read_text())
    rewrite(tmp_path / CONFIG_FILE, {"adapter": record["adapter"] | value})
    assert told in Untouched(fresh(base)).refuses(tmp_path)


CHANGES = {
    "1e300": lambda t: t.double().fill_(1e300),
    "infinite": lambda t: t.float().fill_(float("inf")),
    "no number": lambda t: t.float().fill_(float("nan")),
    "bool": lambda t: t.bool(),
    "complex": lambda t: t.to(torch.complex64),
    "whole": lambda t: t.long(),
    "eight bits": lambda t: t.float().to(torch.float8_e4m3fn),
    "one dimension more": lambda t: t[..., None],
    "empty": lambda t: t[:0],
    "scalar": lambda t: t.flatten()[0],
    "twice as long": lambda t: torch.cat([t, t]),
}


def test_tensors_that_are_not_the_settings(saved, base):
    folder, path, record, tensors = saved
    model = Untouched(fresh(base))
    for name in (next(iter(tensors)), next(name for name in tensors if "classifier" not in name)):
        for change in CHANGES.values():
            odd = change(tensors[name]).contiguous().clone()
            sign(folder, path, record, safetensors.torch.save(tensors | {name: odd}))
            model.refuses(folder)
        others = {other: tensor for other, tensor in tensors.items() if other != name}
        for odd in (others, others | {f"{name}x": tensors[name]}, tensors | {"more": torch.zeros(1)}, {}):
            sign(folder, path, record, safetensors.torch.save(odd))
            model.refuses(folder)


@pytest.mark.parametrize("saved", ["lora"], indirect=True)
def test_a_tensor_under_two_spellings_is_refused(saved, base):
    folder, path, record, tensors = saved
    name = next(iter(tensors))
    twice = tensors | {name.removeprefix("base_model.model."): tensors[name].clone()}
    sign(folder, path, record, safetensors.torch.save(twice))
    assert "twice" in Untouched(fresh(base)).refuses(folder)


@pytest.mark.parametrize("saved", ["tensorized"], indirect=True)
def test_weights_whose_header_lies(saved, base):
    folder, path, record, _ = saved
    good = (folder / WEIGHTS_FILE).read_bytes()
    size = int.from_bytes(good[:8], "little")
    header, model = json.loads(good[8 : 8 + size]), Untouched(fresh(base))
    name = next(name for name in header if name != "__metadata__")
    lies = [{"shape": [10**9, 10**9]}, {"shape": [-1]}, {"dtype": "F8_E8M0"}, {"data_offsets": [0, 10**12]}]
    headers = [json.dumps(header | {name: header[name] | lie}).encode() for lie in lies]
    headers += [b"[]", b"{" * 100, b'{"a":' * 5000]
    contents = [len(odd).to_bytes(8, "little") + odd + good[8 + size :] for odd in headers]
    for content in [*contents, (2**63).to_bytes(8, "little") + good[8:], b"", good[:4], good[:-3], good + b"abc"]:
        sign(folder, path, record, content)
        model.refuses(folder)


@pytest.mark.parametrize("saved", ["tensorized", "lora"], indirect=True)
def test_what_is_no_file_or_no_json(saved, base):
    folder, path, *_ = saved
    model = Untouched(fresh(base))
    for content in (
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xff\xfe",
    ):
        path.write_bytes(content)
        model.refuses(folder)
    places = {
        "folder": lambda p: p.mkdir(),
        "pipe": os.mkfifo,  # which a reader would wait for
        "link to itself": lambda p: p.symlink_to(p.name),
        "link to nothing": lambda p: p.symlink_to("nothing"),
        "device": lambda p: p.symlink_to("/dev/zero"),
        "huge": lambda p: os.truncate(p, 2**40) if p.touch() is None else None,
    }
    for make in places.values():
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        model.refuses(folder)
    assert "cannot be read" in Untouched(fresh(base)).refuses(folder.parent / "nowhere")
    with pytest.raises(UsageError, match="null byte"):
        load_adapter(fresh(base), "a\0b")


def test_an_adapted_model_is_left_alone_too(saved, base):
    folder, path, record, tensors = saved
    model = load_adapter(fresh(base), folder)
    before, untouched = logits(model), Untouched(model)
    last = next(name for name in reversed(tensors) if tensors[name].is_floating_point())
    spoiled = tensors | {last: tensors[last].double().fill_(1e300)}
    sign(folder, path, record, safetensors.torch.save(spoiled))
    untouched.refuses(folder)
    write(path, changed(record, ("id2label", "1"), 5))
    untouched.refuses(folder)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("saved", ["tensorized"], indirect=True)
def test_numbers_that_the_models_own_precision_cannot_hold(saved, base):
    folder, path, record, tensors = saved
    name = next(iter(tensors))
    sign(folder, path, record, safetensors.torch.save(tensors | {name: torch.full_like(tensors[name], 1e6)}))
    told = Untouched(fresh(base, dtype=torch.float16)).refuses(folder)
    assert f"{name} holds numbers that are too large for torch.float16" in told
    load_adapter(fresh(base), folder)

"""Adapter folders that are damaged, or that somebody changed and signed again: the model stays as it was.

Damage is one line that names the folder. What was signed again is refused by whoever uses it, and nothing is executed.
"""

import hashlib
import itertools
import json
import os
import pickle

import pytest
import safetensors.torch
import torch
from helpers import logits, rewrite, trained_a_little
from tiny_models import CONFIGS
from transformers import AutoModelForSequenceClassification

from tensorized_adapters import UsageError, add_adapters, load_adapter, save_adapter
from tensorized_adapters.errors import one_line
from tensorized_adapters.saving import BESIDE_PEFT_FILE, CONFIG_FILE, WEIGHTS_FILE
from tensorized_adapters.saving.manifest import config_checksum


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
    """A model that must stay as it is: parameters, their names, which of them are trained, and labels."""

    def __init__(self, model):
        self.model, self.labels = model, dict(model.config.id2label)
        self.before = self._state()

    def _state(self):
        return {name: (p.detach().clone(), p.requires_grad) for name, p in self.model.named_parameters()}

    def refuses(self, folder, error=UsageError) -> str:
        with pytest.raises(error) as caught:
            load_adapter(self.model, folder)
        now = self._state()
        assert list(now) == list(self.before) and self.model.config.id2label == self.labels
        assert all(torch.equal(now[n][0], p) and now[n][1] == grad for n, (p, grad) in self.before.items())
        line = str(caught.value)
        assert error is not UsageError or (str(folder) in line and len(line) < 1000 and one_line(line))
        return line


def write(path, record):
    """Write a record with the checksum that it needs."""
    path.write_text(json.dumps(record | {"config_sha256": config_checksum(record)}))


def sign(folder, path, record, content):
    """Write this content as the weights' file, and a record with its checksum."""
    (folder / WEIGHTS_FILE).write_bytes(content)
    write(path, record | {"weights_sha256": hashlib.sha256(content).hexdigest()})


def changed(record, keys, value):
    """Return the record with another value at a path of ``keys``, or without the last key if the value is Ellipsis."""
    record = json.loads(json.dumps(record))
    within = record
    for key in keys[:-1]:
        within = within[key]
    if value is ...:
        del within[keys[-1]]
    else:
        within[keys[-1]] = value
    return record


@pytest.mark.parametrize("saved", ["tensorized", "lora"], indirect=True)
def test_truncated_and_flipped_files(saved, base):
    folder, path, *_ = saved
    model = Untouched(fresh(base))
    for damaged in (path, folder / WEIGHTS_FILE):
        good = damaged.read_bytes()
        for position in range(0, len(good), len(good) // 20):
            for content in (good[:position], good[:position] + bytes([good[position] ^ 2]) + good[position + 1 :]):
                damaged.write_bytes(content)
                model.refuses(folder)
        damaged.unlink()
        line = model.refuses(folder)
        assert "cannot be read: No such file" in line or (damaged.name == BESIDE_PEFT_FILE and "one of peft" in line)
        damaged.write_bytes(good)
    load_adapter(model.model, folder)


@pytest.mark.parametrize("saved", ["tensorized", "lora"], indirect=True)
def test_a_config_that_is_no_file_or_no_json(saved, base):
    folder, path, *_ = saved
    model = Untouched(fresh(base))
    numbers = b'{"a":' + b"9" * 5000 + b"}"
    for content in (b"", b"null", b"[]", b"[" * 100_000, b'{"a":' * 20_000, numbers, b"\xff\xfe"):
        path.write_bytes(content)
        model.refuses(folder)
    folders = {
        "folder": lambda p: p.mkdir(),
        "pipe": os.mkfifo,  # a reader would wait for a writer
        "link to itself": lambda p: p.symlink_to(p.name),
        "link to nothing": lambda p: p.symlink_to("nothing"),
        "device": lambda p: p.symlink_to("/dev/zero"),
    }
    for make in folders.values():
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        model.refuses(folder)
    assert "cannot be read" in Untouched(fresh(base)).refuses(folder.parent / "nowhere")
    with pytest.raises(UsageError, match="null byte"):
        load_adapter(fresh(base), "a\0b")


@pytest.mark.parametrize("saved", ["tensorized"], indirect=True)
def test_any_value_in_a_signed_record_leaves_the_model_alone(saved, base):
    """A value is refused, or the adapter's outputs stay the same."""
    folder, path, record, _ = saved
    model, odd, refused = Untouched(fresh(base)), itertools.cycle((None, -1, 10**9, float("nan"), [["a"]], {}, ...)), 0
    key_paths = [(name,) for name in record if name not in ("config_sha256", "notes")]
    key_paths += [(part, name) for part in ("adapter", "base_model") for name in record[part]]
    expected = logits(load_adapter(fresh(base), folder))
    for keys in key_paths:
        for value in itertools.islice(odd, 3):
            write(path, changed(record, keys, value))
            try:
                same = torch.equal(logits(load_adapter(fresh(base), folder)), expected)
            except Exception:
                model.refuses(folder, Exception)
                refused += 1
            else:
                assert same or keys == ("adapter", "adapter_scale"), (keys, value)
    assert refused > len(key_paths)


@pytest.mark.parametrize("saved", ["tensorized"], indirect=True)
def test_nothing_is_unpickled(saved, base):
    """Signed weights that are a pickle, or a safetensors file whose header lies."""
    folder, path, record, _ = saved

    class Exploit:
        def __reduce__(self):
            return open, (str(folder / "executed"), "w")

    good = (folder / WEIGHTS_FILE).read_bytes()
    size = int.from_bytes(good[:8], "little")
    header, model = json.loads(good[8 : 8 + size]), Untouched(fresh(base))
    name = next(name for name in header if name != "__metadata__")
    lies = [{"shape": [10**9, 10**9]}, {"shape": [-1]}, {"dtype": "F8_E8M0"}, {"data_offsets": [0, 10**12]}]
    headers = [json.dumps(header | {name: header[name] | lie}).encode() for lie in lies]
    contents = [len(odd).to_bytes(8, "little") + odd + good[8 + size :] for odd in (*headers, b"[]", b"{" * 100)]
    for content in (*contents, pickle.dumps(Exploit()), b"", good[:-3], (2**63).to_bytes(8, "little") + good[8:]):
        sign(folder, path, record, content)
        model.refuses(folder, Exception)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"adapter_size": 10**6}, "numbers in the adapters of its settings"),
        ({"adapter_layers": "0-9999"}, "beyond the model's last layer"),
        ({"adapter_size": 4}, "does not fit"),
        ({"train_layer_norm": False}, "tensors missing or foreign"),
    ],
)
def test_nothing_is_built_that_the_file_cannot_fill(base, tmp_path, value, reason):
    save_adapter(add_adapters(fresh(base), CONFIGS["dense"]), tmp_path)
    record = json.loads((tmp_path / CONFIG_FILE).read_text())
    rewrite(tmp_path / CONFIG_FILE, {"adapter": record["adapter"] | value})
    assert reason in Untouched(fresh(base)).refuses(tmp_path)


CHANGES = {
    "1e300": lambda t: t.double().fill_(1e300),
    "infinite": lambda t: t.float().fill_(float("inf")),
    "no number": lambda t: t.float().fill_(float("nan")),
    "one dimension more": lambda t: t[..., None],
    "empty": lambda t: t[:0],
    "scalar": lambda t: t.flatten()[0],
    "twice as long": lambda t: torch.cat([t, t]),
}


def test_tensors_that_do_not_fit_the_settings(saved, base):
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


def test_an_adapted_model_is_left_alone_too(saved, base):
    folder, path, record, tensors = saved
    model = load_adapter(fresh(base), folder)
    before, untouched = logits(model), Untouched(model)
    last = next(name for name in reversed(tensors) if tensors[name].is_floating_point())
    spoiled = tensors | {last: tensors[last].double().fill_(1e300)}
    sign(folder, path, record, safetensors.torch.save(spoiled))
    untouched.refuses(folder)
    write(path, changed(record, ("id2label",), 5))
    untouched.refuses(folder, Exception)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("saved", ["tensorized"], indirect=True)
def test_numbers_that_the_models_own_precision_cannot_hold(saved, base):
    folder, path, record, tensors = saved
    name, model = next(iter(tensors)), load_adapter(fresh(base), folder).half()
    sign(folder, path, record, safetensors.torch.save(tensors | {name: torch.full_like(tensors[name], 1e6)}))
    line = Untouched(model).refuses(folder)
    assert f"{name} holds numbers that are too large for torch.float16" in line
    for dtype in (torch.float32, torch.float16):  # on either base it is trained, and so loaded, in float32
        load_adapter(fresh(base, dtype=dtype), folder)

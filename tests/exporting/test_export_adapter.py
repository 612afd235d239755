"""tensorized-adapters export: each kind of output, run without this package, gives the adapter's logits."""

import os
import runpy

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import save_base, tiny_config, trained_a_little
from tiny_models import CONFIGS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tensorized_adapters import UsageError, add_adapters, load_pipeline, save_adapter
from tensorized_adapters.cli import export as export_adapter
from tensorized_adapters.exporting import program

TEXTS = ["the cat saw a dog", "red", "the old woman found a new house and not the river"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base, and adapters of several methods on it that were trained a little."""
    root = tmp_path_factory.mktemp("export")
    base = save_base(root / "base", config=tiny_config(initializer_range=0.3))
    for key in ("joint", "parallel", "weights", "dense", "diff_pruning"):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base)
        save_adapter(trained_a_little(add_adapters(model, CONFIGS[key])), root / key, {"max_seq_length": 32})
    return root


def expected(folders, key):
    """Token ids, and the logits of the adapter on them."""
    pipeline = load_pipeline(folders / key)
    inputs = pipeline.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return inputs, pipeline.model(**inputs).logits


def export(folders, key, out, to, *further):
    words = ["--adapter_path", str(folders / key), "--output_dir", str(out), "--to", to, *further]
    assert export_adapter.main(words) == 0
    return out


def size_of(folder):
    return sum(path.stat().st_size for path in folder.glob("model.onnx*"))


def rows_of(inputs, number):
    return {name: values[:number] for name, values in inputs.items()}


@pytest.mark.parametrize("key", exhaustive_but(["joint"], ["joint", "parallel", "diff_pruning"]))
def test_a_program_of_torch_export_takes_any_batch_and_length(folders, tmp_path, key):
    folder = export(folders, key, tmp_path / "program", "pt2")
    exported = torch.export.load(folder / "model.pt2").module()
    inputs, logits = expected(folders, key)
    assert AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True).input_ids == inputs["input_ids"].tolist()
    for number in (3, 1):
        given = rows_of(inputs, number)
        torch.testing.assert_close(exported(**given), logits[:number], rtol=0, atol=1e-5)
    assert not any("tltorch" in line or "tensorized" in line for line in str(exported.graph).splitlines())


@pytest.fixture(scope="module")
def onnx(folders, tmp_path_factory):
    return export(folders, "joint", tmp_path_factory.mktemp("onnx") / "onnx", "onnx")


def test_onnx_gives_the_same_logits_for_any_batch_and_length(folders, onnx):
    import onnxruntime

    folder = onnx
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    inputs, logits = expected(folders, "joint")
    assert {each.name for each in session.get_inputs()} == set(inputs)
    for number in (3, 1):
        given = {name: values.numpy() for name, values in rows_of(inputs, number).items()}
        found = torch.from_numpy(session.run(["logits"], given)[0])
        torch.testing.assert_close(found, logits[:number], rtol=0, atol=1e-4)


def test_int8_is_smaller_and_close(folders, onnx, tmp_path):
    import onnxruntime

    folder = export(folders, "joint", tmp_path / "int8", "onnx", "--quantize", "int8")
    assert sorted(path.name for path in folder.iterdir() if "onnx" in path.name) == ["model.onnx"]
    assert size_of(folder) < 0.8 * size_of(onnx)  # of a tiny model; of BERT-base it is a quarter
    inputs, logits = expected(folders, "joint")
    given = {name: values.numpy() for name, values in inputs.items()}
    found = torch.from_numpy(onnxruntime.InferenceSession(folder / "model.onnx").run(["logits"], given)[0])
    assert 0 < (found - logits).abs().max() < 0.5 * logits.abs().max()  # random weights, 32 wide, are a hard case
    assert found.argmax(1).tolist() == logits.argmax(1).tolist()


def test_a_dense_export_of_updates_is_the_merged_model(folders, tmp_path):
    folder = export(folders, "weights", tmp_path / "dense", "dense")
    assert sorted(path.name for path in folder.iterdir()) == [
        "dense_adapter.json",
        "dense_adapter.py",
        "dense_adapter.safetensors",
    ]
    inputs, logits = expected(folders, "weights")
    plain = AutoModelForSequenceClassification.from_pretrained(folders / "base").eval()
    attach = runpy.run_path(folder / "dense_adapter.py")["attach"]
    with torch.no_grad():
        torch.testing.assert_close(attach(plain, folder)(**inputs).logits, logits, rtol=0, atol=1e-5)
    assert not any(hasattr(module, "adapter") for module in plain.modules())


def test_what_is_refused_leaves_nothing_behind(folders, tmp_path, monkeypatch):
    words = ["--adapter_path", str(folders / "dense"), "--to", "onnx", "--output_dir"]
    monkeypatch.setattr(program, "_PACKAGES_OF_ONNX", ("onnx", "no_such_package"))
    with pytest.raises(UsageError, match="--to onnx needs no_such_package.*pip install 'tensorized-adapters.onnx.'"):
        export_adapter.main([*words, str(tmp_path / "out")])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    with pytest.raises(UsageError, match="taken exists and is not an empty folder; name another"):
        export_adapter.main([*words, str(tmp_path / "taken")])
    with pytest.raises(UsageError, match="--quantize int8 needs --to onnx, got --to pt2"):
        export(folders, "dense", tmp_path / "out", "pt2", "--quantize", "int8")
    for to in ("pt2", "onnx"):  # torch aborts the process
        with pytest.raises(UsageError, match=f"caf.* is not UTF-8, and --to {to} writes no other names"):
            export(folders, "dense", tmp_path / "caf\udce9", to)
    with pytest.raises(UsageError, match="cannot be written"):
        export_adapter.main([*words, str(tmp_path / "taken" / "mine" / "out")])
    with pytest.raises(UsageError, match="adapter_config.json"):
        export_adapter.main(["--adapter_path", str(tmp_path), "--to", "dense", "--output_dir", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("to", ["dense", "pt2"])
def test_files_have_the_rights_of_the_users_umask(folders, tmp_path, to):
    before = os.umask(0o027)
    try:
        folder = export(folders, "weights", tmp_path / "out", to)
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == dict.fromkeys(
        (path.name for path in folder.iterdir()), oct(0o640)
    )

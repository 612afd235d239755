"""Outputs of the subcommands: what cannot be written is refused before any work, and links stay."""

import os

import pytest

from tensorized_adapters import UsageError
from tensorized_adapters.cli.parser import new_folder


def filled(path):
    with new_folder(path) as folder:
        (folder / "weights").write_text("new")


def test_a_link_to_an_empty_folder_stays_a_link(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    filled(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "store" / "weights").read_text() == "new"
    with pytest.raises(UsageError, match="link exists and is not an empty folder; name another"):
        filled(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["link", "store"]


def test_what_cannot_become_the_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "mount").mkdir()
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "round").symlink_to("round")
    ismount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: os.path.basename(path) == "mount" or ismount(path))
    monkeypatch.chdir(tmp_path / "mount")
    ends_in_no_name = "must end in the name of a new or empty folder"
    for path, message in (
        (".", f"--output_dir '.' {ends_in_no_name}"),
        ("..", ends_in_no_name),
        ("new/..", ends_in_no_name),
        ("/", ends_in_no_name),
        (tmp_path / "mount", "mount' is a mount point, which cannot be replaced; name a folder in it"),
        (tmp_path / "nowhere", "exists and is not an empty folder; name another"),
        (tmp_path / "round", "exists and is not an empty folder; name another"),
    ):
        with pytest.raises(UsageError, match=message), new_folder(type(tmp_path)(path)):
            pytest.fail("the work began")
    assert sorted(os.listdir(tmp_path)) == ["mount", "nowhere", "round"] and not os.listdir(tmp_path / "mount")


def test_a_folder_of_a_mount_point_and_an_empty_folder_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path))
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/new"):
        filled(tmp_path / name)
        assert os.listdir(tmp_path / name) == ["weights"]

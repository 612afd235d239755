"""Outputs of the subcommands: what cannot be written is refused before any work, and links stay."""

import os
import stat
from pathlib import Path

import pytest
from benchmark_record import write_record

from tensorized_adapters import UsageError
from tensorized_adapters.cli import count, glue_submission
from tensorized_adapters.cli.parser import ScriptParser, check_output, new_folder


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
        with pytest.raises(UsageError, match=message), new_folder(Path(path)):
            pytest.fail("the work began")
    assert sorted(os.listdir(tmp_path)) == ["mount", "nowhere", "round"] and not os.listdir(tmp_path / "mount")


def test_a_folder_of_a_mount_point_and_an_empty_folder_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path))
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/new"):
        filled(tmp_path / name)
        assert os.listdir(tmp_path / name) == ["weights"]


COUNT = ["--methods", "head", "--output"]


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    (tmp_path / "ahead.txt").symlink_to("later.txt")
    for link, target in (("link.txt", "real.txt"), ("ahead.txt", "later.txt")):
        assert count.main([*COUNT, str(tmp_path / link)]) == 0
        assert (tmp_path / link).is_symlink() and "head" in (tmp_path / target).read_text()
        write_record(tmp_path / link, "benchmark.py", [], {}, {"rows": ["measured"]})
        assert (tmp_path / link).is_symlink() and "measured" in (tmp_path / target).read_text()
    assert len(os.listdir(tmp_path)) == 4


def test_the_zip_file_is_written_where_a_link_points(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "RTE.tsv").write_text("")
    (tmp_path / "all.zip").symlink_to("later.zip")
    monkeypatch.setattr("tensorized_adapters.predicting.glue_submission._checked", lambda *_: b"")
    assert glue_submission.main([str(tmp_path / "run"), "--output", str(tmp_path / "all.zip")]) == 0
    assert (tmp_path / "all.zip").is_symlink() and (tmp_path / "later.zip").is_file()


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    (tmp_path / "to_folder").symlink_to(tmp_path)
    (tmp_path / "round").symlink_to("round")
    for path, reason in (
        (tmp_path / "pipe", "it is not a regular file; name another"),
        (tmp_path / "to_pipe", "it is not a regular file; name another"),
        (tmp_path / "round", "it is not a regular file; name another"),
        (Path("/dev/null"), "it is not a regular file; name another"),
        (tmp_path / "to_folder", "it is a folder; name a file"),
    ):
        with pytest.raises(UsageError, match=f"^--output {path} cannot be written: {reason}"):
            check_output(path)
    with pytest.raises(UsageError, match="not a regular file"):
        count.main([*COUNT, str(tmp_path / "pipe")])
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert len(os.listdir(tmp_path)) == 4


def test_a_tilde_that_the_shell_left_is_the_home_folder(tmp_path, monkeypatch):
    """As in ``--output_dir=~/x``. A folder with the name "~" would be made in the current one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = ScriptParser("")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--name")
    options = parser.parse_args(["~/a", "b", "--output_dir=~/x", "--name=~/y"])
    assert options.output_dir == tmp_path / "x" and options.name == "~/y"
    assert options.runs == [tmp_path / "a", Path("b")]

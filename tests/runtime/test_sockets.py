"""A temporary folder whose path is too long for sockets is refused before anything starts."""

import os
import socket
import tempfile

import pytest
from helpers import argv, refused

from tensorized_adapters import UsageError
from tensorized_adapters.runtime.sockets import check_sockets_of_ray, check_sockets_of_workers


def use(monkeypatch, folder):
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def deep(monkeypatch, tmp_path):
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    use(monkeypatch, folder)
    return folder


@pytest.mark.parametrize("flag, count", [("dataloader_num_workers", 1), ("preprocessing_num_workers", 2)])
def test_a_run_with_workers_is_refused(deep, flags, capsys, flag, count):
    line = refused(capsys, argv(flags, **{flag: count}), flags["output_dir"])
    assert f"TMPDIR '{str(deep)[:30]}" in line and "is too long" in line and f"--{flag}" in line
    assert line.endswith("such as TMPDIR=/tmp\n")


def test_a_sweep_is_refused(deep, monkeypatch):
    from tensorized_adapters.sweeping.on_ray import Machines

    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with pytest.raises(UsageError, match="TMPDIR '.*' is too long .* sockets of a sweep; set it to a folder"):
        Machines(None, 1, None)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # which Ray takes instead
    check_sockets_of_ray()


def test_the_limit_of_workers_is_that_of_the_system(monkeypatch):
    """The longest folder that is accepted has room for a socket, and one byte more is refused."""
    limit = 107 - len("/pymp-12345678/listener-12345678")
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        folder = os.path.join(parent, "x" * (limit - len(parent) - 1))
        os.makedirs(os.path.join(folder, "pymp-12345678"))
        use(monkeypatch, folder)
        check_sockets_of_workers("dataloader_num_workers")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(folder + "/pymp-12345678/listener-12345678")
        os.rename(folder, folder + "x")
        use(monkeypatch, folder + "x")
        with pytest.raises(UsageError, match="TMPDIR"):
            check_sockets_of_workers("dataloader_num_workers")

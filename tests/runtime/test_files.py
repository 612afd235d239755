"""Reading JSON that may be damaged, and locking folders."""

import errno
import fcntl
import os
import time

import pytest

from tensorized_adapters.errors import UsageError
from tensorized_adapters.runtime.files import content_of, locked_folder, read_json, write_json
from tensorized_adapters.sweeping import trial

DAMAGED = {
    b"": "is not JSON",
    b'{"a": 1': "is not JSON",
    b"\xff\xfe{}": "is not JSON",
    b"[" * 100_000: "is not JSON",
    b"[1]": "does not hold an object",
    b"1": "does not hold an object",
    b"1" * 5000: "is not JSON",  # Python converts no integer of more than 4300 digits
}


def test_what_was_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("content, reason", DAMAGED.items(), ids=range(len(DAMAGED)))
def test_damaged_json_is_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as error:
        read_json(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_file_that_is_too_large_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b" " * 99_999)
    assert len(content_of(path, largest=99_999)) == 99_999
    with pytest.raises(UsageError, match="has 99,999 bytes, and at most 50,000 are read") as error:
        content_of(path, largest=50_000)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", tmp_path / "a\0b"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_json(path)


def test_a_file_system_without_locks_is_told_from_a_folder_in_use(tmp_path, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="is in use by another run; wait for it"), locked_folder(tmp_path, "run"):
        pass
    os.close(holder)
    monkeypatch.setattr(fcntl, "flock", without_locks)
    message = "cannot be locked: Function not implemented; name a folder on a file system with locks"
    with (
        pytest.raises(UsageError, match=f"^--output_dir {tmp_path}/a {message}$"),
        locked_folder(tmp_path / "a", "run"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_trial_does_not_wait_where_a_file_system_has_no_locks(tmp_path, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", without_locks)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    trial._wait_until_unlocked(tmp_path)

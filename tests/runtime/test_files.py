"""Reading JSON that may be damaged."""

import os

import pytest

from tensorized_adapters.errors import UsageError
from tensorized_adapters.runtime.files import read_json, write_json

DAMAGED = {
    b"": "is not JSON",
    b'{"a": 1': "is not JSON",
    b"\xff\xfe{}": "is not JSON",
    b"[" * 100_000: "is nested too deeply",
    b"[1]": "does not hold an object",
    b"1" * 5000: "is not JSON",  # Python converts no integer of more than 4300 digits
    b" " * 99_999: "has 99,999 bytes, and at most",
}


def test_what_was_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None]}
    write_json(tmp_path / "a.json", [1])
    assert read_json(tmp_path / "a.json", list) == [1]


@pytest.mark.parametrize("content, reason", DAMAGED.items(), ids=range(len(DAMAGED)))
def test_damaged_json_is_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as error:
        read_json(path, largest=50_000 if reason.startswith("has") else None)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", tmp_path / "a\0b"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_json(path)
    write_json(tmp_path / "a.json", {})
    with pytest.raises(UsageError, match="does not hold a list"):
        read_json(tmp_path / "a.json", list)
    with pytest.raises(UsageError, match="does not hold a decimal number"):
        read_json(tmp_path / "a.json", float)

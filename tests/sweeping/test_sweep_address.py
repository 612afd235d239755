"""--address of tensorized-adapters sweep: where no Ray cluster answers, one line says so within seconds."""

import http.server
import socket
import threading

import pytest

from tensorized_adapters.cli import sweep
from tensorized_adapters.errors import UsageError
from tensorized_adapters.runtime import exits
from tensorized_adapters.sweeping import on_ray


class Silent(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def listener():
    """The address of something that is no Ray cluster."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("ray://127.0.0.1:1", "Connection refused"),
        ("HTTP", "does not answer as Ray does"),
        ("ray://HTTP", "does not answer as Ray does"),
        ("auto", "Could not find any running Ray instance"),
        ("nowhere", "is not auto, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:x", "is not auto, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:99999", "is not auto, HOST:PORT or ray://HOST:PORT"),
        ("a..b:1", "no Ray cluster answers there"),
    ],
)
def test_an_address_without_a_cluster_is_refused(listener, tmp_path, monkeypatch, capfd, address, message):
    def init(**_):  # Ray may run here for somebody else
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one")

    monkeypatch.setattr(on_ray.ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "none"))
    words = ["--projection_types", "cp", "--output_dir", str(tmp_path / "s"), "--address"]
    assert exits.run(sweep.main, [*words, address.replace("HTTP", listener)]) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("error: --address ") and captured.err.count("\n") == 1 and message in captured.err
    assert not captured.out and not list(tmp_path.iterdir())


@pytest.mark.parametrize("known", ["by the variable", "by the file"])
def test_the_cluster_that_auto_stands_for_may_have_ended(tmp_path, monkeypatch, known):
    """Ray itself would wait for it."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1" if known == "by the variable" else "")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1\n")
    with pytest.raises(
        UsageError, match=r"^--address 'auto': no Ray cluster answers there \(127.0.0.1:1: .*Connection refused"
    ):
        on_ray.check_address("auto")


def test_a_listener_that_never_answers_is_not_waited_for(monkeypatch):
    """The refusal of any address takes no longer than this wait, and what the machine needs."""
    assert on_ray._SECONDS_TO_ANSWER < 10
    monkeypatch.setattr(on_ray, "_SECONDS_TO_ANSWER", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UsageError, match="Deadline Exceeded"):
        on_ray.check_address(f"127.0.0.1:{silent.getsockname()[1]}")

"""One trial of a sweep, without Ray: a job that hangs, a full disk, GPUs that are not its own; and addresses."""

import errno
import http.server
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tensorized_adapters.cli import sweep
from tensorized_adapters.errors import UsageError
from tensorized_adapters.runtime import exits
from tensorized_adapters.sweeping import address, notes, on_ray, trial

# It starts a child, tells its process id, and hangs; the second start is done at once if the word "once" is given.
HANGING = """
import os, signal, subprocess, sys
from pathlib import Path
folder = Path(sys.argv[1])
if (folder / "child").exists() and "once" in sys.argv:
    (folder / "run.json").write_text('{"status": "finished"}')
    raise SystemExit(0)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(folder / "child").write_text(str(child.pid))
os.kill(os.getpid(), signal.SIGSTOP)
"""
FULL = "failed: checkpoint-4 cannot be written: " + os.strerror(errno.ENOSPC)


@pytest.fixture
def job_trial(tmp_path, monkeypatch):
    """Makes a trial of a job of these lines, given its folder and further words; its polls are short."""
    monkeypatch.setattr(trial, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(trial.JobTrial, "_of_memory", lambda *_: "")

    def make(lines, *words, **changes):
        (tmp_path / "job.py").write_text(lines)
        (tmp_path / "logs").mkdir()
        point = {
            "start": "now",
            "command": [str(tmp_path / "job.py"), str(tmp_path), *words],
            "folder": str(tmp_path),
            "log": str(tmp_path / "logs" / "x.log"),
            "note": str(tmp_path / "logs" / "x.json"),
            "directory": str(tmp_path),
            "environment": {},
            "max_failures": 0,
            "time_limit": None,
        }
        made = trial.JobTrial.__new__(trial.JobTrial)
        made.setup({"trial": point | changes})
        return made

    return make


def steps_to_the_end(job, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        result = job.step()
        if result["done"] or trial.NO_ROOM in result:
            return result
    raise AssertionError("the trial goes on for ever")


def is_gone(process):
    """Whether a process has ended, be it that nobody has taken note of it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_hanging_trial_is_killed_with_its_children_and_has_failed(job_trial, tmp_path):
    job = job_trial(HANGING, time_limit=1.5)
    assert steps_to_the_end(job)["done"]
    note = notes.read_note(tmp_path / "logs" / "x.json")
    assert note["state"] == "failed" and note["failures"] == 1 and note["seconds"] >= 1.5
    assert note["reason"] == "killed: a start of it took longer than --trial_time_limit 1.5s"
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_hanging_trial_gets_its_further_starts(job_trial, tmp_path):
    job = job_trial(HANGING, "once", time_limit=1.5, max_failures=1)
    assert steps_to_the_end(job)["done"]
    note = notes.read_note(tmp_path / "logs" / "x.json")
    assert note["state"] == "finished" and note["failures"] == 1


def test_a_stopped_trial_ends_with_its_sweep(job_trial, tmp_path, monkeypatch):
    job = job_trial("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(60)")
    job.step()
    process = job.job.pid
    wait = job.job.wait
    monkeypatch.setattr(job.job, "wait", lambda timeout=None: wait(timeout and min(timeout, 0.2)))
    os.kill(process, signal.SIGSTOP)
    job.cleanup()
    assert is_gone(process) and job.job is None


@pytest.mark.parametrize("full", [True, False])
def test_a_full_disk_is_no_failure_of_the_trial(job_trial, tmp_path, monkeypatch, full):
    """Shown by the job's last line, for there is room for a small file."""
    job = job_trial(f"raise SystemExit({FULL if full else 'failed: NaN'!r})")
    result = steps_to_the_end(job)
    note = notes.read_note(tmp_path / "logs" / "x.json")
    assert (result.get(trial.NO_ROOM), note["failures"]) == ((FULL, 0) if full else (None, 1))
    stopper = trial.StopWhenFull()
    assert not stopper("x", result) and stopper.stop_all() == full


def test_a_note_that_finds_no_room_is_no_failure_either(job_trial, monkeypatch):
    job = job_trial("raise SystemExit(3)")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(notes, "write_note", full)
    assert job.step() == {"done": False, trial.NO_ROOM: os.strerror(errno.ENOSPC)} and job.failures == 0


@pytest.mark.parametrize(("per_trial", "seen"), [({"cpu": 1}, ""), ({"cpu": 1, "gpu": 0.5}, "3,4")])
def test_a_trial_without_gpus_sees_none(job_trial, tmp_path, monkeypatch, per_trial, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")  # as of a worker that Ray gave two, or left all
    options = SimpleNamespace(max_failures=0, trial_time_limit=None)
    one = SimpleNamespace(name="x", command=lambda _: [], folder=lambda _: tmp_path)
    ledger = SimpleNamespace(folder=tmp_path, start="now", note_path=lambda _: tmp_path / "x.json")
    [point] = on_ray._points([one], ledger, SimpleNamespace(per_trial=per_trial), options)
    job = job_trial("import os; print('sees', os.environ['CUDA_VISIBLE_DEVICES'])", environment=point["environment"])
    steps_to_the_end(job)
    assert f"sees {seen}\n" in (tmp_path / "logs" / "x.log").read_text()


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
    ("place", "told"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("ray://127.0.0.1:1", "Connection refused"),
        ("HTTP", "does not answer as Ray does"),
        ("ray://HTTP", "does not answer as Ray does"),
        ("auto", "none was started on this machine"),
        ("nowhere", "is not auto, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:x", "is not auto, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:99999", "is not auto, HOST:PORT or ray://HOST:PORT"),
        ("a..b:1", "no Ray cluster answers there"),
    ],
)
def test_an_address_without_a_cluster_is_refused_in_seconds(listener, tmp_path, monkeypatch, capfd, place, told):
    def none(_):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(address, "canonicalize_bootstrap_address", none)
    began = time.monotonic()
    words = ["--projection_types", "cp", "--output_dir", str(tmp_path / "s"), "--address"]
    assert exits.run(sweep.main, [*words, place.replace("HTTP", listener)]) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("error: --address ") and captured.err.count("\n") == 1 and told in captured.err
    assert time.monotonic() - began < 10 and not captured.out and not list(tmp_path.iterdir())


def test_a_name_that_nobody_resolves_is_not_waited_for(monkeypatch):
    def slow(*_, **__):
        time.sleep(0.5)
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(address, "_SECONDS", 0.1)
    monkeypatch.setattr(address.socket, "create_connection", slow)
    with pytest.raises(UsageError, match="nothing within 0.1 s"):
        address.check_address("cluster.example:6379")


def test_ray_on_this_machine_kills_no_watchers_when_memory_runs_out(monkeypatch):
    """Whom Tune does not outlive; a trial's memory is its job's, which the system kills and the trial starts again."""
    seen = {}
    monkeypatch.delenv("RAY_memory_monitor_refresh_ms", raising=False)
    monkeypatch.setattr(on_ray.ray, "init", lambda **_: seen.update(os.environ))
    monkeypatch.setattr(on_ray.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2}}])
    on_ray.Machines(None, 1, 0)
    assert seen["RAY_memory_monitor_refresh_ms"] == "0"

"""One trial of a sweep, without Ray: a job that hangs, fails or is stopped, a full disk, GPUs that are not its own."""

import errno
import fcntl
import os
import pickle
import struct
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from tensorized_adapters.runs.failures import as_failure
from tensorized_adapters.sweeping import job_process, on_ray, trial

# The job starts a child and hangs. Its second start is done at once if the word "once" is given.
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
# The job cancels the task that waits for it, as Ray does, and notes its own SIGTERM unless it ignores it.
CANCELLING = """
import os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "job").write_text(str(os.getpid()))
def stop(*_):
    (folder / "stopped").touch()
    os._exit(143)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else stop)
os.kill(int(sys.argv[2]), signal.SIGINT)
time.sleep(60)
"""
# The job starts a child, and the process that it was forked from is killed, as when memory runs out.
ORPHANED = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(Path(sys.argv[1]) / "child").write_text(str(child.pid))
os.kill(os.getppid(), 9)
time.sleep(60)
"""
WITHOUT_IMPORTS = """
from tensorized_adapters.runs.failures import as_failure
from tensorized_adapters.sweeping import job_process
job_process.preload = lambda: None
serve()
"""
NO_SPACE = os.strerror(errno.ENOSPC)
FULL = f"failed: {as_failure(OSError(errno.ENOSPC, NO_SPACE, 'model.safetensors'), 'training', Path('.'), True)}"


@pytest.fixture(scope="module", autouse=True)
def server_without_imports():
    """Let the fork server import nothing. Its imports would take most of a test's time, and these jobs need none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_process, "_server", None)
        patch.setattr(job_process, "_FORK_SERVER", job_process._FORK_SERVER.replace("serve()", WITHOUT_IMPORTS))
        yield
        if job_process._server:
            job_process._server.end()


@pytest.fixture(params=[False, True], ids=["fresh", "forked"])
def forks(request):
    """Whether jobs are forked from a process that has imported everything, which all forked tests share."""
    return request.param


@pytest.fixture
def job(tmp_path, forks, monkeypatch):
    """Makes a job of these lines, which get the trial's folder and further words."""
    monkeypatch.setenv("PYTHONPATH", str(Path(trial.__file__).parents[2]))

    def make(lines, *words, **changes):
        (tmp_path / "job.py").write_text(lines)
        point = {
            "command": [str(tmp_path / "job.py"), str(tmp_path), *words],
            "folder": tmp_path,
            "log": tmp_path / "logs" / "x.log",
            "directory": tmp_path,
            "environment": {},
            "max_failures": 0,
            "time_limit": None,
            "forks": forks,
        }
        return trial.Job(**point | changes)

    return make


def has_ended(process):
    """Return whether a killed process ends within seconds, even if its parent does not wait for it."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
    return False


def test_a_hanging_trial_is_killed_with_its_children_and_has_failed(job, tmp_path):
    outcome = trial.run_job(job(HANGING, time_limit=1.5))
    assert outcome["state"] == "failed" and outcome["failures"] == 1 and outcome["seconds"] >= 1.5
    assert outcome["reason"] == "killed: a start of it took longer than --trial_time_limit 1.5s"
    assert has_ended(int((tmp_path / "child").read_text()))


def test_a_hanging_trial_gets_its_further_starts(job, tmp_path):
    outcome = trial.run_job(job(HANGING, "once", time_limit=1.5, max_failures=1))
    assert outcome["state"] == "finished" and outcome["failures"] == 1
    assert (tmp_path / "logs" / "x.log").read_text().count("== 2") == 2
    assert trial.run_job(job("raise SystemExit(5)"))["seconds"] == 0  # it has finished and is not started again


@pytest.mark.parametrize("words", [(), ("deaf",)])
def test_a_cancelled_trial_stops_its_job(job, tmp_path, monkeypatch, words):
    monkeypatch.setattr(trial, "_SECONDS_TO_STOP", 0.5 if words else 30)
    with pytest.raises(KeyboardInterrupt):
        trial.run_job(job(CANCELLING, str(os.getpid()), *words))
    assert has_ended(int((tmp_path / "job").read_text())) and (tmp_path / "stopped").exists() == (not words)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("raise SystemExit('error: --glue_path is not there')", "exit code 1"),
        ("raise SystemExit(2)", "refused its input (exit code 2)"),
        ("", "ended without a finished record"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_how_a_job_failed_is_reported_with_its_last_lines(job, lines, reason):
    outcome = trial.run_job(job(f"print('first')\n{lines}", max_failures=1))
    assert (outcome["state"], outcome["failures"], outcome["reason"]) == ("failed", 2, reason)
    assert outcome["last_lines"][-1] == ("error: --glue_path is not there" if "error" in lines else "first") or (
        "SIGKILL" in reason
    )


@pytest.mark.parametrize("last_line", [FULL, f"failed: checkpoint-4 cannot be written: {NO_SPACE}", "failed: NaN"])
def test_a_full_disk_is_no_failure_of_the_trial(job, last_line):
    """The job's last line says so, because there is room for a small file."""
    outcome = trial.run_job(job(f"raise SystemExit({last_line!r})"))
    expected = ("failed", "exit code 1", 1) if last_line == "failed: NaN" else ("no_room", last_line, 0)
    assert (outcome["state"], outcome["reason"], outcome["failures"]) == expected


def test_the_last_lines_of_an_earlier_start_do_not_tell_how_this_one_ended(job):
    """After a full disk was freed, a job that is killed without a word has failed."""
    assert trial.run_job(job(f"raise SystemExit({FULL!r})"))["state"] == "no_room"
    outcome = trial.run_job(job("import os; os.kill(os.getpid(), 9)"))
    assert (outcome["state"], outcome["reason"], outcome["last_lines"]) == ("failed", "killed by SIGKILL", [])


def test_a_log_that_finds_no_room_is_no_failure_either(job, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, NO_SPACE)

    monkeypatch.setattr(trial, "_run_once", full)
    outcome = trial.run_job(job("raise SystemExit(3)"))
    assert (outcome["state"], outcome["reason"]) == ("no_room", NO_SPACE) and not outcome["failures"]


@pytest.mark.parametrize("forks", [False], indirect=True)
@pytest.mark.parametrize(("per_trial", "seen"), [({"CPU": 1}, ""), ({"CPU": 1, "GPU": 0.5}, "3,4")])
def test_a_trial_without_gpus_sees_none(job, tmp_path, monkeypatch, per_trial, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")  # as in a worker that Ray gave two GPUs, or that sees all
    options = SimpleNamespace(max_failures=0, trial_time_limit=None, fresh_processes=False)
    one = SimpleNamespace(name="x", command=lambda _: [], folder=lambda _: tmp_path)
    made = on_ray._job_of(one, tmp_path, SimpleNamespace(per_trial=per_trial), options)
    lines = "import os; print('sees', os.environ['CUDA_VISIBLE_DEVICES'])"
    trial.run_job(job(lines, environment=made.environment))
    assert f"sees {seen}\n" in (tmp_path / "logs" / "x.log").read_text()


def test_machines_of_a_cluster_hold_as_many_trials_as_fit(monkeypatch):
    """A quarter of a GPU a trial lets four share one; a machine without GPUs takes none of them."""
    machines = [{"CPU": 8, "GPU": 2}, {"CPU": 3, "GPU": 1}, {"CPU": 64}]
    monkeypatch.setattr(on_ray, "check_address", lambda _: None)
    monkeypatch.setattr(on_ray.ray, "init", lambda **_: None)
    monkeypatch.setattr(on_ray.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in machines])
    joined = on_ray.Machines("auto", 1, 0.25)
    assert joined.at_a_time == 8 + 3 and joined.nodes == 3 and joined.per_trial == {"CPU": 1, "GPU": 0.25}
    assert on_ray.Machines("auto", 1, None).at_a_time == 2 + 1
    assert on_ray.Machines("auto", 2, 0).at_a_time == 4 + 1 + 32


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("1 worker(s) were killed\nmore"), "Ray ended it too often, as memory ran out"),
        (WorkerCrashedError(), "its worker was lost too often"),
    ],
)
def test_a_trial_that_ray_gives_up_has_failed(monkeypatch, error, reason):
    def give_up(_):
        raise error

    monkeypatch.setattr(on_ray.ray, "get", give_up)
    outcome = on_ray._outcome_of(None)
    assert (outcome["state"], outcome["reason"]) == ("failed", reason) and len(outcome["last_lines"]) == 1


def test_a_job_finds_modules_where_an_interpreter_of_its_own_does(job, tmp_path):
    """A file of the user's named accelerate.py is not imported from the folder in which the sweep is started."""
    trial.run_job(job("import sys; print('first', sys.path[0]); print('here', '' in sys.path)"))
    assert f"first {tmp_path}\nhere False\n" in (tmp_path / "logs" / "x.log").read_text()


def waiting_bytes(server):
    return struct.unpack("i", fcntl.ioctl(server._connection, termios.FIONREAD, bytes(4)))[0]


def test_a_job_that_ends_before_it_is_waited_for(tmp_path):
    """Both replies of the server are then in the connection, and the job has no process to stop."""
    script = tmp_path / "job.py"
    script.write_text("raise SystemExit(3)")
    job = trial.Job([str(script)], tmp_path, tmp_path / "x.log", {}, tmp_path, 0, None, forks=True)
    process = job_process.server_for(job)
    process.fork(job)  # which ends at once
    while not waiting_bytes(process):
        pass
    process.terminate()
    assert process.wait(10) == 3
    process.kill()

    reply = job_process.ForkServer._reply

    def slowly(server, timeout):
        longest = 4 + len(pickle.dumps(2**30))  # of one reply
        while waiting_bytes(server) <= longest:
            pass
        return reply(server, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_process.ForkServer, "_reply", slowly)
        process.fork(job)
    assert process.wait(10) == 3


def test_a_server_that_dies_before_it_forks_is_replaced(job):
    server = job_process.server_for(job("", forks=True))
    server._server.kill()
    assert trial.run_job(job("print('first')", forks=True))["reason"] == "ended without a finished record"


def test_a_job_whose_server_is_killed_leaves_no_child(job, tmp_path, forks):
    """Nor is the server disturbed by what an environment's own start-up code prints."""
    (tmp_path / "sitecustomize.py").write_text("print('hello')")
    if forks:
        path = os.pathsep.join((str(tmp_path), os.environ["PYTHONPATH"]))
        if job_process._server:
            job_process._server.end()  # the next one has this environment
        outcome = trial.run_job(job(ORPHANED, environment={"PYTHONPATH": path}))
        assert outcome["reason"] == "killed by SIGKILL" and has_ended(int((tmp_path / "child").read_text()))

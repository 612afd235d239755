"""How many trials of a sweep run at a time where memory is scarce: measured on the first, without Ray."""

from types import SimpleNamespace

import pytest

from tensorized_adapters.sweeping import memory, notes, trial

GIB = 2**30
UNMEASURED = {}


def measured(resident, gpu_free=None, **gpu):
    """A record of a trial that takes so many GiB."""
    record = {"peak_memory_bytes": {name: int(size * GIB) for name, size in {"resident": resident, **gpu}.items()}}
    return record if gpu_free is None else record | {"gpu_free": gpu_free * GIB}


def test_as_many_start_as_the_first_ones_memory_fits_in():
    known = memory.Memory()
    assert known.why_wait("a", "here", None, 20 * GIB) == ""
    known.tell("a", "here", None, UNMEASURED)
    assert "is measured while it trains" in known.why_wait("b", "here", None, 18 * GIB)
    assert known.why_wait("x", "there", None, GIB) == ""  # another machine has a first one of its own
    known.tell("a", "here", None, measured(5))
    assert known.why_wait("b", "here", None, 15 * GIB) == known.why_wait("c", "here", None, 12 * GIB) == ""
    assert known.why_wait("d", "here", None, 10 * GIB) == (
        "memory: a trial takes up to 5.0 GiB, and 20.0 GiB were free on here: 3 at a time"
    )
    known.left("b")
    assert known.why_wait("d", "here", None, 10 * GIB) == ""
    known.tell("c", "here", None, measured(9))  # it grew: the next ones may do so too
    known.left("a")
    assert known.why_wait("e", "here", None, 10 * GIB).startswith(memory.MEMORY)


def test_one_trial_always_runs_and_the_next_first_one_is_measured_anew_if_it_never_was():
    known = memory.Memory()
    assert known.why_wait("a", "here", None, 0) == ""
    known.left("a")  # refused before its first step
    assert known.why_wait("b", "here", None, GIB) == ""
    assert known.why_wait("c", "here", None, GIB)
    known.tell("b", "here", None, measured(50))
    known.left("b")
    assert known.why_wait("c", "here", None, GIB) == ""


def test_a_gpu_that_is_shared_bounds_its_own_trials():
    """80 GiB, of which another user holds 20; CUDA's own share is counted with each trial."""
    known = memory.Memory()
    assert known.why_wait("a", "here", "0", 500 * GIB) == ""
    known.tell("a", "here", "0", measured(2, gpu=9, gpu_reserved=10, gpu_free=49))
    assert known.why_wait("b", "here", "1", 500 * GIB) == ""
    assert "first trial on GPU 1" in known.why_wait("x", "here", "1", 500 * GIB)
    started = [name for name in "cdefgh" if not known.why_wait(name, "here", "0", 500 * GIB)]
    assert started == ["c", "d", "e", "f"][: int(0.9 * 60 / 10.6) - 1]
    assert "on GPU 0 of here" in known.why_wait("z", "here", "0", 500 * GIB)


def test_a_trial_on_the_cpu_takes_nothing_of_its_gpu():
    known = memory.Memory()
    known.why_wait("a", "here", "0", 500 * GIB)
    known.tell("a", "here", "0", measured(2))
    assert not any(known.why_wait(name, "here", "0", 500 * GIB) for name in "bcdefgh")


def test_lost_watchers_hold_no_memory_and_a_new_memory_is_told_again(monkeypatch):
    known, now = memory.Memory(), [0.0]
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now[0]))
    known.why_wait("a", "here", None, GIB)
    for now[0] in (19, 38, 57, 59):
        known.tell("a", "here", None, UNMEASURED)
    now[0] = 78
    assert known.why_wait("b", "here", None, GIB)
    now[0] = 80
    assert known.why_wait("b", "here", None, GIB) == ""
    assert known.why_wait("b", "here", None, GIB) == ""  # asked by another watcher of the same trial
    anew = memory.Memory()  # its process was lost and started again
    anew.tell("b", "here", None, measured(1))
    assert anew.why_wait("c", "here", None, GIB) == "" and anew.why_wait("d", "here", None, GIB) == ""


def test_a_first_trial_that_does_not_come_to_train_is_not_waited_for_for_ever(monkeypatch):
    known, now = memory.Memory(), [0.0]
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now[0]))
    known.why_wait("a", "here", None, GIB)
    for now[0] in range(10, 300, 10):
        known.tell("a", "here", None, UNMEASURED)
        assert known.why_wait("b", "here", None, GIB).startswith(memory.FIRST)
    now[0] = 301
    assert known.why_wait("b", "here", None, GIB) == ""


@pytest.mark.parametrize(
    ("group", "files"),
    [
        ("0::/job_7/step_0\n", {"job_7/memory.max": "{limit}", "job_7/memory.current": "{used}"}),
        (
            "5:cpu:/\n4:memory:/outside\n",
            {"memory/memory.limit_in_bytes": "{limit}", "memory/memory.usage_in_bytes": "{used}"},
        ),
    ],
)
def test_a_control_groups_limit_is_what_there_is(tmp_path, monkeypatch, group, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(limit=3 * 2**20, used=2**20) + "\n")
        (path.parent / "memory.stat").write_text("anon 5\ninactive_file 1000\ntotal_inactive_file 1000\n")
    (tmp_path / "job_7").mkdir(exist_ok=True)
    (tmp_path / "cgroup").write_text(group)
    own = memory.available_bytes()
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "cgroup")
    assert memory.available_bytes() == 2 * 2**20 + 1000 < own
    (tmp_path / "job_7" / "memory.max").write_text("max\n")
    assert (memory.available_bytes() > 2 * 2**20 + 1000) == group.startswith("0:")


def test_a_trial_waits_and_says_why_until_there_is_room(tmp_path, monkeypatch):
    known = memory.Memory()
    known.why_wait("other", "here", None, GIB)
    monkeypatch.setattr(trial, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(trial, "_place", lambda: ("here", None))
    monkeypatch.setattr(
        trial.JobTrial, "_of_memory", lambda self, ask, *what: getattr(known, ask)(self.trial["folder"], *what)
    )
    (tmp_path / "logs").mkdir()
    record = {"started": "now", "status": "finished"} | measured(2)
    lines = f"import json; open({str(tmp_path / 'run.json')!r}, 'w').write(json.dumps({record!r}))"
    point = {"start": "x", "command": ["-c", lines], "folder": str(tmp_path), "log": str(tmp_path / "logs" / "x.log")}
    point |= {"note": str(tmp_path / "logs" / "x.json"), "directory": str(tmp_path), "environment": {}}
    job = trial.JobTrial.__new__(trial.JobTrial)
    job.setup({"trial": point | {"max_failures": 0, "time_limit": None}})
    assert not job.step()["done"] and job.job is None
    note = notes.read_note(tmp_path / "logs" / "x.json")
    assert note["state"] == "waiting" and "first trial on here" in note["reason"]
    known.left("other")
    while not job.step()["done"]:
        pass
    assert notes.read_note(tmp_path / "logs" / "x.json")["state"] == "finished"
    known.why_wait("first", "here", None, 3 * GIB)
    assert known.why_wait("next", "here", None, GIB).startswith("memory: a trial takes up to 2.0 GiB")

"""tensorized-adapters sweep on Ray, with real processes: no finished work is lost by failures, kills and Ctrl-C.

One sweep is started three times. The first start is killed, the second interrupted, the third goes on to the end. One
of its trials kills itself once, one kills Ray's worker once, and one fails each time.
"""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from grids import sweep, trials
from helpers import record_of

from run_glue_tensorized import main as run
from tensorized_adapters.runtime import exits, signals

GRID = "--projection_types cp --ranks 1,2 --adapter_size 8 --methods head"
# Python runs this at the start of the process from which jobs are forked.
SABOTAGE = """
import os, runpy, signal, sys, time
from pathlib import Path
run_path, rename = runpy.run_path, os.replace
def first(what, rank):
    try:
        return os.close(os.open("{folder}/" + what + rank, os.O_CREAT | os.O_EXCL)) is None
    except FileExistsError:
        return False
def worker():
    return int(Path(f"/proc/{{os.getppid()}}/stat").read_text().rpartition(")")[2].split()[1])
def failing_or_killing(script, **options):
    if "head" in sys.argv:
        sys.stderr.write("failed: no luck\\n")
        sys.stderr.flush()
        os._exit(1)
    rank = sys.argv[sys.argv.index("--tensorized_layer_rank") + 1]
    if rank == "2" and first("paused", rank):
        time.sleep(600)  # until it is killed with the sweep
    def killing(source, target, **more):
        rename(source, target, **more)
        if rank == "2" and "checkpoint-12" in str(target) and first("held", rank):
            time.sleep(600)  # until it is interrupted
        if "checkpoint-18" in str(target) and first("killed", rank):
            os.kill(os.getpid() if rank == "1" else worker(), signal.SIGKILL)
            time.sleep(600)  # until it is killed with its worker, before it completes the checkpoint
    os.replace = killing
    return run_path(script, **options)
runpy.run_path = failing_or_killing
"""


def started(words, folder, number):
    """The process of a sweep, forked from this one, which has imported everything; and what it prints."""
    printed = folder / f"printed{number}"
    printed.touch()
    process = os.fork()
    if not process:
        os.setsid()
        handle = os.open(printed, os.O_WRONLY)
        os.dup2(handle, 1), os.dup2(handle, 2)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        sys.argv = ["sweep", *words]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background
        signals.begin()
        signals.raise_on_signals()
        code = exits.run(sweep.main)
        sys.stdout.flush()
        os._exit(code)
    return process, printed


def wait_for(seen, seconds=300):
    until = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def code_of(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def jobs_of(folder):
    """The processes that the jobs of a sweep are forked from, and the jobs, which inherit their command lines."""
    jobs = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / name).read_text(errors="replace") for name in ("cmdline", "environ"))
        except OSError:  # it has ended
            continue
        jobs += [process.name] if "job_process" in command and str(folder) in environment else []
    return jobs


def starts(out):
    return {re.sub("_seed.*", "", path.stem): path.read_text().count("== 2") for path in out.glob("logs/*.log")}


def essence(folder):
    """What must be equal between two runs of a trial: everything that was computed."""
    record, timed = record_of(folder), ("runtime", "per_second")
    return record["step_losses"], {k: v for k, v in record["metrics"].items() if not k.endswith(timed)}


@pytest.fixture(scope="module")
def words(base, files):
    flags = {"model_name_or_path": base, "train_file": files["train"], "validation_file": files["validation"]}
    flags |= {"task_name": "mrpc", "num_train_epochs": 4, "per_device_train_batch_size": 8}
    return [str(word) for name, value in flags.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def went_on(words, tmp_path_factory):
    """The sweep after its three starts."""
    folder = tmp_path_factory.mktemp("sweeps")
    out = folder / "s"
    (folder / "sitecustomize.py").write_text(SABOTAGE.format(folder=folder))
    more = ["--cpus_per_trial", "1", "--trials_at_a_time", "1", "--max_failures", "1", "--output_dir", str(out)]
    words = [*GRID.split(), *words, *more]

    process, printed = started(words, folder, 1)
    wait_for(lambda: re.search(r"\n\d\d:\d\d:\d\d  ", printed.read_text()))
    assert jobs_of(folder)
    os.kill(process, signal.SIGKILL)
    codes, texts = [code_of(process)], [printed.read_text()]
    wait_for(lambda: not jobs_of(folder), seconds=60)
    counts = [starts(out)]  # a trial may have started while the sweep was killed

    process, printed = started(words, folder, 2)
    wait_for((folder / "held2").exists)
    os.kill(process, signal.SIGINT)
    codes, texts = [*codes, code_of(process)], [*texts, printed.read_text()]
    [interrupted] = (record_of(path) for path in out.glob("trials/mrpc_cp-2_*"))
    wait_for(lambda: not jobs_of(folder), seconds=10)

    process, printed = started(words, folder, 3)
    codes, texts = [*codes, code_of(process)], [*texts, printed.read_text()]
    return SimpleNamespace(out=out, codes=codes, texts=texts, counts=counts, interrupted=interrupted)


def test_how_each_start_ends(went_on):
    assert went_on.codes == [-signal.SIGKILL, 130, 1], went_on.texts
    assert went_on.interrupted["status"] == "interrupted"
    assert went_on.texts[1].splitlines()[-1] == "interrupted: the same command goes on where it was"
    assert "2 of 3 finished" in went_on.texts[2] and "1 failed" in went_on.texts[2]


def test_finished_trials_are_left_alone_and_others_go_on(went_on):
    """cp-1 killed itself once; cp-2 was killed with the sweep, interrupted, and once killed with its worker."""
    counts = starts(went_on.out)
    assert went_on.counts[0]["mrpc_cp-1"] == counts["mrpc_cp-1"] == 2 and counts["mrpc_head"] == 2
    assert counts["mrpc_cp-2"] == went_on.counts[0].get("mrpc_cp-2", 0) + 3
    [log] = went_on.out.glob("logs/mrpc_cp-2_*.log")
    assert re.findall("going on from .*-(.*)", log.read_text()) == ["6", "12"]


def test_a_trial_that_was_killed_again_and_again_is_as_one_that_was_not(went_on, words, tmp_path):
    plan = trials(GRID, words)
    for trial in plan[:2]:
        assert run(trial.command(tmp_path)[1:]) == 0
        assert essence(trial.folder(went_on.out)) == essence(trial.folder(tmp_path))


def test_a_failing_trial_costs_only_itself(went_on):
    summary = json.loads((went_on.out / "sweep.json").read_text())
    assert sorted(entry["state"] for entry in summary["trials"].values()) == ["failed", "finished", "finished"]
    [failed] = (entry for entry in summary["trials"].values() if entry["state"] == "failed")
    assert failed["failures"] == 2 and failed["reason"] == "exit code 1"
    assert failed["last_lines"] == ["failed: no luck"]  # of its newest start
    assert summary["timing"]["trials_own"] <= summary["timing"]["trials"] * 1.01
    assert "mrpc head seed 42: failed" in (went_on.out / "report" / "tables.md").read_text()
    assert (went_on.out / "report" / "report.html").is_file()


def test_the_same_command_again_starts_no_finished_trial(went_on, words, capsys, monkeypatch):
    monkeypatch.setattr(
        "tensorized_adapters.sweeping.on_ray.Machines", lambda *_: pytest.fail("Ray was started for nothing")
    )
    before = starts(went_on.out)
    again = [*GRID.replace("--methods head", "").split(), *words, "--output_dir", str(went_on.out), "--no_report"]
    assert sweep.main([*again, "--cpus_per_trial", "1"]) == 0 and starts(went_on.out) == before
    assert capsys.readouterr().out.count("finished") == 2

"""tensorized-adapters sweep on Ray, with real processes: failures, kills and Ctrl-C cost nothing that was done."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from helpers import argv, glue_folder, record_of

SWEEP = ["-m", "tensorized_adapters", "sweep"]


def words_of(flags, out, **changes):
    flags = {name: value for name, value in flags.items() if "adapter" not in name and "tensorized" not in name}
    flags = flags | {"projection_types": "cp", "ranks": "1,2", "adapter_size": 8, "output_dir": out} | changes
    flags.pop("do_train"), flags.pop("do_eval"), flags.pop("disable_tqdm")
    return [sys.executable, *SWEEP, *argv(flags)]


def ended(words):
    """Exit code, and both outputs, of a sweep that runs to its end."""
    run = subprocess.run(words, capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


def stopped_after_first_trial(words, number):
    """Exit code of a sweep that gets a signal as soon as it has told of its first trial."""
    sweep = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    for line in sweep.stdout:
        if re.match(r"\d\d:\d\d:\d\d  ", line):
            sweep.send_signal(number)
            break
    sweep.stdout.close()
    return sweep.wait()


def records_of(out):
    return {path.parent.name: record_of(path.parent) for path in sorted(out.glob("trials/*/run.json"))}


def essence(out):
    """What must be equal between two sweeps: everything that was computed."""
    timed = ("runtime", "per_second")
    return {
        name: (record["step_losses"], {k: v for k, v in record["metrics"].items() if not k.endswith(timed)})
        for name, record in records_of(out).items()
    }


def starts(out):
    return {path.stem: path.read_text().count("== 2") for path in out.glob("logs/*.log")}


@pytest.fixture(scope="module")
def module_flags(base, files):
    data = {"train_file": files["train"], "validation_file": files["validation"], "task_name": "mrpc"}
    actions = {"do_train": True, "do_eval": True, "disable_tqdm": True}
    return {"model_name_or_path": base, "num_train_epochs": 9, "cpus_per_trial": 1} | data | actions


@pytest.fixture(scope="module")
def undisturbed(module_flags, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweeps") / "undisturbed"
    code, told, _ = ended(words_of(module_flags, out, trials_at_a_time=1))
    assert code == 0 and "2 of 2 finished" in told
    return out


def test_a_sweep_ends_with_records_and_a_report(undisturbed):
    assert {record["status"] for record in records_of(undisturbed).values()} == {"finished"}
    assert len(records_of(undisturbed)) == 2
    ledger = json.loads((undisturbed / "sweep.json").read_text())
    assert {entry["state"] for entry in ledger["trials"].values()} == {"finished"}
    assert ledger["timing"]["trials_own"] <= ledger["timing"]["trials"] * 1.01
    assert (undisturbed / "report" / "report.html").is_file()
    assert not (undisturbed / ".ray").exists()


def test_the_same_command_again_starts_no_trial(undisturbed, module_flags):
    before = starts(undisturbed)
    code, told, _ = ended(words_of(module_flags, undisturbed, trials_at_a_time=1))
    assert code == 0 and starts(undisturbed) == before == dict.fromkeys(before, 1)
    assert told.count("finished") >= 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_goes_on(undisturbed, module_flags, tmp_path, number, code):
    words = words_of(module_flags, tmp_path / "s", trials_at_a_time=1)
    assert stopped_after_first_trial(words, number) == code
    done = [name for name, record in records_of(tmp_path / "s").items() if record["status"] == "finished"]
    before = starts(tmp_path / "s")
    assert len(done) == 1 and ended(words)[0] == 0
    assert starts(tmp_path / "s")[done[0]] == before[done[0]] == 1
    assert essence(tmp_path / "s") == essence(undisturbed)


def test_a_failing_trial_costs_only_itself(base, tmp_path):
    folder = glue_folder(tmp_path, "mrpc")
    flags = {"model_name_or_path": base, "glue_path": folder, "num_train_epochs": 1, "max_failures": 1}
    flags |= {"do_train": True, "do_eval": True, "disable_tqdm": True, "cpus_per_trial": 1}
    code, told, _ = ended(words_of(flags, tmp_path / "s", ranks="1", tasks="mrpc,rte"))
    assert code == 1 and "1 of 2 finished" in told and "1 failed" in told
    ledger = json.loads((tmp_path / "s" / "sweep.json").read_text())["trials"]
    failed = next(entry for entry in ledger.values() if entry["task"] == "rte")
    assert failed["state"] == "failed" and failed["failures"] == 2 and "exit code 2" in failed["reason"]
    assert "--glue_path" in failed["last_lines"][-1]
    assert "rte cp-1 seed 42: failed" in (tmp_path / "s" / "report" / "tables.md").read_text()


def test_a_killed_job_is_started_again(undisturbed, module_flags, tmp_path):
    """The job kills itself at its seventh checkpoint of nine, checkpoint-42, once."""
    (tmp_path / "sitecustomize.py").write_text(KILLER.format(once=str(tmp_path / "once")))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    words = words_of(module_flags, tmp_path / "s", trials_at_a_time=1)
    assert subprocess.run(words, env=environment, capture_output=True).returncode == 0
    assert sorted(starts(tmp_path / "s").values()) == [1, 2]
    assert essence(tmp_path / "s") == essence(undisturbed)


KILLER = """
import os, signal, sys
if any(word.endswith("run_glue_tensorized.py") for word in sys.orig_argv):
    rename = os.replace
    def killing(source, target, **words):
        rename(source, target, **words)
        if "checkpoint-4" in str(target):
            try:
                os.close(os.open("{once}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = killing
"""

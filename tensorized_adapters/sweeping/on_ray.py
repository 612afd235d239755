"""The trials of a sweep on Ray Tune: on this machine's cores or GPUs, or on a cluster."""

import logging
import os
import secrets
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Optional

# Before Ray is imported. Nothing is reported to its makers; the display is ours; each trial writes its own files.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S"] = "600"

import ray
from ray import tune
from ray._private import ray_constants
from ray._private import worker as ray_worker

from ..errors import RunFailed, Terminated, UsageError, one_line
from ..runtime.sockets import check_sockets_of_ray
from . import LOGS, memory, notes
from . import trial as trial_module
from .address import check_address
from .folder import RAY
from .ledger import Ledger, no_room
from .plan import Trial, cores

# Workers and machines that a trial may lose; it goes on from its checkpoint each time.
_LOSSES = 20
# What another machine has written may take as long to be seen on this one (NFS keeps what it knows of a folder).
_SECONDS_TO_SHOW = 90
_OBJECT_STORE_BYTES = 100 * 2**20  # no data goes through Ray
_ENVIRONMENT = ("HF_", "TRANSFORMERS_", "TOKENIZERS_")


class Machines:
    """Ray, started on this machine's loopback address or joined; to be used in a ``with`` statement."""

    def __init__(self, address: Optional[str], cpus_per_trial: float, gpus_per_trial: Optional[float]):
        """
        Raises:
            UsageError: if there is no cluster at the address, or not one trial fits on any machine.
        """
        if address:
            check_address(address)
        else:
            check_sockets_of_ray()
        began = time.time()
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address:
                ray.init(address=address, **quiet)
            else:
                # Ray listens on this machine's outward address, unless it is told that there is no cluster.
                ray_constants.ENABLE_RAY_CLUSTER = False
                # A token for this sweep alone; Ray would write one to the home directory, for all later clusters.
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
                # When memory runs out, Ray would kill the small watcher of a trial, and Tune with it; the system kills
                # what takes the memory, which is the trial's job and is started again.
                os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
                local = {"_node_ip_address": "127.0.0.1", "include_dashboard": False, "num_cpus": cores()}
                ray.init(address="local", object_store_memory=_OBJECT_STORE_BYTES, **local, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            hint = "" if "RAY_AUTH_MODE" in os.environ else "; if it wants a token, set RAY_AUTH_MODE=token"
            refusal = f"--address {address}: no Ray cluster answers there ({line}){hint}"
            raise UsageError(refusal if address else line) from None
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if gpus_per_trial is None:
            gpus_per_trial = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
        self.per_trial = {"cpu": cpus_per_trial} | ({"gpu": gpus_per_trial} if gpus_per_trial else {})
        slots = [self._slots_of(node) for node in nodes]
        self.at_a_time, self.nodes = sum(slots), len(nodes)
        if not self.at_a_time:
            most = ", ".join(f"{max(node.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU"))
            ray.shutdown()
            raise UsageError(
                f"no machine has room for one trial of --cpus_per_trial {cpus_per_trial:g} and --gpus_per_trial "
                f"{gpus_per_trial:g}; the largest has {most}"
            )
        self.seconds_to_start = time.time() - began

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *_) -> None:
        ray.shutdown()

    def _slots_of(self, node: dict[str, float]) -> int:
        return int(min(node.get(kind.upper(), 0) / amount for kind, amount in self.per_trial.items()) + 1e-6)


def run_trials(trials: list[Trial], ledger: Ledger, machines: Machines, options: Any) -> Optional[BaseException]:
    """Run them all, as many at a time as fit, in their order; what becomes of each stands in its own files.

    Returns:
        None when all have ended; KeyboardInterrupt or Terminated after that signal, RunFailed if the disk is full or
        Tune itself fails, with what was running stopped.
    """
    state = ledger.folder / RAY
    shutil.rmtree(state, ignore_errors=True)
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what goes wrong is told by the ledger
    ray_worker.print_to_stdstream = lambda *_, **__: None  # as is what became of a worker, coloured, into files too
    for module in (trial_module, notes, memory):
        ray.cloudpickle.register_pickle_by_value(module)  # other machines need not have our scripts on their path
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(memory.Memory)
    known = actor.options(name=memory.name_of(ledger.start)).remote()  # while this is held
    signals: list[type[BaseException]] = []
    failure: Optional[RunFailed] = None
    ended: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: (signals.append(Terminated), os.kill(os.getpid(), signal.SIGINT)))
    try:
        tuner = tune.Tuner(
            tune.with_resources(trial_module.JobTrial, machines.per_trial),
            param_space={"trial": tune.grid_search(_points(trials, ledger, machines, options))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=options.trials_at_a_time),
            run_config=tune.RunConfig(
                name=RAY,
                storage_path=str(ledger.folder.resolve()),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_LOSSES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the job writes its own
                stop=trial_module.StopWhenFull(),
            ),
        )
        # Tune catches the first SIGINT, stops its trials and returns. Its results are in the order of the points.
        for trial, result in zip(trials, tuner.fit()):
            if flaw := (result.metrics or {}).get(trial_module.NO_ROOM):
                failure = no_room(ledger.folder, flaw)
            if result.error:
                last_lines = str(result.error).strip().splitlines()[-5:]
                ledger.give_up(trial.name, "its worker was lost too often", last_lines)
            if result.error or (result.metrics or {}).get(tune.result.DONE):
                ended.append(trial.name)
    except KeyboardInterrupt:
        pass
    except Exception as error:  # of Tune's, in many lines: it has not written its own state, most likely
        flaw = notes.disk_is_full(ledger.folder)
        failure = no_room(ledger.folder, flaw) if flaw else RunFailed(f"Ray Tune: {one_line(error)}")
    del known
    shutil.rmtree(state, ignore_errors=True)
    if failure:
        return failure
    until = time.time() + _SECONDS_TO_SHOW
    while any(ledger.state_now(name) not in ("finished", "failed") for name in ended) and time.time() < until:
        time.sleep(0.5)
    return None if len(ended) == len(trials) and not signals else (signals or [KeyboardInterrupt])[0]()


def _points(trials: list[Trial], ledger: Ledger, machines: Machines, options: Any) -> list[dict[str, Any]]:
    """What each trial is given."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    if "gpu" not in machines.per_trial:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves those of a worker without GPUs as they are
    return [
        {
            "start": ledger.start,
            "command": trial.command(ledger.folder),
            "folder": str(trial.folder(ledger.folder)),
            "log": str(ledger.folder / LOGS / f"{trial.name}.log"),
            "note": str(ledger.note_path(trial.name)),
            "directory": str(Path.cwd()),
            "environment": environment,
            "max_failures": options.max_failures,
            "time_limit": options.trial_time_limit,
        }
        for trial in trials
    ]

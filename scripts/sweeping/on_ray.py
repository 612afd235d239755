"""The trials of a sweep on Ray Tune: on this machine's cores or GPUs, or on a cluster."""

import contextlib
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

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private import ray_constants  # noqa: E402

from tensorized_adapters.errors import Terminated, UsageError  # noqa: E402

from . import LOGS, notes  # noqa: E402
from . import trial as trial_module  # noqa: E402
from .ledger import RAY, Ledger  # noqa: E402
from .plan import Trial, cores  # noqa: E402

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
        None when all have ended; KeyboardInterrupt or Terminated after that signal, with what was running stopped.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    points = [
        {
            "start": ledger.start,
            "command": trial.command(ledger.folder),
            "folder": str(trial.folder(ledger.folder)),
            "log": str(ledger.folder / LOGS / f"{trial.name}.log"),
            "note": str(ledger.note_path(trial.name)),
            "directory": str(Path.cwd()),
            "environment": environment,
            "max_failures": options.max_failures,
        }
        for trial in trials
    ]
    for module in (trial_module, notes):
        ray.cloudpickle.register_pickle_by_value(module)  # other machines need not have our scripts on their path
    state = ledger.folder / RAY
    shutil.rmtree(state, ignore_errors=True)
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what goes wrong is told by the ledger
    signals: list[type[BaseException]] = []
    ended: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: (signals.append(Terminated), os.kill(os.getpid(), signal.SIGINT)))
    with contextlib.suppress(KeyboardInterrupt):
        tuner = tune.Tuner(
            tune.with_resources(trial_module.JobTrial, machines.per_trial),
            param_space={"trial": tune.grid_search(points)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=options.trials_at_a_time),
            run_config=tune.RunConfig(
                name=RAY,
                storage_path=str(ledger.folder.resolve()),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_LOSSES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the job writes its own
            ),
        )
        # Tune catches the first SIGINT, stops its trials and returns. Its results are in the order of the points.
        for trial, result in zip(trials, tuner.fit()):
            if result.error:
                last_lines = str(result.error).strip().splitlines()[-5:]
                ledger.give_up(trial.name, "its worker was lost too often", last_lines)
            if result.error or result.metrics.get(tune.result.DONE):
                ended.append(trial.name)
    shutil.rmtree(state, ignore_errors=True)
    until = time.time() + _SECONDS_TO_SHOW
    while any(ledger.state_now(name) not in ("finished", "failed") for name in ended) and time.time() < until:
        time.sleep(0.5)
    return None if len(ended) == len(trials) and not signals else (signals or [KeyboardInterrupt])[0]()

"""The trials of a sweep as Ray tasks, on this machine or on a cluster."""

import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Optional

import grpc
import ray
from ray.exceptions import OutOfMemoryError, RayError

from ..errors import RunFailed, Terminated, UsageError, one_line, quoted
from ..runtime.sockets import check_sockets_of_ray
from . import LOGS, job_process, trial
from .ledger import no_room
from .plan import Trial, cores
from .progress import Progress

# How many times Ray restarts a trial on another worker after its worker or machine was lost.
_LOSSES = 20
_SECONDS_TO_STOP = 30.0  # for all trials together; each job has ten of them
_OBJECT_STORE_BYTES = 100 * 2**20  # no data passes through Ray
_SECONDS_TO_ANSWER = 4.0  # Ray itself would try for a quarter of an hour to find a cluster
_CLIENT = "ray://"
# An empty request for each kind of Ray server. Any other gRPC service answers UNIMPLEMENTED.
_REQUESTS = {True: "/ray.rpc.RayletDriver/ClusterInfo", False: "/ray.rpc.NodeInfoGcsService/CheckAlive"}
_SILENCE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_NOT_REACHED = ("Failed to connect", "errors resolving", "Deadline")
_ENVIRONMENT = ("HF_", "TRANSFORMERS_", "TOKENIZERS_")


class Machines(contextlib.AbstractContextManager):
    """Ray, started on this machine's loopback address or joined, in a ``with`` statement. Raises UsageError if no
    cluster answers or one trial fits on no machine, and RunFailed if Ray does not start."""

    def __init__(self, address: Optional[str], cpus_per_trial: float, gpus_per_trial: Optional[float]):
        if address:
            check_address(address)
        else:
            check_sockets_of_ray()
        began = time.time()
        _init_ray(address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if gpus_per_trial is None:
            gpus_per_trial = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
        self.per_trial = {"CPU": cpus_per_trial} | ({"GPU": gpus_per_trial} if gpus_per_trial else {})
        fits = [min(node.get(unit, 0) / amount for unit, amount in self.per_trial.items()) for node in nodes]
        self.at_a_time, self.nodes = sum(int(trials + 1e-6) for trials in fits), len(nodes)
        if not self.at_a_time:
            most = ", ".join(f"{max(node.get(unit, 0) for node in nodes):g} {unit}s" for unit in ("CPU", "GPU"))
            ray.shutdown()
            raise UsageError(
                f"no machine has room for one trial of --cpus_per_trial {cpus_per_trial:g} and --gpus_per_trial "
                f"{gpus_per_trial:g}; the largest has {most}"
            )
        self.seconds_to_start = time.time() - began

    def __exit__(self, *_) -> None:
        ray.shutdown()


def _init_ray(address: Optional[str]) -> None:
    """Start Ray on this machine, or join the cluster at the address."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "address": address}
    if not address:
        # If a sweep sets no token, Ray writes one to the home directory, for all later clusters.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options |= {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False}
        options |= {"num_cpus": cores(), "object_store_memory": _OBJECT_STORE_BYTES}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
        signal.signal(signal.SIGTERM, handler)  # Ray sets a handler that exits with its own code
    except Exception as error:  # Ray raises no class of its own here
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if not address:
            raise RunFailed(f"Ray does not start on this machine ({line}); the same command tries again") from None
        hint = "" if "RAY_AUTH_MODE" in os.environ else "; if it wants a token, set RAY_AUTH_MODE=token"
        raise UsageError(f"--address {address}: no Ray cluster answers there ({line}){hint}") from None


def run_trials(machines: Machines, options: Any, progress: Progress) -> None:
    """Run what is left to run, in the order of the plan, and record how each trial ended. After a signal, or if the
    disk is full, the running trials are stopped, and KeyboardInterrupt, Terminated or RunFailed is raised."""
    for module in (trial, job_process):  # other machines need not have this package on their path
        ray.cloudpickle.register_pickle_by_value(module)
    per_trial = {"num_cpus": machines.per_trial["CPU"], "num_gpus": machines.per_trial.get("GPU", 0)}
    task = ray.remote(max_retries=_LOSSES, **per_trial)(trial.run_job)
    ledger = progress.ledger
    waiting, running = deque(ledger.to_run()), {}
    signals: list[int] = []

    def interrupt(number: int, _) -> None:
        """Raise KeyboardInterrupt, since only this ends Ray's own waiting."""
        signals.append(number)
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGTERM, interrupt)
    try:
        while waiting or running:
            while waiting and len(running) < progress.at_a_time:
                planned = waiting.popleft()
                running[task.remote(_job_of(planned, ledger.folder, machines, options))] = planned.name
                progress.started(planned.name)
            [done], _ = ray.wait(list(running))
            name, outcome = running.pop(done), _outcome_of(done)
            if outcome["state"] == "no_room":
                raise no_room(ledger.folder, outcome["reason"])
            progress.ended(name, outcome)
    except KeyboardInterrupt:
        raise Terminated() if signals else KeyboardInterrupt() from None
    finally:
        for reference in running:
            ray.cancel(reference)  # raises KeyboardInterrupt in the task, which stops its job
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_SECONDS_TO_STOP)
            with contextlib.suppress(OSError):  # the disk may be full
                for name in running.values():
                    ledger.refresh(name)
                ledger.write()
        signal.signal(signal.SIGTERM, handler)


def _outcome_of(reference: ray.ObjectRef) -> dict[str, Any]:
    """Return the outcome of a task that has ended; that of a task which Ray gave up is a failure."""
    try:
        return ray.get(reference)
    except RayError as error:
        memory = isinstance(error, OutOfMemoryError)
        reason = "Ray ended it too often, as memory ran out" if memory else "its worker was lost too often"
        first_line = [one_line(line) for line in str(error).strip().splitlines()[:1]]
        return trial.NO_FAILURE | {"state": "failed", "reason": reason, "last_lines": first_line, "failures": 1}


def _job_of(planned: Trial, folder: Path, machines: Machines, options: Any) -> trial.Job:
    environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    if "GPU" not in machines.per_trial:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves the variable of a worker without GPUs as it is
    return trial.Job(
        command=planned.command(folder),
        folder=planned.folder(folder),
        log=folder / LOGS / f"{planned.name}.log",
        directory=Path.cwd(),
        environment=environment,
        max_failures=options.max_failures,
        time_limit=options.trial_time_limit,
        forks=sys.platform == "linux" and "GPU" not in machines.per_trial and not options.fresh_processes,
    )


def check_address(address: str) -> None:
    """Ask for a cluster at ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; raise UsageError if none answers."""
    where = address
    if address == "auto":  # as Ray resolves it: the variable, else the address that ``ray start`` saved
        saved = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
        where = os.environ.get("RAY_ADDRESS") or (saved.read_text().strip() if saved.is_file() else "auto")
    if where == "auto":
        return  # Ray looks for its processes on this machine, which takes no time
    host, _, port = where.removeprefix(_CLIENT).rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16):
        raise UsageError(f"--address {quoted(address)} is not auto, HOST:PORT or ray://HOST:PORT")
    if flaw := _flaw_of_answer(f"{host}:{port}", where.startswith(_CLIENT)):
        where = f"{where}: " if address == "auto" else ""
        raise UsageError(f"--address {quoted(address)}: no Ray cluster answers there ({where}{flaw})")


def _flaw_of_answer(where: str, client: bool) -> Optional[str]:
    """Return why no cluster answers, or None. A refusal by Ray because a token is missing is an answer too."""
    with grpc.insecure_channel(where, options=[("grpc.enable_http_proxy", 0)]) as channel:  # Ray ignores proxies too
        try:
            channel.unary_unary(_REQUESTS[client])(b"", timeout=_SECONDS_TO_ANSWER)
        except grpc.RpcError as error:
            details = one_line(error.details())
            tls = os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
            # The answer of a TLS server needs its certificates, which Ray reads itself.
            if tls and not any(words in details for words in _NOT_REACHED):
                return None
            if error.code() in _SILENCE:
                return f"it does not answer as Ray does: {details}"
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return f"if it is Ray, its address is written {'without' if client else 'with'} {_CLIENT}"
    return None

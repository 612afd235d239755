"""Starts one run in two processes, as torchrun does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import run_glue_tensorized
from run_glue_tensorized import main
from tensorized_adapters.runtime import exits, signals


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def child(rank: int, port: int, commands: list[list[str]], streams: Path, prepare: Callable[[int], None]) -> None:
    """Run the commands one after the other as a process that torchrun has started; never returns."""
    code = 99
    try:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": 2, "OMP_NUM_THREADS": 1}
        for name, value in (address | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}).items():
            os.environ[name] = str(value)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(streams / f"{name}{rank}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signals.begin()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # a SIGTERM that came meanwhile is handled now
        prepare(rank)
        code = next(filter(None, map(main, commands)), 0)
        exits.exit_with(code)
    finally:
        os._exit(code)


def in_two_processes(
    tmp_path: Path,
    *commands: list[str],
    of_other: list[str] = (),
    prepare: Callable[[int], None] = lambda rank: None,
    ended_by: int = signal.SIGTERM,
) -> tuple[list[int], str, str]:
    """Run the commands in two processes that are forked from this one, which has imported everything.

    As torchrun does, it ends the other process if one has failed.

    Args:
        of_other: words for the command line of rank 1 alone.
        prepare: called in each process with its rank.
        ended_by: the signal that ends the other process; torchrun sends SIGTERM, and SIGKILL after 30 s.

    Returns:
        Exit codes, and what both printed to standard output and error.
    """
    port, pids, codes = free_port(), [], [None, None]
    # A process may fail, and end the other one, before that one has its handlers. SIGTERM is held back until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for rank in range(2):
        if not (pid := os.fork()):
            own = [[*words, *of_other] if rank else words for words in commands]
            child(rank, port, own, tmp_path, prepare)
        pids.append(pid)
        os.setpgid(pid, pids[0])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    while None in codes:
        pid, status = os.waitpid(-pids[0], 0)
        codes[pids.index(pid)] = os.waitstatus_to_exitcode(status)
        if status and None in codes:
            os.kill(pids[codes.index(None)], ended_by)
    out, err = ("".join((tmp_path / f"{name}{rank}").read_text() for rank in range(2)) for name in ("out", "err"))
    return codes, out, err


def torchrun(words: list[str]) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    return subprocess.run(
        [*launch, "--master_port", str(free_port()), run_glue_tensorized.__file__, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def lines_of(error: str) -> list[str]:
    """The lines of the run itself, among torchrun's."""
    return [line for line in error.splitlines() if line.startswith(("error: ", "failed: ", "terminated: "))]

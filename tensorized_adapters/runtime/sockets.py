"""Checks that the path of the temporary folder is short enough for the Unix sockets that processes open in it: about a
hundred bytes. Beyond that a data loader's workers hang, those of `datasets` fail, and Ray does not start."""

import os
import sys
import tempfile

from ..errors import UsageError, quoted

_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
_WORKERS_SOCKET = "/pymp-12345678/listener-12345678"  # Python's multiprocessing names it so
_RAYS_SOCKET = "/ray/session_2000-01-01_00-00-00_000000_{pid}/sockets/plasma_store"


def check_sockets_of_workers(flag: str) -> None:
    """Refuse a temporary folder whose path is too long for the workers of ``flag``; raise UsageError."""
    _check_room(_WORKERS_SOCKET, tempfile.gettempdir(), "TMPDIR", f"--{flag}")


def check_sockets_of_ray() -> None:
    """Refuse a temporary folder whose path is too long for Ray on this machine; raise UsageError."""
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(name) or tempfile.gettempdir()
    _check_room(_RAYS_SOCKET.format(pid=os.getpid()), folder, name, "a sweep")


def _check_room(socket: str, folder: str, variable: str, user: str) -> None:
    length, limit = len(os.fsencode(folder)), _LONGEST_SOCKET_PATH - len(socket)
    if length > limit and sys.platform != "win32":
        raise UsageError(
            f"{variable} {quoted(folder)} is too long ({length} bytes) for the sockets of {user}; set it to a folder "
            f"whose path has at most {limit}, such as {variable}=/tmp"
        )

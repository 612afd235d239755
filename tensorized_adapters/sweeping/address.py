"""Checks within seconds that a Ray cluster answers at an address. Ray itself would try for a quarter of an hour."""

import os
import socket
import threading
from pathlib import Path
from typing import Optional

import grpc

from ..errors import UsageError, quoted

_SECONDS = 4.0  # for the connection, and for the answer
_CLIENT = "ray://"
# Requests without content, one for each kind of Ray's servers. Any other service does not know them.
_REQUESTS = {True: "/ray.rpc.RayletDriver/ClusterInfo", False: "/ray.rpc.NodeInfoGcsService/CheckAlive"}
_SILENCE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def check_address(address: str) -> None:
    """Ask for a cluster.

    Args:
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        UsageError: naming ``--address`` and what is wrong there.
    """
    where = _newest_cluster() if address == "auto" else address
    if where == "auto":
        return  # Ray looks for its processes on this machine, which takes no time
    client = where.startswith(_CLIENT)
    host, _, port = where.removeprefix(_CLIENT).rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16):
        raise UsageError(f"--address {quoted(address)} is not auto, HOST:PORT or ray://HOST:PORT")
    flaw = _flaw_of_connection(host.strip("[]"), int(port))
    # The answer of a TLS server needs its certificates, which Ray reads itself.
    if not flaw and os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        flaw = _flaw_of_answer(f"{host}:{port}", client)
    if flaw:
        where = f"{where}: " if address == "auto" else ""
        raise UsageError(f"--address {quoted(address)}: no Ray cluster answers there ({where}{flaw})")


def _newest_cluster() -> str:
    """Return the address for ``auto``: the variable's, or what ``ray start`` wrote down, or still ``auto``."""
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    path = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    return path.read_text().strip() if path.is_file() else "auto"


def _flaw_of_connection(host: str, port: int) -> Optional[str]:
    """Return why no connection can be made, or None. A thread connects, because a name's look-up has no time limit."""
    flaws: list[Optional[str]] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=_SECONDS).close()
            flaws.append(None)
        except (OSError, UnicodeError) as error:
            flaws.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return flaws[0] if flaws else f"nothing within {_SECONDS:g} s"


def _flaw_of_answer(where: str, client: bool) -> Optional[str]:
    """Return why the listener is not Ray, or None. A refusal by Ray because a token is missing is an answer too."""
    with grpc.insecure_channel(where) as channel:
        try:
            channel.unary_unary(_REQUESTS[client])(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() in _SILENCE:
                return "what listens there does not answer as Ray does"
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return f"if it is Ray, its address is written {'without' if client else 'with'} {_CLIENT}"
    return None

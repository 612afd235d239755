"""Whether a Ray cluster answers at an address, told within seconds: Ray itself tries for a quarter of an hour."""

import os
import socket
import threading
from typing import Optional

import grpc
from ray._private.services import canonicalize_bootstrap_address

from ..errors import UsageError, quoted

_SECONDS = 4.0  # for the name and for the answer, each
_CLIENT = "ray://"
# A question that needs no more than an empty message, for either kind of server; any other service does not know it.
_QUESTIONS = {True: "/ray.rpc.RayletDriver/ClusterInfo", False: "/ray.rpc.NodeInfoGcsService/CheckAlive"}
_SILENCE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def check_address(address: str) -> None:
    """Ask whether there is a cluster.

    Args:
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        UsageError: naming ``--address`` and what is wrong there.
    """
    client = address.startswith(_CLIENT)
    place = address.removeprefix(_CLIENT)
    if address == "auto":
        try:
            place = canonicalize_bootstrap_address("auto") or ""
        except (ConnectionError, RuntimeError, ValueError, OSError):
            place = ""
        if not place:
            raise _refusal(address, "none was started on this machine")
    host, colon, port = place.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16):
        raise UsageError(f"--address {quoted(address)} is not auto, HOST:PORT or ray://HOST:PORT")
    flaw = _within_seconds(host.strip("[]"), int(port))
    # What a TLS server answers would take its certificates, which Ray reads from places of its own.
    if not flaw and os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        flaw = _flaw_of_answer(f"{host}:{port}", client)
    if flaw:
        raise _refusal(address, f"{place}: {flaw}" if address == "auto" else flaw)


def _refusal(address: str, flaw: str) -> UsageError:
    return UsageError(f"--address {quoted(address)}: no Ray cluster answers there ({flaw})")


def _within_seconds(host: str, port: int) -> Optional[str]:
    """Why no connection can be made, or None. Looking a name up knows no time limit, so that a thread does it."""
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


def _flaw_of_answer(place: str, client: bool) -> Optional[str]:
    """Why what listens there is not Ray, or None; a refusal for want of a token is an answer of Ray's too."""
    with grpc.insecure_channel(place) as channel:
        try:
            channel.unary_unary(_QUESTIONS[client])(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() in _SILENCE:
                return "what listens there does not answer as Ray does"
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return f"if it is Ray, its address is written {'without' if client else 'with'} {_CLIENT}"
    return None

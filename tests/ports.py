"""The ports that a user types: one test at a time has them, whatever runs beside it."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import wait_until

DEFAULT = {"OSC": 5005, "OSCQuery": 5006, "page": 5080}
RELEASE_S = 30.0  # until what used them before has ended


def is_free(port: int) -> bool:
    """Return whether nobody on this machine has a port, for UDP and TCP."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", port)):
            udp.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


@contextmanager
def alone() -> Iterator[int | None]:
    """Wait for all others who come through here; yield a port that something else has, None where all are free."""
    with open(Path(tempfile.gettempdir()) / "pyengine-tests.ports", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield next((port for port in DEFAULT.values() if not _becomes_free(port)), None)


def _becomes_free(port: int) -> bool:
    try:
        wait_until(lambda: is_free(port), RELEASE_S, 0.05)
    except AssertionError:
        return False
    return True

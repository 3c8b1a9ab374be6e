"""The engine's side of a process that serves HTTP: its listening socket, and the process. Runs in the engine's loop."""

from __future__ import annotations

import errno
import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from pyengine.errors import CommandError, PortInUseError

RESTART_S = 1.0  # after an end that nobody asked for
_BACKLOG = 64
_BOOT = "import sys; sys.path[:] = {path!r}; from {module} import main; main({arguments!r})"


def check_websockets(what: str) -> None:
    """Raise CommandError where the package is missing that the process needs. what: it serves."""
    if importlib.util.find_spec("websockets") is None:
        text = f"{what} needs the package websockets, which is not installed"
        raise CommandError(f"{text}: pip install 'pyengine[web]'")


def listen(host: str, port: int, what: str, advice: str) -> socket.socket:
    """Return a listening socket, port 0 for any free one. Raises PortInUseError: `what` PORT is in use; `advice`."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise PortInUseError(f"{what} {why}; {advice}") from error
    return sock


class Helper:
    """A process that runs main() of a module, with sockets of ours; one at a time."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that serves, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self, descriptors: Mapping[str, int], **facts: Any) -> None:
        """Start it. main() gets one JSON object: the descriptors, which it inherits, and the facts."""
        arguments = json.dumps({**descriptors, **facts})
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT.format(path=sys.path, module=self._module, arguments=arguments)],
            pass_fds=tuple(descriptors.values()),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is the engine's business
        )

    def end(self, wait_s: float = 0.0) -> None:
        """End it, where it does not do so by itself within wait_s; again does no harm."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if wait_s > 0:
                process.wait(wait_s)
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.wait()

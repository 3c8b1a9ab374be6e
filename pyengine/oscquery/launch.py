"""The engine's side of OSCQuery: starts the process that serves it, and again if that should end. Runs in its loop."""

from __future__ import annotations

import importlib.util
import json
import logging
import socket
import subprocess
import sys

from pyengine.errors import CommandError, PortInUseError
from pyengine.loop import Loop
from pyengine.server import OscServer
from pyengine.streams import Connection

logger = logging.getLogger(__name__)

RESTART_S = 1.0
WITHDRAW_S = 2.0
NAME = "pyengine"
_BOOT = "import sys; sys.path[:] = {path!r}; from pyengine.oscquery.serve import main; main({arguments!r})"


class OscQuery:
    """The listening socket and the process. Raises CommandError, PortInUseError."""

    def __init__(self, server: OscServer, loop: Loop, port: int, announces: bool = False) -> None:
        if importlib.util.find_spec("websockets") is None:
            text = "OSCQuery needs the package websockets, which is not installed"
            raise CommandError(f"{text}: pip install 'pyengine[web]'")
        self.announces = announces and importlib.util.find_spec("zeroconf") is not None
        if announces and not self.announces:
            logger.warning("OSCQuery is not announced: that needs zeroconf; pip install 'pyengine[web]'")
        self._server = server
        self._loop = loop
        self._listener = _listen(server.host, port)
        self.port: int = self._listener.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_closed = False
        self.starts = 0
        server.streams.on_closed.append(self._on_closed)

    @property
    def pid(self) -> int:
        """The process that serves, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the process."""
        if self._is_closed:
            return
        ours, theirs = socket.socketpair()
        facts = {
            "name": NAME,
            "osc_host": self._server.host,
            "osc_port": self._server.port,
            "osc_tcp_port": self._server.streams.port,
            "announces": self.announces,
        }
        fds = {"engine": theirs.fileno(), "listener": self._listener.fileno()}
        arguments = json.dumps({**fds, "facts": facts})
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT.format(path=sys.path, arguments=arguments)],
                pass_fds=tuple(fds.values()),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is the engine's business
            )
        self.starts += 1
        self._connection = self._server.streams.adopt(ours, f"oscquery pid={self._process.pid}")

    def _on_closed(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        if not self._is_closed:
            self._end_process()
            logger.error("the OSCQuery process has ended; it is started again in %g s", RESTART_S)
            self._loop.after(RESTART_S, self.start)

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def withdraw(self) -> None:
        """Begin to end it: what was announced is withdrawn by the process, for which `close` waits."""
        self._is_closed = True
        if self._connection is not None:
            try:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone already

    def close(self) -> None:
        """End it; a second call does no harm."""
        self.withdraw()
        if self.announces and self._process is not None:
            try:
                self._process.wait(WITHDRAW_S)
            except subprocess.TimeoutExpired:
                pass
        self._end_process()
        self._listener.close()


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(64)
    except OSError as error:
        sock.close()
        text = f"cannot serve OSCQuery on {host}:{port}: {error}"
        raise PortInUseError(f"{text}; end what has that port or give another (--oscquery PORT)") from error
    return sock

"""The engine's side of OSCQuery: starts the process that serves it, and again if that should end. Runs in its loop."""

from __future__ import annotations

import importlib.util
import logging
import socket

from pyengine.loop import Loop
from pyengine.server import OscServer
from pyengine.serving.helper import RESTART_S, Helper, check_websockets, listen
from pyengine.streams import Connection

logger = logging.getLogger(__name__)

WITHDRAW_S = 2.0
NAME = "pyengine"


class OscQuery:
    """The listening socket and the process. Raises CommandError, PortInUseError."""

    def __init__(self, server: OscServer, loop: Loop, port: int, announces: bool = False) -> None:
        check_websockets("OSCQuery")
        self.announces = announces and importlib.util.find_spec("zeroconf") is not None
        if announces and not self.announces:
            logger.warning("OSCQuery is not announced: that needs zeroconf; pip install 'pyengine[web]'")
        self._server = server
        self._loop = loop
        what, advice = f"cannot serve OSCQuery: port {port} of {server.host}", "end what has that port or give another"
        self._listener = listen(server.host, port, what, f"{advice} (--oscquery PORT)")
        self.port: int = self._listener.getsockname()[1]
        self._helper = Helper("pyengine.oscquery.serve")
        self._connection: Connection | None = None
        self._is_closed = False
        self.starts = 0
        server.streams.on_closed.append(self._on_closed)

    @property
    def pid(self) -> int:
        """The process that serves, 0 while there is none."""
        return self._helper.pid

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
        with theirs:
            self._helper.start({"engine": theirs.fileno(), "listener": self._listener.fileno()}, facts=facts)
        self.starts += 1
        self._connection = self._server.streams.adopt(ours, f"oscquery pid={self.pid}")

    def _on_closed(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        if not self._is_closed:
            self._helper.end()
            logger.error("the OSCQuery process has ended; it is started again in %g s", RESTART_S)
            self._loop.after(RESTART_S, self.start)

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
        self._helper.end(WITHDRAW_S if self.announces else 0.0)
        self._listener.close()

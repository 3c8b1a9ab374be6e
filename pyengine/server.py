"""The OSC port: datagrams in, commands to the supervisor, answers to the sender."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

from pyengine import _native, messages, osc
from pyengine.commands import Command
from pyengine.errors import EngineError, PortInUseError

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 16 << 20
DATAGRAMS_A_TURN = 128  # then the loop looks at workers and timers again
_SO_RCVBUFFORCE = 33  # Linux

Execute = Callable[[list[tuple[Command, Callable[[Any], None]]], float, "float | None", "int | None"], None]


class OscServer:
    """A UDP socket of its own. The inbox takes the datagrams off it; what needs Python is read in the engine's loop.

    `execute` is Dispatcher.group.
    """

    def __init__(self, host: str, port: int, execute: Execute) -> None:
        self._execute = execute
        self._socket = _bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._inbox: _native.Inbox | None = None
        self.requests = 0  # that came the long way
        self.refused = 0
        self.replies_lost = 0

    def listen(self, inbox: _native.Inbox) -> None:
        """Let the inbox read the socket; `read` is to be called whenever there is something in it for Python."""
        self._inbox = inbox
        inbox.listen(self._socket.fileno())

    def fileno(self) -> int:
        assert self._inbox is not None
        return self._inbox.fileno()

    def read(self) -> None:
        """Execute what has come the long way."""
        assert self._inbox is not None
        for _ in range(DATAGRAMS_A_TURN):
            letter = self._inbox.next()
            if letter is None:
                return
            self._handle(letter)
        self._inbox.wake()

    def _handle(self, letter: _native.Letter) -> None:
        for group in osc.decode(letter.data):
            commands = []
            for request in group.requests:
                self.requests += 1
                reply = self._replier(request.address, letter.sender)
                if request.command is None:
                    reply(EngineError(request.fault))
                else:
                    commands.append((request.command, reply))
            if commands:
                wall_s = None if group.time_tag is None else messages.unix_from_time_tag(group.time_tag)
                self._execute(commands, letter.received_s, wall_s, letter.frame)

    def _replier(self, address: str, sender: Any) -> Callable[[Any], None]:
        def reply(result: Any) -> None:
            if isinstance(result, EngineError):
                self.refused += 1
                logger.info("refused address=%s: %s", address, result)
                self._send(osc.encode_reply(False, address, str(result)), sender)
            elif isinstance(result, tuple):
                self._send(osc.encode_reply(True, address, *result), sender)
            else:
                self._send(osc.encode_report(address, result), sender)

        return reply

    def _send(self, datagram: bytes, sender: Any) -> None:
        try:
            self._socket.sendto(datagram, sender)
        except OSError as error:
            self.replies_lost += 1
            logger.debug("reply lost to=%s: %s", sender, error)

    def status(self) -> dict[str, Any]:
        """Return the port and what came in."""
        assert self._inbox is not None
        counts = self._inbox.counts()
        return {
            "host": self.host,
            "port": self.port,
            "datagrams": counts["datagrams"],
            "requests": self.requests + counts["short_requests"],
            "short_requests": counts["short_requests"],
            "waiting": counts["waiting"],
            "refused": self.refused,
            "dropped_by_kernel": counts["dropped"],
            "lost": counts["lost"],
            "replies_lost": self.replies_lost + counts["replies_lost"],
        }

    def close(self) -> None:
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket with a large receive buffer. Raises PortInUseError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if sys.platform == "linux":
            _ask_more_of_linux(sock)  # before datagrams come
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            text = f"OSC port {port} on {host} is in use, perhaps by another pyengine"
            raise PortInUseError(f"{text}; end that one or give another port") from error
        raise PortInUseError(f"cannot listen on {host}:{port}: {error}; give another address or port") from error
    sock.setblocking(False)
    return sock


def _ask_more_of_linux(sock: socket.socket) -> None:
    """A buffer beyond the system's limit, where privileged."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except OSError as error:
        logger.debug("larger receive buffer refused: %s", error)

"""The OSC ports, UDP and TCP: packets in, commands to the dispatcher, answers to the sender."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pyengine import _native, messages, osc
from pyengine.commands import Command, Notify
from pyengine.errors import EngineError, PortInUseError
from pyengine.loop import Loop
from pyengine.messages import MAX_DATAGRAM_BYTES
from pyengine.notify import Peer
from pyengine.streams import Connection, Streams

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 16 << 20
DATAGRAMS_A_TURN = 128  # then the loop looks at workers and timers again
STREAM_HOST = "0.0.0.0"  # in the inbox, with the number of a connection as its port
_SO_RCVBUFFORCE = 33  # Linux

Execute = Callable[[list[tuple[Command, Callable[[Any], None]]], float, "float | None", "int | None"], None]


@dataclass(frozen=True, slots=True)
class Datagrams:
    """A sender of datagrams."""

    server: OscServer
    address: tuple[str, int]
    max_bytes: ClassVar[int] = MAX_DATAGRAM_BYTES
    is_lasting: ClassVar[bool] = False
    has_room: ClassVar[bool] = True

    def send(self, packet: bytes) -> bool:
        return self.server.send_to(packet, self.address)

    def __str__(self) -> str:
        return f"udp {self.address[0]}:{self.address[1]}"


class OscServer:
    """A UDP socket, whose datagrams the inbox takes off it, and where asked for TCP connections. What needs Python is
    read in the engine's loop, all in the order it came in.

    `execute` is Dispatcher.group. tcp_port: None for no TCP, 0 for any free port.
    """

    def __init__(self, host: str, port: int, execute: Execute, loop: Loop, tcp_port: int | None = None) -> None:
        self._execute = execute
        self._socket = _bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        try:
            self.streams = Streams(host, tcp_port, loop, self._put)
        except BaseException:
            self._socket.close()
            raise
        self._inbox: _native.Inbox | None = None
        self.requests = 0  # that came the long way
        self.refused = 0
        self.replies_lost = 0
        self.on_refused: list[Callable[[str, EngineError], None]] = []  # whoever watches, of what is no command

    def listen(self, inbox: _native.Inbox) -> None:
        """Let the inbox read the socket; `read` is to be called whenever there is something in it for Python."""
        self._inbox = inbox
        inbox.listen(self._socket.fileno())
        self.streams.start()

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

    def _put(self, connection: Connection, packet: bytes, fault: str) -> None:
        """Let a packet of a stream take its place behind what came before it."""
        assert self._inbox is not None
        if fault:
            self.requests += 1
            self._replier("", connection)(EngineError(fault))
        else:
            self._inbox.put(packet, (STREAM_HOST, connection.number), time.monotonic_ns())

    def _peer(self, letter: _native.Letter) -> Peer | None:
        """Return whom to answer, None for a connection that is closed."""
        host, number = letter.sender
        if host != STREAM_HOST:
            return Datagrams(self, letter.sender)
        return self.streams.find(number)

    def _handle(self, letter: _native.Letter) -> None:
        peer = self._peer(letter)
        for group in osc.decode(letter.data):
            commands: list[tuple[Command, Callable[[Any], None]]] = []
            for request in group.requests:
                self.requests += 1
                reply = self._replier(request.address, peer)
                if request.command is None:
                    error = EngineError(request.fault)
                    reply(error)
                    for watcher in self.on_refused:
                        watcher(request.address, error)
                elif isinstance(request.command, Notify):
                    commands.append((replace(request.command, peer=peer), reply))
                else:
                    commands.append((request.command, reply))
            if commands:
                wall_s = None if group.time_tag is None else messages.unix_from_time_tag(group.time_tag)
                self._execute(commands, letter.received_s, wall_s, letter.frame)
        if isinstance(peer, Connection):
            self.streams.handled(peer, letter.data)

    def _replier(self, address: str, peer: Peer | None) -> Callable[[Any], None]:
        max_bytes = MAX_DATAGRAM_BYTES if peer is None else peer.max_bytes
        owing = peer if isinstance(peer, Connection) else None
        if owing is not None:
            owing.n_owed += 1

        def reply(result: Any) -> None:
            nonlocal owing
            if owing is not None:
                owing.n_owed -= 1
                owing = None  # what is said after the answer is not owed
            if isinstance(result, EngineError):
                self.refused += 1
                logger.info("refused address=%s: %s", address, result)
                answer = osc.encode_reply(False, address, str(result), max_bytes=max_bytes)
            elif isinstance(result, tuple):
                answer = osc.encode_reply(True, address, *result, max_bytes=max_bytes, tcp_port=self.streams.port)
            else:
                answer = osc.encode_report(address, result, max_bytes, self.streams.port)
            self.replies_lost += peer is None or not peer.send(answer)

        return reply

    def send_to(self, datagram: bytes, address: tuple[str, int]) -> bool:
        """Send a datagram; False where the kernel does not take it."""
        try:
            self._socket.sendto(datagram, address)
        except OSError as error:
            logger.debug("reply lost to=%s: %s", address, error)
            return False
        return True

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
            "tcp": None if self.streams.port is None else self.streams.status(),
        }

    def close(self) -> None:
        self.streams.close()
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

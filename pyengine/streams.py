"""OSC over TCP: connections with framed packets, read and written by the engine's loop, none of them waited for."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from pyengine.errors import PortInUseError
from pyengine.framing import Deframer, framed
from pyengine.loop import Loop
from pyengine.messages import MAX_DATAGRAM_BYTES

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
MAX_REPLY_BYTES = 32 << 20  # of one packet: a patch of 16,384 nodes and 65,536 cables takes a fifth of it
MAX_UNSENT_BYTES = 64 << 20  # of one connection
MAX_WAITING_BYTES = 64 << 10  # of requests that were read and not handled yet; then no more are read
MAX_UNREAD_BYTES = 1 << 20  # of answers; then no more requests are read
PACKET_BYTES = 64  # that a request takes besides its own
CHUNK_BYTES = 64 << 10  # read and written at a time: one connection does not hold up the others
STALL_S = 10.0  # without a byte taken, while answers wait
LOOK_S = 1.0

Deliver = Callable[["Connection", bytes, str], None]
"""Gets a packet of a connection, or b"" and what is wrong."""


class Connection:
    """One peer. Its number stands for it in the inbox; what it is sent waits here, bounded."""

    max_bytes = MAX_REPLY_BYTES
    is_lasting = True

    def __init__(self, sock: socket.socket, number: int, peer: str) -> None:
        self.sock = sock
        self.number = number
        self.peer = peer
        self.deframer = Deframer(MAX_DATAGRAM_BYTES)
        self.waiting_bytes = 0  # of requests in the inbox
        self.n_owed = 0  # answers to requests that were handled
        self.unsent = bytearray()
        self.progress_s = time.monotonic()
        self.is_open = True
        self.is_ending = False  # closed as soon as all is sent
        self.on_output: Callable[[Connection], None] = lambda connection: None

    def fileno(self) -> int:
        return self.sock.fileno()

    def __str__(self) -> str:
        return f"tcp {self.peer}"

    @property
    def has_room(self) -> bool:
        return len(self.unsent) < MAX_UNREAD_BYTES

    @property
    def wants_input(self) -> bool:
        has_room = self.waiting_bytes < MAX_WAITING_BYTES and self.has_room
        return has_room and not self.is_ending

    @property
    def is_done(self) -> bool:
        """Nothing more will come of it."""
        return self.is_ending and not self.unsent and self.waiting_bytes <= 0 and self.n_owed <= 0

    def send(self, packet: bytes) -> bool:
        """Queue a packet and send what the socket takes; False where nobody is there any more."""
        if not self.is_open:
            return False
        if not self.unsent:
            self.progress_s = time.monotonic()
        self.unsent += framed(packet, self.deframer.framing or "length")
        self.flush()
        self.on_output(self)
        return True

    def flush(self) -> None:
        """Send what the socket takes now; a peer that has gone is found by the read."""
        while self.unsent:
            try:
                sent = self.sock.send(self.unsent[:CHUNK_BYTES])
            except BlockingIOError:
                return
            except OSError:
                self.unsent.clear()
                return
            del self.unsent[:sent]
            self.progress_s = time.monotonic()


class Streams:
    """The connections, and the socket that listens for them where there is one (port: 0 for any free one).

    Raises PortInUseError.
    """

    def __init__(self, host: str, port: int | None, loop: Loop, deliver: Deliver) -> None:
        self._loop = loop
        self._deliver = deliver
        self._socket = None if port is None else _listen(host, port)
        self.port: int | None = None if self._socket is None else self._socket.getsockname()[1]
        self._connections: dict[int, Connection] = {}
        self._next = 1
        self.on_closed: list[Callable[[Connection], None]] = []
        self.accepted = 0
        self.turned_away = 0
        self.dropped = 0
        self.packets = 0

    def start(self) -> None:
        """Take connections from now on."""
        if self._socket is not None:
            self._loop.watch(self._socket, self._accept)
        self._loop.after(LOOK_S, self._look)

    def find(self, number: int) -> Connection | None:
        """Return a connection that is still there."""
        return self._connections.get(number)

    def handled(self, connection: Connection, packet: bytes) -> None:
        """A request was taken from the inbox: there is room for more."""
        connection.waiting_bytes -= PACKET_BYTES + len(packet)
        self._update(connection)

    # ---- connections ----

    def _accept(self) -> None:
        assert self._socket is not None
        try:
            sock, address = self._socket.accept()
        except OSError:
            return
        peer = f"{address[0]}:{address[1]}"
        if len(self._connections) >= MAX_CONNECTIONS:
            self.turned_away += 1
            logger.warning("tcp connection turned away peer=%s: %d are open", peer, len(self._connections))
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.adopt(sock, peer)

    def adopt(self, sock: socket.socket, peer: str) -> Connection:
        """Talk with a socket that is connected already."""
        sock.setblocking(False)
        connection = Connection(sock, self._number(), peer)
        connection.on_output = self._update
        self._connections[connection.number] = connection
        self.accepted += 1
        self._loop.watch(sock, lambda: self._ready(connection))
        logger.info("tcp connection peer=%s", peer)
        return connection

    def _number(self) -> int:
        """Return a number that no connection has, nor one that has just gone."""
        while self._next in self._connections:
            self._next = self._next % 65535 + 1
        number, self._next = self._next, self._next % 65535 + 1
        return number

    def _ready(self, connection: Connection) -> None:
        connection.flush()
        if connection.wants_input and not self._read(connection):
            return
        self._update(connection)

    def _read(self, connection: Connection) -> bool:
        """Read once; False when the connection is gone. One that says nothing more still gets its answers."""
        try:
            data = connection.sock.recv(CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            self._close(connection, "")
            return False
        connection.is_ending = not data
        for packet in connection.deframer.feed(data):
            self.packets += 1
            if not packet.fault:
                connection.waiting_bytes += PACKET_BYTES + len(packet.data)
            self._deliver(connection, packet.data, packet.fault)
        connection.is_ending = connection.is_ending or connection.deframer.is_lost
        return connection.is_open

    def _update(self, connection: Connection) -> None:
        """Wait for what it needs now, and end it where that is due."""
        if not connection.is_open:
            return
        if len(connection.unsent) > MAX_UNSENT_BYTES:
            self._drop(connection, f"{len(connection.unsent)} bytes wait for it")
        elif connection.is_done:
            self._close(connection, "")
        else:
            self._loop.expect(connection.sock, connection.wants_input, bool(connection.unsent))

    def _look(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.unsent and now - connection.progress_s > STALL_S:
                self._drop(connection, f"it has taken nothing for {STALL_S:g} s")
        self._loop.after(LOOK_S, self._look)

    def _drop(self, connection: Connection, why: str) -> None:
        self.dropped += 1
        self._close(connection, why)

    def _close(self, connection: Connection, why: str) -> None:
        if not connection.is_open:
            return
        connection.is_open = False
        self._loop.unwatch(connection.sock)
        del self._connections[connection.number]
        connection.unsent.clear()
        connection.sock.close()
        if why:
            logger.warning("tcp connection dropped peer=%s: %s", connection.peer, why)
        else:
            logger.info("tcp connection closed peer=%s", connection.peer)
        for watcher in self.on_closed:
            watcher(connection)

    def status(self) -> dict[str, Any]:
        """Return the port, and who came."""
        return {
            "port": self.port,
            "connections": len(self._connections),
            "accepted": self.accepted,
            "turned_away": self.turned_away,
            "dropped": self.dropped,
            "packets": self.packets,
            "unsent_bytes": sum(len(c.unsent) for c in self._connections.values()),
        }

    def close(self) -> None:
        """End all of it; again does no harm."""
        if self._socket is not None:
            self._loop.unwatch(self._socket)
            self._socket.close()
        for connection in list(self._connections.values()):
            connection.flush()
            self._close(connection, "")


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(MAX_CONNECTIONS)
    except OSError as error:
        sock.close()
        text = f"cannot listen for OSC over TCP on {host}:{port}: {error}"
        raise PortInUseError(f"{text}; end what has that port or give another") from error
    sock.setblocking(False)
    return sock

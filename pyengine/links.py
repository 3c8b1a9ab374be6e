"""How a client is connected with an engine: by datagrams or by a stream. Errors are those of sockets."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

from pyengine.errors import EngineError
from pyengine.framing import framed

MAX_PACKET_BYTES = 1 << 28  # of an answer; more is no answer
TRANSPORTS = ("udp", "tcp")


class UdpLink:
    """A UDP socket that talks to one address."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        family, kind, protocol, address = _find(host, port, socket.SOCK_DGRAM)
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def send(self, packet: bytes) -> None:
        self._socket.send(packet)

    def receive(self, deadline: float) -> bytes:
        """Return the next packet. Raises TimeoutError."""
        self._socket.settimeout(_left_s(deadline))
        return self._socket.recv(65536)

    def pending(self) -> Iterator[bytes]:
        """Give what has come already, and wait for nothing."""
        self._socket.setblocking(False)
        try:
            for _ in range(10_000):
                yield self._socket.recv(65536)
        except (BlockingIOError, ConnectionRefusedError):
            pass
        finally:
            self._socket.setblocking(True)

    def close(self) -> None:
        self._socket.close()


class TcpLink:
    """A TCP connection with packets that have their length before them (OSC 1.0)."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        family, kind, protocol, address = _find(host, port, socket.SOCK_STREAM)
        self._socket = socket.socket(family, kind, protocol)
        self._timeout_s = timeout_s
        self._rest = bytearray()
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._socket.close()
            raise

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def send(self, packet: bytes) -> None:
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(framed(packet, "length"))

    def receive(self, deadline: float) -> bytes:
        """Return the next packet. Raises TimeoutError, EngineError when the engine has closed the connection."""
        while (packet := self._whole()) is None:
            self._socket.settimeout(_left_s(deadline))
            self._fill()
        return packet

    def pending(self) -> Iterator[bytes]:
        """Give what has come already, and wait for nothing."""
        self._socket.setblocking(False)
        try:
            while True:
                while (packet := self._whole()) is not None:
                    yield packet
                self._fill()
        except BlockingIOError:
            pass
        finally:
            self._socket.setblocking(True)

    def _fill(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise EngineError("the engine has closed the connection; see its log, and connect again")
        self._rest += data

    def _whole(self) -> bytes | None:
        if len(self._rest) < 4:
            return None
        size = struct.unpack_from(">I", self._rest)[0]
        if size > MAX_PACKET_BYTES:
            raise EngineError(f"a packet of {size} bytes is no answer of an engine; check host and port")
        if len(self._rest) < 4 + size:
            return None
        packet = bytes(self._rest[4 : 4 + size])
        del self._rest[: 4 + size]
        return packet

    def close(self) -> None:
        self._socket.close()


Link = UdpLink | TcpLink


def connect(transport: str, host: str, port: int, timeout_s: float) -> Link:
    """Return a link of this kind. Raises OSError, ValueError."""
    return TcpLink(host, port, timeout_s) if transport == "tcp" else UdpLink(host, port, timeout_s)


def _find(host: str, port: int, kind: socket.SocketKind) -> tuple[int, int, int, tuple[object, ...]]:
    found = socket.getaddrinfo(host, port, type=kind)
    family, kind_found, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, kind_found, protocol, address


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s

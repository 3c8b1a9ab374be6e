"""JSON lines over a socket pair, between the engine's loop and the page's server. The engine's end never blocks."""

from __future__ import annotations

import json
import socket
from typing import Any

_CHUNK = 1 << 16
MAX_UNSENT_BYTES = 8 << 20  # a server that reads nothing for so long has hung

Line = dict[str, Any]


class Lines:
    """The engine's end: a socket that does not block."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._in = bytearray()
        self._out = bytearray()
        self.lost = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._out)

    def send(self, line: Line) -> None:
        """Queue a line and send what the socket takes; counted as lost where too much waits."""
        data = encode(line)
        if len(self._out) + len(data) > MAX_UNSENT_BYTES:
            self.lost += 1
            return
        self._out += data
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now; a peer that has gone is found by `receive`."""
        while self._out:
            try:
                sent = self.sock.send(self._out[:_CHUNK])
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()
                return
            del self._out[:sent]

    def receive(self) -> list[Line] | None:
        """Return what has arrived, None at the end of the file."""
        while True:
            try:
                data = self.sock.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                return None
            if not data:
                return None
            self._in += data
        *whole, rest = bytes(self._in).split(b"\n")
        self._in = bytearray(rest)
        return [json.loads(line) for line in whole]

    def close(self) -> None:
        self.sock.close()


def encode(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"

"""Messages between the supervisor and a worker: a socket pair made anew for each worker.

No lock is shared: a peer that is killed at any instant leaves an end of file, nothing else. The supervisor's
end never blocks: what does not fit into the socket waits in a buffer of its own.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct("!I")
_CHUNK = 1 << 18

Message = dict[str, Any]


class Channel:
    """One end. `receive` returns None at the end of the file, which is when the peer has gone."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = bytearray()
        self._out = bytearray()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._out)

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages that are read together, and send what the socket takes."""
        data = pickle.dumps(list(messages), protocol=pickle.HIGHEST_PROTOCOL)
        self._out += _HEAD.pack(len(data)) + data
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

    def receive(self) -> list[Message] | None:
        """Return what has arrived (on a blocking socket: at least one batch), or None at the end."""
        messages: list[Message] = []
        while True:
            while (batch := self._pop()) is not None:
                messages += batch
            if messages and self.sock.getblocking():
                return messages
            try:
                data = self.sock.recv(_CHUNK)
            except BlockingIOError:
                return messages
            except OSError:
                data = b""
            if not data:
                return messages or None
            self._in += data

    def _pop(self) -> list[Message] | None:
        if len(self._in) < _HEAD.size:
            return None
        size = _HEAD.unpack_from(self._in)[0]
        if len(self._in) < _HEAD.size + size:
            return None
        batch: list[Message] = pickle.loads(bytes(self._in[_HEAD.size : _HEAD.size + size]))
        del self._in[: _HEAD.size + size]
        return batch

    def close(self) -> None:
        self.sock.close()

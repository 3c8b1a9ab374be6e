"""Messages between the supervisor and a worker: a socket pair made anew for each worker.

No lock is shared: a peer that is killed at any instant leaves an end of file, nothing else. The supervisor's
end never blocks: what does not fit into the socket waits in a buffer of its own.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct("!I")
_CHUNK = 1 << 18
# Read at once while it is not known what there is. Room for more costs, page by page, where memory is locked.
_FIRST = 1 << 14
_MAX_DESCRIPTORS = 16  # of one read

Message = dict[str, Any]


class Channel:
    """One end. `receive` returns None at the end of the file, which is when the peer has gone."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = bytearray()
        self._out = bytearray()
        self._n_sent = 0
        self._handed: deque[tuple[int, int]] = deque()  # to go with that byte: (bytes sent before it, descriptor)
        self._received: deque[int] = deque()

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._out)

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages that are read together, and send what the socket takes."""
        self._queue(messages)
        self.flush()

    def hand(self, message: Message, descriptor: int) -> None:
        """Queue one message with a copy of a descriptor, which arrives as its 'descriptor': to be closed there."""
        self._handed.append((self._n_sent + len(self._out), os.dup(descriptor)))
        self._queue([message | {"descriptor": -1}])
        self.flush()

    def _queue(self, messages: Sequence[Message]) -> None:
        data = pickle.dumps(list(messages), protocol=pickle.HIGHEST_PROTOCOL)
        self._out += _HEAD.pack(len(data)) + data

    def flush(self) -> None:
        """Send what the socket takes now; a peer that has gone is found by `receive`."""
        while self._out:
            try:
                sent = self._send_some()
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()
                self._drop_handed()
                return
            del self._out[:sent]
            self._n_sent += sent

    def _send_some(self) -> int:
        """Send up to the next byte that a descriptor goes with, or from it on."""
        if not self._handed or self._handed[0][0] > self._n_sent:
            end = self._handed[0][0] - self._n_sent if self._handed else _CHUNK
            return self.sock.send(self._out[: min(end, _CHUNK)])
        sent = socket.send_fds(self.sock, [self._out[: _HEAD.size]], [self._handed[0][1]])
        os.close(self._handed.popleft()[1])
        return sent

    def _drop_handed(self) -> None:
        while self._handed:
            os.close(self._handed.popleft()[1])

    def receive(self) -> list[Message] | None:
        """Return what has arrived (on a blocking socket: at least one batch), or None at the end."""
        messages: list[Message] = []
        while True:
            while (batch := self._pop()) is not None:
                messages += batch
            if messages and self.sock.getblocking():
                return messages
            try:
                data, descriptors, _, _ = socket.recv_fds(self.sock, self._room(), _MAX_DESCRIPTORS)
                self._received += descriptors
            except BlockingIOError:
                return messages
            except OSError:
                data = b""
            if not data:
                return messages or None
            self._in += data

    def _room(self) -> int:
        """Return how much to read at once: what is left of a batch that has begun, within bounds."""
        left = _HEAD.unpack_from(self._in)[0] - len(self._in) if len(self._in) >= _HEAD.size else 0
        return min(_CHUNK, max(_FIRST, left))

    def _pop(self) -> list[Message] | None:
        if len(self._in) < _HEAD.size:
            return None
        size = _HEAD.unpack_from(self._in)[0]
        if len(self._in) < _HEAD.size + size:
            return None
        batch: list[Message] = pickle.loads(bytes(self._in[_HEAD.size : _HEAD.size + size]))
        del self._in[: _HEAD.size + size]
        for message in batch:
            if "descriptor" in message:
                message["descriptor"] = self._received.popleft()
        return batch

    def close(self) -> None:
        self._drop_handed()
        self.sock.close()

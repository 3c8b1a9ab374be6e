"""The OSC port: datagrams in, commands to the supervisor, answers to the sender."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from pyengine import osc
from pyengine.commands import Command
from pyengine.errors import EngineError, PortInUseError

logger = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 8 << 20
DATAGRAMS_A_TURN = 128  # then the loop looks at workers and timers again
_SO_RXQ_OVFL = 40  # Linux: the kernel tells with each datagram how many it has dropped
_SO_RCVBUFFORCE = 33

Execute = Callable[[list[tuple[Command, Callable[[Any], None]]], float, "float | None"], None]


class OscServer:
    """A UDP socket of its own, read in the engine's loop. `execute` is Supervisor.group."""

    def __init__(self, host: str, port: int, execute: Execute) -> None:
        self._execute = execute
        self._socket = _bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self.datagrams = 0
        self.requests = 0
        self.refused = 0
        self.dropped = 0  # by the kernel: its buffer was full
        self.replies_lost = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> None:
        """Take what has arrived and execute it."""
        for _ in range(DATAGRAMS_A_TURN):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(65536, 64)
            except BlockingIOError:
                return
            except OSError as error:  # an earlier answer found nobody: not our sender's fault
                logger.debug("receive failed: %s", error)
                return
            self.datagrams += 1
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(value) >= 4:
                    self.dropped = struct.unpack_from("=I", value)[0]
            self._handle(data, sender, time.monotonic())

    def _handle(self, data: bytes, sender: Any, received_s: float) -> None:
        for group in osc.decode(data):
            commands = []
            for request in group.requests:
                self.requests += 1
                reply = self._replier(request.address, sender)
                if request.command is None:
                    reply(EngineError(request.fault))
                else:
                    commands.append((request.command, reply))
            if commands:
                wall_s = None if group.time_tag is None else osc.unix_from_time_tag(group.time_tag)
                self._execute(commands, received_s, wall_s)

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
        return {
            "host": self.host,
            "port": self.port,
            "datagrams": self.datagrams,
            "requests": self.requests,
            "refused": self.refused,
            "dropped_by_kernel": self.dropped,
            "replies_lost": self.replies_lost,
        }

    def close(self) -> None:
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket with a large receive buffer. Raises PortInUseError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if sys.platform == "linux":
            _ask_more_of_linux(sock)
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
    """A buffer beyond the system's limit, where privileged; and word of what was dropped for want of it."""
    for option, value in ((_SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES), (_SO_RXQ_OVFL, 1)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, value)
        except OSError as error:
            logger.debug("socket option %d refused: %s", option, error)

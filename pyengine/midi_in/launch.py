"""The engine's side of a MIDI input: starts the process that has the port, plays what it tells. Runs in its loop."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pyengine.commands import Command
from pyengine.errors import EngineError
from pyengine.loop import Loop
from pyengine.midi import MidiError
from pyengine.midi_in.decoder import Message
from pyengine.midi_in.player import Player
from pyengine.patch import Patch
from pyengine.supervisor import Supervisor

logger = logging.getLogger(__name__)

START_S = 20.0
RESTART_S = 1.0
LEAVE_S = 1.0
ALLOWANCE_S = 0.002  # from the arrival at the port to the engine's: so a message that was found late is not heard late
AT_ONCE = 256  # messages played before others get their turn
MAX_SENT = 8192  # records that may wait for the renderers; more messages wait here
MAX_HELD = 4096  # messages here; more wait in the port's process
ROOM_S = 0.002  # how soon room is looked for again
CHUNK_BYTES = 1 << 16
_BOOT = "import sys; sys.path[:] = {path!r}; from pyengine.midi_in.read import main; main({arguments!r})"

Group = Callable[[list[tuple[Command, Callable[[Any], None]]], float], None]
"""Executes commands together; the float is when they came, time.monotonic()."""


class Started:
    """A process that has a port, and the socket to it."""

    def __init__(self, port: str, *, waits: bool) -> None:
        self.socket, theirs = socket.socketpair()
        arguments = json.dumps({"socket": theirs.fileno(), "port": port, "waits": waits})
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT.format(path=sys.path, arguments=arguments)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is the engine's business
            )

    def name(self) -> str:
        """Wait for its first line and return the name of the port. Raises MidiError."""
        self.socket.settimeout(START_S)
        line = b""
        try:
            while not line.endswith(b"\n"):  # to the byte: what follows is read by the loop
                byte = self.socket.recv(1)
                if not byte:
                    raise MidiError("the process for the MIDI input has ended at once; see the log above")
                line += byte
        except TimeoutError:
            raise MidiError(f"the MIDI input did not open within {START_S:g} s; does its server hang?") from None
        told = json.loads(line)
        if "error" in told:
            raise MidiError(told["error"])
        return str(told["port"])

    def close(self, leave_s: float = 0.0) -> None:
        """End it; again does no harm. leave_s: for it to take leave of its server."""
        self.socket.close()
        try:
            self.process.wait(leave_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(port: str) -> tuple[Started, str]:
    """Open a port and return who has it, and its name. Not for the loop: it waits. Raises MidiError."""
    started = Started(port, waits=False)
    try:
        return started, started.name()
    except BaseException:
        started.close()
        raise


class MidiIn:
    """Plays a port on the patch that sounds, for as long as the engine lives."""

    def __init__(
        self, started: Started, port: str, player: Player, supervisor: Supervisor, loop: Loop, group: Group
    ) -> None:
        self._player, self._supervisor, self._loop, self._group = player, supervisor, loop, group
        self._wanted = self._port = port
        self._is_there = True
        self._is_closed = False
        self._is_playing = False  # a turn of it is under way
        self._held: deque[tuple[float, Message]] = deque()
        self._rest = b""
        self._messages = self._lost = self._refused = 0
        self._told_refusal = ""
        self._started: Started | None = None
        self._adopt(started)

    def status(self) -> dict[str, Any]:
        """Return the port, and what came. lost: dropped for want of room; refused: what could not be played."""
        return {
            "port": self._port,
            "is_there": self._is_there,
            "messages": self._messages,
            "lost": self._lost,
            "refused": self._refused,
            "waiting": len(self._held),
        }

    @property
    def pid(self) -> int:
        """The process that has the port, 0 while there is none."""
        return self._started.process.pid if self._started is not None else 0

    # ---- the process ---------------------------------------------------------------------------------

    def _adopt(self, started: Started) -> None:
        started.socket.setblocking(False)
        self._started = started
        self._rest = b""
        self._loop.watch(started.socket, self._read)

    def _restart(self) -> None:
        if not self._is_closed:
            self._adopt(Started(self._wanted, waits=True))

    def _on_end(self) -> None:
        self._drop()
        self._set_there(False)
        if not self._is_closed:
            self._loop.after(RESTART_S, self._restart)

    def _drop(self, leave_s: float = 0.0) -> None:
        started, self._started = self._started, None
        if started is not None:
            self._loop.unwatch(started.socket)
            started.close(leave_s)

    def close(self) -> None:
        """End it; a second call does no harm."""
        self._is_closed = True
        self._drop(LEAVE_S)

    # ---- what it tells -------------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._started is not None
        try:
            data = self._started.socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._hear(json.loads(line))
            else:
                arrival_ns, status, first, second = map(int, line.split())
                self._held.append((arrival_ns / 1e9, (status, first, second)))
                self._messages += 1
        self._play_soon()
        if not data:
            self._on_end()
        elif len(self._held) > MAX_HELD:
            self._loop.expect(self._started.socket, False, False)

    def _hear(self, told: dict[str, Any]) -> None:
        if "error" in told:
            logger.warning("midi input: %s", told["error"])
        self._lost += int(told.get("lost", 0))
        if "is_there" in told:
            self._port = str(told["port"])
            self._set_there(bool(told["is_there"]))

    def _set_there(self, is_there: bool) -> None:
        if is_there == self._is_there:
            return
        self._is_there = is_there
        if is_there:
            logger.info("midi input %r is back", self._port)
            return
        logger.warning("midi input %r has gone; its notes end, and it is played again when it is back", self._port)
        self._held.clear()
        self._send(self._player.silence(self._patch), None)

    # ---- playing -------------------------------------------------------------------------------------

    @property
    def _patch(self) -> Patch:
        return self._supervisor.desk.committed

    def _play_soon(self) -> None:
        if self._held and not self._is_playing:
            self._is_playing = True
            self._play()

    def _play(self) -> None:
        """Play some of what is held, and the rest in a later turn of the loop."""
        for _ in range(AT_ONCE):
            if not self._held or self._supervisor.board.intake.n_waiting > MAX_SENT:
                break
            arrival_s, message = self._held.popleft()
            self._send(self._player.commands(self._patch, message), arrival_s)
        if self._started is not None and len(self._held) <= MAX_HELD:
            self._loop.expect(self._started.socket, True, False)
        for text in self._player.faults():
            logger.warning("midi not played: %s", text)
        self._is_playing = bool(self._held)
        if not self._held or self._is_closed:
            return
        if self._supervisor.board.intake.n_waiting > MAX_SENT:
            self._loop.after(ROOM_S, self._play)
        else:
            self._loop.call(self._play)

    def _send(self, commands: list[Command], arrival_s: float | None) -> None:
        if commands:
            received_s = time.monotonic() if arrival_s is None else arrival_s + ALLOWANCE_S
            self._group([(command, self._on_answer) for command in commands], received_s)

    def _on_answer(self, result: Any) -> None:
        if isinstance(result, EngineError):
            self._refused += 1
            if str(result) != self._told_refusal:
                self._told_refusal = str(result)
                logger.warning("midi not played: %s", result)

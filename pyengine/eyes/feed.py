"""The engine's side of the page: starts the process that serves it, and tells it what is not in the shared segment.

Runs in the engine's loop. While no page is open nothing is made or sent.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from pyengine import _native
from pyengine.commands import (
    Command,
    EngineCommands,
    EngineLevels,
    EngineModules,
    EngineStatus,
    EngineSync,
    Gate,
    PatchDump,
    RecordStatus,
    SessionStatus,
    SetParam,
)
from pyengine.errors import CommandError, EngineError
from pyengine.eyes.lines import Line, Lines
from pyengine.eyes.scene import draw
from pyengine.loop import Loop
from pyengine.requests import write
from pyengine.serving import helper as serving
from pyengine.serving.helper import RESTART_S, Helper, check_websockets
from pyengine.slots import Slot
from pyengine.specs import registry
from pyengine.status import status
from pyengine.supervisor import Supervisor

logger = logging.getLogger(__name__)

TICK_S = 0.2
WATCH_S = 2.0  # of sound that is measured beyond a tick: when we are gone the measuring ends by itself
LOG_LINES_A_TICK = 40  # more are counted, and not told
_QUESTIONS = (
    EngineCommands,
    EngineLevels,
    EngineModules,
    EngineStatus,
    EngineSync,
    PatchDump,
    RecordStatus,
    SessionStatus,
)


def listen(port: int) -> socket.socket:
    """Return a socket bound to a port of the loopback, 0 for any free one. Raises PortInUseError, CommandError."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
        raise CommandError(f"web port {port!r} is outside 0..65535; give another, or 0 for any free one")
    check_websockets("the page")
    return serving.listen("127.0.0.1", port, f"web port {port}", "give another with --web PORT, or 0 for any free one")


class Feed:
    """Lives as long as the engine. Every method is called by the loop."""

    def __init__(self, supervisor: Supervisor, loop: Loop, listener: socket.socket, osc_port: int) -> None:
        self._supervisor = supervisor
        self._loop = loop
        self._listener = listener
        self._osc_port = osc_port
        self._lines: Lines | None = None
        self._helper = Helper("pyengine.eyes.server")
        self._watchers = 0
        self._is_ticking = False
        self._is_closed = False
        self._told = 0  # log lines since the last tick
        self._untold = 0
        self._revision = 0
        self._drawn: tuple[Any, ...] = ()
        self._is_edited = False
        self.facts: Callable[[], dict[str, Any]] = dict  # more for the status
        self.late_commands: Callable[[], int] = int
        supervisor.board.on_move.append(self._on_move)
        self._start()

    @property
    def pid(self) -> int:
        """The process that serves the page, 0 while there is none."""
        return self._helper.pid

    # ---- the process ---------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._is_closed:
            return
        ours, theirs = socket.socketpair()
        descriptors = {"segment": self._supervisor.segment.fd, "lines": theirs.fileno()}
        with theirs:
            self._helper.start(descriptors | {"listener": self._listener.fileno()})
        self._lines = Lines(ours)
        self._loop.watch(self._lines, self._read)
        self._lines.send(self._hello())

    def _hello(self) -> Line:
        o, driver = self._supervisor.board.options, self._supervisor.driver
        import pyengine

        return {
            "t": "hello",
            "version": pyengine.__version__,
            "osc_port": self._osc_port,
            "output": driver.description if driver else "",
            "sample_rate": o.sample_rate_hz,
            "block_frames": o.block_frames,
            "channels": o.n_channels,
            "modules": {row["name"]: row for row in registry().as_list(o.sample_rate_hz)},
        }

    def _read(self) -> None:
        assert self._lines is not None
        lines = self._lines.receive()
        if lines is None:
            self._on_end()
            return
        for line in lines:
            if line.get("t") == "watchers":
                self._set_watchers(int(line["n"]))
            elif line.get("t") == "kill":
                self._kill()

    def _on_end(self) -> None:
        """The page's server has gone: the engine plays on, and it gets another one."""
        pid = self.pid
        self._drop()
        self._watchers = 0
        if not self._is_closed:
            logger.error("the process of the page has ended pid=%d; it is started again", pid)
            self._loop.after(RESTART_S, self._start)

    def _drop(self) -> None:
        if self._lines is not None:
            self._loop.unwatch(self._lines)
            self._lines.close()
            self._lines = None
        self._helper.end()

    def close(self) -> None:
        """End the page; a second call does no harm."""
        self._is_closed = True
        self._drop()
        self._listener.close()

    # ---- while somebody watches -----------------------------------------------------------------------

    def _set_watchers(self, n: int) -> None:
        self._watchers = n
        self._drawn = ()  # whoever came needs all of it
        if n and not self._is_ticking:
            self._is_ticking = True
            self._tick()

    def _tick(self) -> None:
        if not self._watchers or self._lines is None:
            self._is_ticking = False
            return
        self._loop.after(TICK_S, self._tick)
        self._watch()
        if self._untold:
            self._send({"t": "log", "at": time.time(), "ok": False, "address": "", "text": f"{self._untold} more"})
        self._told = self._untold = 0
        self._draw()
        self._send({"t": "status", "status": status(self._supervisor, self.late_commands()) | self.facts()})

    def _watch(self) -> None:
        config, segment = self._supervisor.segment.config, self._supervisor.segment
        n_blocks = WATCH_S * config.sample_rate_hz / config.block_frames + 1
        segment.watch(segment.play_block + segment.effective_lead + int(n_blocks))

    def _draw(self) -> None:
        """Tell the patches if they are not those that were told last."""
        newest = self._supervisor.segment.newest  # before the values are looked at: they have what it stands for
        desk = self._supervisor.desk
        now = (desk.committed, desk.pending)
        is_same = len(self._drawn) == 2 and all(a is b for a, b in zip(now, self._drawn, strict=True))
        if is_same and not self._is_edited:
            return
        self._drawn, self._is_edited = now, False
        self._revision += 1
        self._send({"t": "patch", "revision": self._revision, "seq": newest} | draw(desk.committed, desk.pending))

    def _send(self, line: Line) -> None:
        if self._lines is not None and self._watchers:
            self._lines.send(line)

    def _on_move(self, slot: Slot) -> None:
        self._send({"t": "slot", "index": slot.index, "state": slot.state.value, "at": time.time()})

    # ---- what others say, and what the page asks --------------------------------------------------------

    def on_answer(self, command: Command, result: Any) -> None:
        """A command was answered: by what it asked for, or by the EngineError it was refused with."""
        if not self._watchers:
            return
        if isinstance(command, SetParam | Gate):  # of a module that plays, the page's server sees it in the stream
            self._is_edited |= command.module_id not in self._supervisor.board.desk.committed.nodes
        elif not isinstance(command, _QUESTIONS):
            self._is_edited = True
        if isinstance(command, _QUESTIONS):
            return  # those who watch ask all the time
        self._log(_words_of(command), result)

    def on_refused(self, address: str, error: EngineError) -> None:
        """A message was no command."""
        if self._watchers:
            self._log(address, error)

    def _log(self, words: str, result: Any) -> None:
        if self._told >= LOG_LINES_A_TICK:
            self._untold += 1
            return
        self._told += 1
        is_refused = isinstance(result, EngineError)
        text = str(result) if is_refused else _summary(result)
        self._send({"t": "log", "at": time.time(), "ok": not is_refused, "address": words[:300], "text": text[:1000]})

    def _kill(self) -> None:
        """kill -9 the worker that is heard: the sound must go on."""
        active = self._supervisor.segment.active_slot
        worker = self._supervisor.crew.workers[active] if active < _native.N_SLOTS else None
        if worker is not None:
            self._log(f"kill -9 {worker.pid} (slot {active}, active)", ())
            worker.kill()


def _words_of(command: Command) -> str:
    """Return a command as it is typed: /mod/osc1/freq 440."""
    try:
        address, args = write(command)
    except EngineError:
        return type(command).__name__
    return " ".join([address, *(f"{x:g}" if isinstance(x, float) else str(x) for x in args)])


def _summary(result: Any) -> str:
    """Return the part of an answer that fits a line."""
    if isinstance(result, tuple):
        return " ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in result)
    names = ("generation", "frame", "ready_ms", "late_blocks", "name", "seconds", "peak")
    return " ".join(f"{name}={result[name]}" for name in names if name in result)

"""Runs the engine: the clock or device, the workers, the commits, and what keeps two replicas.

Everything here runs in one thread, the engine's loop (pyengine/engine.py): no lock is needed, order of arrival
is order of effect, and nothing here is waited for by the audio callback.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable

from pyengine import _native
from pyengine.board import Board, Options
from pyengine.channel import Message
from pyengine.commits import Commits
from pyengine.crew import LOOK_S, Crew
from pyengine.desk import Desk, Setting
from pyengine.errors import CommandError, WorkerError
from pyengine.intake import TimeBase
from pyengine.lineage import Stage
from pyengine.listening import Listener
from pyengine.loop import Loop
from pyengine.mending import Mender
from pyengine.outlet import Outlet
from pyengine.recording import Recorder
from pyengine.session import SessionLog, Standing
from pyengine.worker import WorkerProcess

logger = logging.getLogger(__name__)

CLOCK_PRIORITY = 4
GRANT_PAUSES = 3.0  # of the time that a granted block took to be played
RTTIME_SOFT_US, RTTIME_HARD_US = 1_000_000, 2_000_000


class Supervisor:
    """The engine without its thread: every method is called by the loop."""

    def __init__(self, options: Options, loop: Loop) -> None:
        self._loop = loop
        self.board = Board(options, loop)
        self.segment = self.board.segment
        self.intake = self.board.intake
        self._audio = _native.Output(self.segment)
        self.inbox = _native.Inbox(self.segment, self._audio)
        self.inbox.set_latency(False)  # there is no time yet
        self.recorder = Recorder(self.segment, self._audio, options.recordings)
        self.listener = Listener(self._audio, options.recordings)
        self.crew = Crew(
            self.segment,
            loop,
            on_ready=self._on_ready,
            on_message=self._on_message,
            on_gone=self._on_gone,
            on_false_start=self._on_false_start,
            on_free=self._on_free,
        )
        self.crew.samples = self.board.samples
        self.crew.stall_looks = max(2, round(options.stall_ms / 1e3 / LOOK_S))
        self.crew.is_apart = options.standby == "hot"  # one that renders alone may run where there is room
        self.mender = Mender(self.board, self.crew)
        self.commits = Commits(self.board, self.crew, self.mender)
        self.commits.frames = lambda: self.frames
        self.mender.commits = self.commits
        self.session = SessionLog(
            self.segment, self._audio, options.recordings, look=self._standing, drain=self.on_signal, after=loop.after
        )
        self.intake.attach(self.inbox)
        self.intake.on_sent = self.session.sent
        self.session.tell = self.intake.tell
        self.board.open_short_way(self.inbox, self._on_setting)
        self.commits.on_plan = self._log_plan
        self.on_fallback: Callable[[int, int, int], None] = lambda block, to_slot, generation: None
        self.mender.on_restart = self._log_restart
        self.is_started = False
        self.driver: Outlet | None = None
        self.time_base: TimeBase | None = None
        self._allowed = 0
        self._granted_until = -1  # where the clock stands after the last block that was granted
        self._granted_s = self._unplayed_s = 0.0  # when it was granted, and last seen not to be played
        self._may_realtime = False
        self._told_class = False

    # ---- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers; the clock follows when both slots have rendered their lead."""
        if self.board.options.session is not None:
            self.session.begin(self.board.options.session)
        self._may_realtime = _limit_realtime()
        if not self.segment.lock():
            logger.warning("memory not locked: refused; allow it with memlock in limits.conf (see docs/realtime.md)")
        self.crew.start(2)
        self._loop.after(LOOK_S, self._look)

    def _look(self) -> None:
        self._loop.after(LOOK_S, self._look)
        if self.driver is not None:
            self.driver.look()
        self.crew.look()
        self.mender.look()
        self.mender.pump()
        self.intake.pump()
        self._settle()  # whatever a time-out has left to be done

    def open_clock(self) -> None:
        """Start the device, or the clock without one. Raises DeviceError."""
        o = self.board.options
        self.listener.keep(o.history_s)
        self.driver = Outlet(
            o.device,
            self._audio,
            sample_rate_hz=o.sample_rate_hz,
            block_frames=o.block_frames,
            n_channels=o.n_channels,
            priority=CLOCK_PRIORITY if self._may_realtime else 0,
        )
        self._set_latency()
        self.time_base = TimeBase(self._audio, o.sample_rate_hz, self.driver.kind == "free")
        self.is_started = True
        self.crew.refill()
        logger.info(
            "engine started output=%r rate=%g block=%d lead=%d realtime_clock=%s",
            self.driver.description,
            o.sample_rate_hz,
            o.block_frames,
            o.lead_blocks,
            self.driver.is_realtime,
        )

    def _set_latency(self) -> None:
        """From now on settings take effect a constant time after they came: there is a clock. The free-running one
        tells no time: there they take effect as soon as they are read.
        """
        assert self.driver is not None
        o = self.board.options
        is_constant = self.driver.kind != "free" and o.latency != "asap"
        wanted = round(o.latency / 1e3 * o.sample_rate_hz) if isinstance(o.latency, float) else 0
        self.inbox.set_latency(is_constant, wanted)
        shortest = self.inbox.delay_frames
        if is_constant and 0 < wanted < shortest:
            told = 1e3 * shortest / o.sample_rate_hz
            logger.warning("latency of %g ms is too short for device and lead, %g ms is kept", o.latency, told)

    def close(self) -> None:
        """End everything; a second call does no harm."""
        self.inbox.stop()
        self.recorder.close()
        self.listener.close()
        is_quiet = self.driver.close() if self.driver is not None else True
        self.driver = None
        self.session.close()  # all that was played is in it
        self.crew.close()
        self.intake.on_sent = None
        self.inbox.close()
        if is_quiet:  # otherwise a device's thread may still call it
            self._audio.close()
        self.segment.close()
        self.board.samples.close()

    # ---- what workers do ----------------------------------------------------------------------------

    def _on_ready(self, worker: WorkerProcess) -> None:
        self._settle()

    def _on_free(self, worker: WorkerProcess) -> None:
        self.mender.on_free(worker)
        self._settle()

    def _on_false_start(self, worker: WorkerProcess, cause: str) -> None:
        if not self.is_started:
            text = f"a worker {cause} before it was ready; see what it printed above"
            self._loop.fail(WorkerError(text))

    def _on_gone(self, worker: WorkerProcess, why: str) -> None:
        self.on_signal()  # what it did before it died
        self.mender.on_gone(worker, why)
        self._settle()

    def _on_message(self, worker: WorkerProcess, message: Message) -> None:
        kind = message["type"]
        if kind == "assigned":
            worker.facts |= {name: message[name] for name in ("is_realtime", "processors")}
            logger.info(
                "worker hired slot=%d seat=%d pid=%d realtime=%s locked=%s processors=%s",
                worker.slot,
                worker.seat,
                worker.pid,
                message["is_realtime"],
                worker.facts["is_locked"],
                ",".join(map(str, message["processors"])) or "any",
            )
            if not message["is_realtime"] and not self._told_class:
                self._told_class = True
                logger.warning(
                    "no real-time priority: refused; allow it with rtprio in limits.conf (see docs/realtime.md)"
                )
        elif kind == "primed":
            self.commits.on_primed(worker.slot, message)
        elif kind == "joined":
            self.mender.on_joined(worker.slot, message)
        elif kind == "parked" and not message["is_parked"]:
            self.crew.dismiss(worker, f"could not park: {message['detail']}")
        self._settle()

    def _settle(self) -> None:
        self.mender.settle()
        self.commits.advance()

    def on_signal(self) -> None:
        """Something was queued, or a number was reached."""
        for event in self.session.noting(self.segment.events()):
            self._on_event(event)
        self.mender.pump()
        self.intake.pump()

    def _on_setting(self, setting: Setting) -> None:
        """A value that came the short way is to be known to a module of the commit on its way too."""
        self.intake.send(setting.sent)
        self.commits.hold(list(setting.held))

    def _on_event(self, event: _native.Event) -> None:
        mender = self.mender
        if event.kind == "swap":
            self.commits.on_swap(event)
            self._settle()
        elif event.kind == "checkpoint":
            mender.on_checkpoint(event)
        elif event.kind == "hash":
            mender.on_hash(event)
        elif event.kind == "diverged":
            mender.on_diverged(event)
        elif event.kind == "fallback":
            mender.on_fallback(event)
            self.on_fallback(event.block, self.segment.active_slot, event.generation)
            self.commits.advance()
        elif event.kind == "not finite":
            mender.on_not_finite(event)
        elif event.kind == "stale":
            mender.on_stale(event)
        elif event.kind == "underrun":
            logger.warning("underrun block=%d frame=%d", event.block, event.frame)
        elif event.kind == "resumed":
            logger.warning("sound is back block=%d silent_frames=%d", event.block, event.value)

    # ---- what others ask ------------------------------------------------------------------------------

    @property
    def desk(self) -> Desk:
        """The patches, with all the values that were taken the short way."""
        return self.board.desk

    @property
    def is_set_up(self) -> bool:
        """True once every slot that is to render has rendered its lead, or rests: the first request finds its block."""
        board = self.board
        slots = [board.active] if board.is_cold else board.slots
        is_whole = board.active is not None and (board.is_cold or self.mender.is_redundant)
        return is_whole and all(slot is not None and self._has_lead(slot.index) for slot in slots)

    def _has_lead(self, slot: int) -> bool:
        return self.segment.slot_rests(slot) or self.segment.render_head(slot) >= self.board.options.lead_blocks

    @property
    def needs_blocks(self) -> bool:
        """True while something waits for blocks to be played (a paused free-running clock must play them)."""
        is_waiting = self.mender.needs_blocks or self.commits.is_switching or not self.intake.is_clear
        return self.board.active is None or self.session.is_starting or is_waiting

    # ---- the session log ------------------------------------------------------------------------------

    def _standing(self) -> Standing | None:
        """What a session log may begin with: all slots that render are in step."""
        active = self.board.active
        is_in_step = self.mender.is_redundant or (self.board.is_cold and self.commits.phase == "none")
        return (active.index, active.generation, self.desk.committed) if active is not None and is_in_step else None

    def _log_plan(self, stage: Stage, source: int) -> None:
        self.session.plan(stage.generation, stage.patch, None, stage.fade_frames, source)

    def _log_restart(self, stage: Stage) -> None:
        begun = stage.restart
        assert begun is not None
        image = b"" if begun.source is None else _native.checkpoint_image(self.segment, begun.source)
        self.session.restart(
            stage.generation,
            stage.patch,
            source=stage.generation if begun.source is None else begun.source,
            from_block=begun.source_block,
            block=begun.block,
            base=begun.base,
            image=image or b"",
        )

    # ---- the free-running clock -------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        return self._audio.frames

    def allow(self, n_frames: int | None) -> int:
        """Let the free-running clock put out so many frames more (None: no limit); return where it will stand."""
        clock = self._free_clock()
        if n_frames is not None and self._allowed == _native.NO_LIMIT:  # it runs on all the same
            return self.frames + n_frames
        self._allowed = _native.NO_LIMIT if n_frames is None else max(self._allowed, self.frames) + n_frames
        clock.allow(self._allowed)
        return self._allowed

    def grant(self) -> None:
        """Let a paused free-running clock play one block more: something waits for it. A block that took long is
        followed by a pause: a slot that joins must gain on the clock, and may have no faster processor.
        """
        if self.driver is None or self.driver.kind != "free" or self._allowed == _native.NO_LIMIT:
            return
        now, is_ours = time.monotonic(), self._granted_until == self._allowed  # nobody has advanced it since
        if self.frames < self._allowed:
            self._unplayed_s = now
        elif not is_ours or now - self._unplayed_s >= GRANT_PAUSES * (self._unplayed_s - self._granted_s):
            self._granted_s = self._unplayed_s = now
            self._granted_until = self.allow(self.board.options.block_frames)

    def _free_clock(self) -> _native.Clock:
        if self.driver is None or self.driver.clock is None or self.driver.kind != "free":
            raise CommandError("only the free-running clock can be advanced; run the engine with device 'free'")
        return self.driver.clock


def _limit_realtime() -> bool:
    """Bound the CPU time a real-time thread of this process may take without a wait; False if that fails."""
    try:
        if resource.getrlimit(resource.RLIMIT_RTTIME)[0] != resource.RLIM_INFINITY:
            return True  # somebody set one already
    except (AttributeError, OSError, ValueError):
        return False
    return _native.limit_realtime_cpu(RTTIME_SOFT_US, RTTIME_HARD_US)

"""Starts workers, primes, opens the swap gate, replaces what died.

Everything here runs in one thread, the engine's loop (pyengine/engine.py): no lock is needed, order of arrival
is order of effect, and nothing here is waited for by the audio callback.
"""

from __future__ import annotations

import logging
import resource
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyengine import _native, output
from pyengine.channel import Message
from pyengine.commands import (
    Commit,
    Undo,
)
from pyengine.desk import Desk
from pyengine.errors import CommandError, CommitRefused, PatchError, WorkerError
from pyengine.intake import Intake, TimeBase
from pyengine.loop import Loop, Timer
from pyengine.patch import Patch
from pyengine.recording import Recorder
from pyengine.session import SessionLog, Standing
from pyengine.slots import Happening, Slot, State
from pyengine.worker import RENDER_PRIORITY, WorkerProcess, patch_messages, prime_message, spawn

logger = logging.getLogger(__name__)

WARMUP_BLOCKS = 8
START_TIMEOUT_S = 20.0
SWAP_TIMEOUT_S = 2.0  # from the SWITCH record to the swap: the clock has stopped if it takes longer
JOIN_TIMEOUT_MS = 2000
DRAIN_TIMEOUT_S = 5.0  # a worker that does not answer for so long after a commit was given up is replaced
END_S = 0.5  # from the end of a worker's patch queue to the end of its process
BUDGET_S = 10.0
DEATHS_ALLOWED = 12  # within BUDGET_S, before a successor has to wait PAUSE_S
PAUSE_S = 1.0
RESCUES_ALLOWED = 3  # within BUDGET_S: a patch that kills its renderers more often is poison
CLOCK_PRIORITY = 4
LOOK_S, LOOKS_TO_STALL = 0.1, 10
RTTIME_SOFT_US, RTTIME_HARD_US = 1_000_000, 2_000_000

Reply = Callable[[Any], None]
"""Takes the result of a command, or the EngineError that it was refused with."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine is run. device: 'auto', 'none', 'free', or a device's name; times in ms."""

    device: str = "auto"
    sample_rate_hz: float = 48000.0
    block_frames: int = 64
    lead_blocks: int = 2
    n_channels: int = 2
    osc_host: str = "127.0.0.1"
    osc_port: int | None = 5005
    recordings: Path = Path("recordings")
    session: Path | None = None  # log everything from the first block on
    prime_timeout_ms: float = 500.0
    on_prime_timeout: str = "keep"
    crossfade_ms: float = 5.0
    max_block_share: float = 0.5  # of the block period, for one block of a new patch


@dataclass
class Attempt:
    """A commit on its way: waiting -> priming -> switching."""

    patch: Patch
    command: Commit | Undo
    reply: Reply
    started_s: float
    is_rescue: bool = False  # the committed patch once more, after its renderers died
    phase: str = "waiting"
    generation: int = 0
    slot: int = -1
    held: list[_native.Record] = field(default_factory=list)
    ready_ms: float = 0.0
    received_frame: int = 0
    verdict: Message = field(default_factory=dict)
    is_hurried: bool = False
    timer: Timer | None = None


@dataclass
class Joining:
    """The old slot on its way to be a replica: a checkpoint is asked for, then it loads that."""

    slot: int
    generation: int
    tries: int = 1
    is_sent: bool = False  # the worker has been told: it needs nobody else any more


class Supervisor:
    """The engine without its thread: every method is called by the loop."""

    def __init__(self, options: Options, loop: Loop) -> None:
        self.options = options
        self._loop = loop
        self.started_s = time.monotonic()
        self._generation = 0
        self._attempt: Attempt | None = None
        self._queued: Attempt | None = None
        self._joining: Joining | None = None
        self._needs_rescue = False
        self._deaths: deque[float] = deque()
        self._rescues: deque[float] = deque()
        self._draining: dict[int, float] = {}
        self._seen: list[tuple[int, int]] = [(0, 0), (0, 0)]
        self._unmoved = [0, 0]
        self._whole_from = [0, 0]  # block from which a slot's ring holds nothing from before it joined
        self.workers: list[WorkerProcess | None] = [None, None]
        self.slots = [Slot(0), Slot(1)]
        self.worker_facts: list[Message] = [{}, {}]
        self.is_started = False
        self.refused_commits: dict[str, int] = {}
        self.commits = 0
        self.prime_warnings = 0
        self.worker_deaths = 0
        self.segment = _native.Segment.create(self._config())
        self._audio = _native.Output(self.segment)
        self.desk = Desk(options.sample_rate_hz)
        self.intake = Intake(self.segment)
        self.recorder = Recorder(self.segment, self._audio, options.recordings)
        self.session = SessionLog(
            self.segment, self._audio, options.recordings, look=self._standing, drain=self.on_signal, after=loop.after
        )
        self.intake.on_sent = self.session.records
        self.driver: output.Driver | None = None
        self.time_base: TimeBase | None = None
        self._allowed = 0
        self._may_realtime = False
        self._told_class = False
        self._told_gone = False

    def _config(self) -> _native.Config:
        o = self.options
        return _native.Config(
            sample_rate_hz=o.sample_rate_hz,
            block_frames=o.block_frames,
            n_channels=o.n_channels,
            lead_blocks=o.lead_blocks,
            is_free_running=o.device == "free",
        )

    # ---- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start both workers; the clock follows when both have rendered their lead."""
        if self.options.session is not None:
            self.session.begin(self.options.session)
        self._may_realtime = _limit_realtime()
        if not self.segment.lock():
            logger.warning("memory not locked: refused; allow it with memlock in limits.conf (see docs/realtime.md)")
        for slot in (0, 1):
            self._spawn(slot)
        self._loop.after(LOOK_S, self._look_for_stalls)

    def _look_for_stalls(self) -> None:
        """A render thread that makes no turn while it should is as good as dead (SIGSTOP, a loop in a module).

        It is looked at several times: a machine that stood still as a whole must not cost both workers.
        """
        self._loop.after(LOOK_S, self._look_for_stalls)
        if self.driver is not None and not self.driver.is_alive and not self._told_gone:
            self._told_gone = True
            logger.error("the output has stopped, its device or server is gone: %s", self.driver.description)
        for slot in self.slots:
            worker = self.workers[slot.index]
            if worker is None or not slot.is_alive:
                continue
            seen = (worker.pid, self.segment.heartbeat(slot.index))
            self._unmoved[slot.index] = self._unmoved[slot.index] + 1 if seen == self._seen[slot.index] else 0
            self._seen[slot.index] = seen
            if self._unmoved[slot.index] >= LOOKS_TO_STALL:
                self._unmoved[slot.index] = 0
                node = self.segment.marker(slot.index)
                logger.error("worker stalled slot=%d pid=%d in_node=%d", slot.index, worker.pid, node)
                self._on_gone(worker)

    def _spawn(self, slot: int) -> None:
        self.segment.set_pin(slot, self.segment.newest)  # what comes from now on is kept for it
        self.segment.reset_prime_ready(slot, self._generation)
        worker = spawn(self.segment, slot, RENDER_PRIORITY)
        self.workers[slot] = worker
        self._move(slot, Happening.SPAWNED, 0)
        self._loop.watch_channel(worker.channel, lambda m: self._on_message(worker, m), lambda: self._on_end(worker))
        if worker.sentinel >= 0:
            self._loop.watch(worker.sentinel, lambda: self._on_gone(worker))
        self._loop.after(START_TIMEOUT_S, lambda: self._on_start_timeout(worker))

    def _on_start_timeout(self, worker: WorkerProcess) -> None:
        if self.workers[worker.slot] is worker and self.slots[worker.slot].state is State.STARTING:
            logger.error("worker did not start slot=%d pid=%d seconds=%g", worker.slot, worker.pid, START_TIMEOUT_S)
            self._on_gone(worker)

    def open_clock(self) -> None:
        """Start the device, or the clock without one. Raises DeviceError."""
        o = self.options
        self.driver = output.open_driver(
            o.device,
            self._audio,
            sample_rate_hz=o.sample_rate_hz,
            block_frames=o.block_frames,
            n_channels=o.n_channels,
            priority=CLOCK_PRIORITY if self._may_realtime else 0,
        )
        self.time_base = TimeBase(self._audio, o.sample_rate_hz, self.driver.kind == "free")
        self.is_started = True
        logger.info(
            "engine started output=%r rate=%g block=%d lead=%d realtime_clock=%s",
            self.driver.description,
            o.sample_rate_hz,
            o.block_frames,
            o.lead_blocks,
            self.driver.is_realtime,
        )

    def close(self) -> None:
        """End everything; a second call does no harm."""
        self.recorder.close()
        is_quiet = self.driver.close() if self.driver is not None else True
        self.driver = None
        self.session.close()  # all that was played is in it
        for worker in self.workers:
            if worker is not None:
                self.segment.set_shutdown(worker.slot, True)
                worker.channel.send([{"type": "stop"}])
        deadline = time.monotonic() + 1.0
        for slot, worker in enumerate(self.workers):
            if worker is None:
                continue
            self._unwatch(worker)
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except Exception:  # it did not end by itself
                logger.warning("worker killed at the end slot=%d pid=%d", slot, worker.pid)
            worker.kill()
            worker.close()
            self.workers[slot] = None
        if is_quiet:  # otherwise a device's thread may still call it
            self._audio.close()
        self.segment.close()

    def _unwatch(self, worker: WorkerProcess) -> None:
        self._loop.unwatch(worker.channel)
        if worker.sentinel >= 0:
            self._loop.unwatch(worker.sentinel)

    # ---- slots ------------------------------------------------------------------------------------

    def _move(self, slot: int, happening: Happening, generation: int | None = None) -> None:
        before = self.slots[slot]
        self.slots[slot] = before.after(happening, generation)
        logger.debug("slot %d: %s -> %s (%s)", slot, before.state.value, self.slots[slot].state.value, happening.value)

    @property
    def active(self) -> Slot | None:
        """The slot that is heard, None while none is."""
        return next((s for s in self.slots if s.state is State.ACTIVE), None)

    @property
    def standby(self) -> Slot:
        active = self.active
        return self.slots[1 - active.index if active else 1]

    @property
    def is_redundant(self) -> bool:
        """True when either worker could die without a trace in the sound."""
        standby = self.standby
        is_replica = self.active is not None and standby.state in (State.REPLICA, State.PRIMING)
        return is_replica and not self._is_behind(standby)

    def _is_behind(self, slot: Slot) -> bool:
        """True while blocks are due that the slot rendered before it had joined."""
        return bool(self.segment.play_block < self._whole_from[slot.index])

    # ---- what workers say ---------------------------------------------------------------------------

    def _on_message(self, worker: WorkerProcess, message: Message) -> None:
        if self.workers[worker.slot] is not worker:
            return
        kind = message["type"]
        if kind == "hello":
            self._on_hello(worker, message)
        elif kind == "primed":
            self._on_primed(worker.slot, message)
        elif kind == "joined":
            self._on_joined(worker.slot, message)

    def _on_hello(self, worker: WorkerProcess, message: Message) -> None:
        slot = worker.slot
        self.worker_facts[slot] = {k: v for k, v in message.items() if k != "type"}
        logger.info(
            "worker ready slot=%d pid=%d start_ms=%.0f realtime=%s locked=%s",
            slot,
            worker.pid,
            1e3 * (time.monotonic() - worker.started_s),
            message["is_realtime"],
            message["is_locked"],
        )
        if not message["is_realtime"] and not self._told_class:
            self._told_class = True
            logger.warning("no real-time priority: refused; allow it with rtprio in limits.conf (see docs/realtime.md)")
        self._move(slot, Happening.SAID_HELLO, 0)
        self.segment.set_alive(slot, True)
        self.segment.set_pin(slot, _native.NO_PIN)
        active = self.active
        if active is None:
            self.segment.set_playable(slot, True)  # silence, but time goes on
            if slot == self.segment.active_slot:
                self._take_over(slot)  # otherwise the callback finds it, and says so (_on_fallback)
        elif self._is_rescuing:
            pass  # the committed patch is committed anew on this slot
        elif active.generation == 0:
            self.segment.set_playable(slot, True)
            self._move(slot, Happening.IN_STEP)
        else:
            self._begin_join(slot)
        self._advance()

    def _take_over(self, slot: int) -> None:
        """A fresh slot is heard, with nothing in it: what was committed is committed anew on the other one."""
        self._move(slot, Happening.TOOK_OVER)
        self._needs_rescue = bool(self.desk.committed.nodes)
        other = self.slots[1 - slot]
        if other.state is State.JOINING and not self._needs_rescue:
            self._move(other.index, Happening.IN_STEP)

    def _on_end(self, worker: WorkerProcess) -> None:
        """Its patch queue has ended. Where the process tells its own end, wait for that: the reason comes with it."""
        self._loop.unwatch(worker.channel)
        self._loop.after(END_S if worker.sentinel >= 0 else 0.0, lambda: self._on_gone(worker))

    def _on_gone(self, worker: WorkerProcess) -> None:
        """A worker's process has ended, or must: take it out of the sound, replace it."""
        slot = worker.slot
        if self.workers[slot] is not worker:
            return
        self.workers[slot] = None
        self.on_signal()  # what it did before it died
        was = self.slots[slot]
        self.segment.set_alive(slot, False)
        self._unwatch(worker)
        worker.kill()  # fencing: nothing of the slot is used again before it is gone
        code = worker.process.returncode
        worker.close()
        self._draining.pop(slot, None)
        self.worker_deaths += 1
        logger.warning("worker died slot=%d pid=%d code=%s state=%s", slot, worker.pid, code, was.state.value)
        if not self.is_started and was.state is State.STARTING:
            text = f"the worker of slot {slot} ended with code {code} before it was ready; see what it printed above"
            self._loop.fail(WorkerError(text))
            return
        self._move(slot, Happening.DIED)
        self._after_death(was)
        self._respawn(slot)
        self._advance()

    def _after_death(self, was: Slot) -> None:
        survivor = self.slots[was.other]
        attempt = self._attempt
        joining = self._joining
        hopes = joining is not None and joining.slot == survivor.index and joining.is_sent
        if not hopes:
            self._joining = None
        if was.state is State.ACTIVE and survivor.is_alive:
            if survivor.state is State.READY and attempt and attempt.phase == "switching":
                self._move(survivor.index, Happening.TOOK_OVER)
                return  # it turns at the SWITCH record, and that is the swap
            is_behind = survivor.state in (State.JOINING, State.PROBATION)
            self._needs_rescue = is_behind and not hopes and bool(self.desk.committed.nodes)
            self._move(survivor.index, Happening.TOOK_OVER)
        if attempt is not None and attempt.phase != "waiting":
            if survivor.index == attempt.slot and survivor.is_alive:
                self._give_up(attempt.slot)
            self._refuse("worker died", f"the worker of slot {was.index} died while the patch was {attempt.phase}")

    def _respawn(self, slot: int) -> None:
        """Start a successor, after a pause if workers die one after another (whatever kills them)."""
        n = _count_within(self._deaths, BUDGET_S)
        self.segment.set_playable(slot, False)
        if n <= DEATHS_ALLOWED:
            self._spawn(slot)
            return
        logger.error("workers die too often deaths=%d seconds=%g; the next starts in %g s", n, BUDGET_S, PAUSE_S)
        self._loop.after(PAUSE_S, lambda: self._spawn(slot) if self.workers[slot] is None else None)

    # ---- commit, prime, swap --------------------------------------------------------------------------

    def commit(self, command: Commit | Undo, reply: Reply, received_s: float) -> None:
        """Begin a commit; the reply comes when it is heard or refused."""
        if self._attempt is not None and not self._may_queue(command):
            generation = self._attempt.generation or self._generation + 1
            text = f"a commit is on its way already (generation {generation}, {self._attempt.phase})"
            self._count_refusal("busy")
            raise CommitRefused("busy", f"{text}; wait for its answer and commit again; your edits are kept")
        patch = self._take_patch(command)
        attempt = Attempt(patch, command, reply, received_s, received_frame=self.frames)
        if self._attempt is not None:
            self._queued = attempt
            return
        self._begin(attempt)

    def _may_queue(self, command: Commit | Undo) -> bool:
        """The commit on its way is ready and about to be heard: one more may wait for that."""
        attempt = self._attempt
        is_nearly_heard = attempt is not None and attempt.phase == "switching" and not attempt.is_rescue
        return is_nearly_heard and self._queued is None and isinstance(command, Commit)

    def _take_patch(self, command: Commit | Undo) -> Patch:
        """Return what is to be committed. Raises CommitRefused."""
        try:
            if isinstance(command, Undo):
                patch = self.desk.begin_undo()
            else:
                patch = self.desk.queue() if self._attempt is not None else self.desk.begin()
        except PatchError as error:
            self._count_refusal("invalid")
            raise CommitRefused("invalid", str(error)) from error
        if not patch.nodes and not command.allow_silence:
            self.desk.unqueue() if self._attempt is not None else self.desk.refuse()
            self._count_refusal("invalid")
            text = "the pending patch is empty; create a module first, or commit with allow_silence 1 for silence"
            raise CommitRefused("invalid", text)
        return patch

    def _begin(self, attempt: Attempt) -> None:
        self._attempt = attempt
        attempt.timer = self._loop.after(self._timeout_ms(attempt.command) / 1e3, self._on_no_standby)
        self._advance()

    @property
    def phase(self) -> str:
        """How far the commit on its way is: 'none', 'waiting', 'priming' or 'switching'."""
        return self._attempt.phase if self._attempt else "none"

    def hold(self, records: list[_native.Record]) -> None:
        """Keep values for modules that exist only in the commit on its way; they follow its SWITCH record."""
        if records and self._attempt is not None:
            self._attempt.held += records

    def _timeout_ms(self, command: Commit | Undo) -> float:
        return self.options.prime_timeout_ms if command.timeout_ms is None else command.timeout_ms

    @property
    def _is_rescuing(self) -> bool:
        """True from the loss of what renders the committed patch until that has been committed anew."""
        return self._needs_rescue or self._is_hoping or (self._attempt is not None and self._attempt.is_rescue)

    @property
    def _is_hoping(self) -> bool:
        """True while the slot that took over still joins, from the dead one's checkpoint: that saves the states."""
        active = self.active
        return self._joining is not None and active is not None and self._joining.slot == active.index

    def _rescue(self) -> None:
        """Commit the committed patch once more: what renders it has died, states and all."""
        self._needs_rescue = False
        if _count_within(self._rescues, BUDGET_S) > RESCUES_ALLOWED and self.desk.committed.nodes:
            self._lose_patch(-1)
            if not self._needs_rescue:
                return
            self._needs_rescue = False
        patch = self.desk.begin_again()
        logger.warning("patch committed anew nodes=%d", len(patch.nodes))
        command = Commit(allow_silence=True)
        self._attempt = Attempt(patch, command, lambda result: None, time.monotonic(), is_rescue=True)
        self._attempt.timer = self._loop.after(DRAIN_TIMEOUT_S, self._on_no_standby)

    def _advance(self) -> None:
        """Do what can be done now: called after everything that happened."""
        if self._attempt is None and self._needs_rescue and self.active is not None:
            self._rescue()
        if self._attempt is None and self._queued is not None:
            queued, self._queued = self._queued, None
            self.desk.begin_queued()
            self._begin(queued)
            return
        attempt = self._attempt
        if attempt is None or attempt.phase != "waiting" or self.active is None:
            return
        if self._needs_rescue and not attempt.is_rescue:  # it would wait for a replica that the rescue must make
            self._refuse("worker died", "what plays is being committed anew; commit again")
            return
        standby = self.standby
        allowed = (State.REPLICA, State.JOINING) if attempt.is_rescue else (State.REPLICA,)
        if standby.state in allowed and standby.index not in self._draining:
            self._prime(attempt, standby)

    def _prime(self, attempt: Attempt, standby: Slot) -> None:
        self._generation += 1
        attempt.generation, attempt.slot, attempt.phase = self._generation, standby.index, "priming"
        self.segment.reset_prime_ready(standby.index, attempt.generation)
        self._move(standby.index, Happening.COMMIT)
        same = attempt.patch.structure() == self.desk.committed.structure() and not attempt.is_rescue
        crossfade_ms = attempt.command.crossfade_ms
        fade_ms = self.options.crossfade_ms if crossfade_ms is None else crossfade_ms
        fade_frames = 0 if same else round(fade_ms * self.options.sample_rate_hz / 1e3)
        ops, source = attempt.patch.ops(), self.segment.slot_generation(standby.index)
        self.session.plan(attempt.generation, attempt.patch, ops, fade_frames, source)
        messages = patch_messages(attempt.patch, attempt.generation)
        messages.append(
            prime_message(
                ops,
                WARMUP_BLOCKS,
                fade_frames=fade_frames,
                allow_silence=attempt.command.allow_silence,
                max_share=self.options.max_block_share,
            )
        )
        self._send(standby.index, messages)
        self._set_timer(attempt, self._timeout_ms(attempt.command) / 1e3, self._on_prime_timeout)

    def _send(self, slot: int, messages: list[Message]) -> None:
        worker = self.workers[slot]
        if worker is not None:
            worker.channel.send(messages)
            self._loop.update(worker.channel)

    def _set_timer(self, attempt: Attempt, seconds: float, action: Callable[[], None]) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.timer = self._loop.after(seconds, action)

    def _on_no_standby(self) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.phase == "waiting":
            standby = self.standby
            text = f"slot {standby.index} is {standby.state.value} and was no replica in time; try again"
            self._refuse("no standby", text)

    def _on_prime_timeout(self) -> None:
        attempt = self._attempt
        if attempt is None or attempt.phase != "priming":
            return
        timeout_ms = self._timeout_ms(attempt.command)
        if self.options.on_prime_timeout == "swap" and not attempt.is_hurried:
            logger.warning("prime time-out, warm-up cut short generation=%d ms=%g", attempt.generation, timeout_ms)
            attempt.is_hurried = True
            self._send(attempt.slot, [{"type": "hurry", "generation": attempt.generation}])
            self._set_timer(attempt, DRAIN_TIMEOUT_S, self._on_prime_timeout)
            return
        slot = attempt.slot
        self._give_up(slot)
        self._refuse("late", f"it was not primed within {timeout_ms:g} ms; make it smaller or allow a longer time-out")

    def _give_up(self, slot: int) -> None:
        """Tell a worker to forget what it builds; it may be in the midst of it and answers later."""
        self.segment.reset_prime_ready(slot, self._generation + 1)
        self._generation += 1
        if self.slots[slot].state is State.PRIMING:
            self._draining[slot] = time.monotonic()
            self._loop.after(DRAIN_TIMEOUT_S, lambda: self._on_drain_timeout(slot))
            self._move(slot, Happening.REFUSED)
        self._send(slot, [{"type": "abort"}])

    def _on_drain_timeout(self, slot: int) -> None:
        worker = self.workers[slot]
        since = self._draining.get(slot)
        if worker is not None and since is not None and time.monotonic() - since >= DRAIN_TIMEOUT_S:
            logger.error("worker does not answer, replaced slot=%d pid=%d", slot, worker.pid)
            self._on_gone(worker)

    def _on_primed(self, slot: int, message: Message) -> None:
        attempt = self._attempt
        if self._draining.pop(slot, None) is not None or attempt is None or attempt.generation != message["generation"]:
            self._advance()
            return
        self.prime_warnings += len(message.get("warnings", ()))
        for warning in message.get("warnings", ()):
            logger.warning("prime op skipped generation=%d: %s", attempt.generation, warning)
        if not message["is_ready"]:
            self._move(slot, Happening.REFUSED)
            self._refuse(message["reason"], message["detail"])
            return
        attempt.verdict = message
        attempt.phase = "switching"
        attempt.ready_ms = 1e3 * (time.monotonic() - attempt.started_s)
        self._move(slot, Happening.PRIMED)
        self.desk.switching()
        self.segment.set_playable(slot, True)  # a successor's, when what it replaces is committed anew on it
        self.segment.open_gate(attempt.generation)
        switch = _native.Record(0, 0, 0.0, switch_to=attempt.generation)
        self.intake.send([switch, *attempt.held])
        self._set_timer(attempt, SWAP_TIMEOUT_S, self._on_swap_timeout)

    def _on_swap_timeout(self) -> None:
        """Blocks are not played any more (a device that stopped), or the standby is far behind."""
        attempt = self._attempt
        if attempt is None or attempt.phase != "switching":
            return
        self.segment.close_gate()
        if self.slots[attempt.slot].state is State.READY:
            self._move(attempt.slot, Happening.MISSED)
            self._send(attempt.slot, [{"type": "abort"}])
        self._refuse("late", f"its first block was not played within {SWAP_TIMEOUT_S:g} s; is the output running?")
        self._begin_join(attempt.slot)

    def _count_refusal(self, reason: str) -> None:
        self.refused_commits[reason] = self.refused_commits.get(reason, 0) + 1

    def _refuse(self, reason: str, detail: str) -> None:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        if attempt.timer is not None:
            attempt.timer.cancel()
        self.segment.close_gate()
        self.desk.refuse()
        self._count_refusal(reason)
        logger.warning("commit refused generation=%d reason=%r: %s", attempt.generation, reason, detail)
        if attempt.is_rescue:
            self._lose_patch(attempt.slot)
        attempt.reply(CommitRefused(reason, f"{detail}; the patch before plays on, your edits are kept"))
        self._advance()

    def _lose_patch(self, slot: int) -> None:
        """The committed patch cannot be rendered any more: what is heard is silence, the edits stay."""
        logger.error("the patch could not be committed anew; it is pending, mend it and commit")
        self.desk.lose()
        self._needs_rescue = self.active is not None and self.active.generation != 0  # an older patch still plays
        if slot >= 0 and self.slots[slot].state is State.REPLICA:
            self._begin_join(slot)

    def _on_swap(self, event: _native.Event) -> None:
        attempt = self._attempt
        if attempt is None or attempt.generation != event.generation:
            return
        self._attempt = None
        if attempt.timer is not None:
            attempt.timer.cancel()
        self.segment.close_gate()
        new, old = attempt.slot, 1 - attempt.slot
        if self.slots[new].state is State.READY:
            if self.slots[old].state is State.ACTIVE:
                self._move(old, Happening.SWAPPED_OUT)
            self._move(new, Happening.SWAPPED_IN, event.generation)
        else:  # it had taken over from a dead one and turned in place
            self.slots[new] = Slot(new, State.ACTIVE, event.generation)
        report = self._report(attempt, event)
        self.commits += 1
        logger.info(
            "swap committed generation=%d slot=%d block=%d late_blocks=%d nodes=%d ready_ms=%.2f",
            event.generation,
            new,
            event.block,
            event.value,
            len(self.desk.committed.nodes),
            attempt.ready_ms,
        )
        attempt.reply(report)
        self.segment.set_playable(new, True)
        if self.slots[old].state in (State.PROBATION, State.JOINING):
            self._begin_join(old)
        self._advance()

    def _report(self, attempt: Attempt, event: _native.Event) -> dict[str, Any]:
        kept = self.desk.accept()
        verdict = attempt.verdict
        return {
            "generation": event.generation,
            "slot": attempt.slot,
            "block": event.block,
            "frame": event.frame,
            "received_frame": attempt.received_frame,
            "late_blocks": event.value,
            "ready_ms": round(attempt.ready_ms, 3),
            "total_ms": round(1e3 * (time.monotonic() - attempt.started_s), 3),
            "build_ms": verdict["build_ms"],
            "prime_ms": verdict["prime_ms"],
            "warmup": verdict["warmup"],
            "warmup_cut_short": verdict["is_hurried"],
            "warnings": verdict["warnings"],
        } | kept

    def abort(self) -> None:
        """Throw the pending edits away; a commit that is priming comes to nothing."""
        queued, self._queued = self._queued, None
        if queued is not None:
            self.desk.unqueue()
            self._count_refusal("aborted")
            queued.reply(CommitRefused("aborted", "/patch/abort came before its turn"))
        attempt = self._attempt
        if attempt is not None and not attempt.is_rescue and attempt.phase != "switching":
            if attempt.phase == "priming":
                self._give_up(attempt.slot)
            self._refuse("aborted", "/patch/abort came before it was ready")

    # ---- back to two replicas -----------------------------------------------------------------------

    def _begin_join(self, slot: int) -> None:
        """Ask the active slot for a checkpoint that this slot is to load."""
        active = self.active
        if active is None or active.index == slot or self.workers[slot] is None:
            return
        if self._is_hoping:
            return
        if self._is_rescuing:  # what the active slot renders is not what is committed
            self._joining = None
            return
        if self.slots[slot].state is not State.JOINING:
            self._move(slot, Happening.JOIN)
        tries = self._joining.tries if self._joining and self._joining.slot == slot else 0
        self._joining = Joining(slot, active.generation, tries + 1)
        joining = self._joining
        self._loop.after(2 * JOIN_TIMEOUT_MS / 1e3, lambda: self._on_join_timeout(joining))
        if active.generation == 0:
            self._on_joined(slot, {"generation": 0, "is_in_step": True, "join_ms": 0.0})
            return
        self.segment.set_pin(slot, self.segment.applied(active.index))  # the checkpoint's number is not below it
        self.segment.request_checkpoint(active.index, active.generation)

    def _on_join_timeout(self, joining: Joining) -> None:
        worker = self.workers[joining.slot]
        if self._joining is joining and worker is not None:
            logger.error("worker did not join, replaced slot=%d pid=%d", joining.slot, worker.pid)
            self._on_gone(worker)

    def _on_checkpoint(self, event: _native.Event) -> None:
        joining = self._joining
        if joining is None or event.generation != joining.generation or event.source == joining.slot:
            return
        joining.is_sent = True
        messages = patch_messages(self.desk.committed, joining.generation)
        messages.append({"type": "join", "generation": joining.generation, "timeout_ms": JOIN_TIMEOUT_MS})
        self._send(joining.slot, messages)

    def _on_joined(self, slot: int, message: Message) -> None:
        joining = self._joining
        if joining is None or joining.slot != slot or joining.generation != message["generation"]:
            return
        if self._is_hoping:
            self._end_of_hope(slot, joining, message)
            return
        if not message["is_in_step"]:
            logger.warning("join failed slot=%d try=%d: %s", slot, joining.tries, message["detail"])
            worker = self.workers[slot]
            if worker is None or (joining.tries < 3 and not message["is_stuck"]):
                self._begin_join(slot)
            else:
                self._on_gone(worker)
            return
        self._joining = None
        self._whole_from[slot] = self.segment.render_head(slot)
        self.segment.set_pin(slot, _native.NO_PIN)
        self.segment.set_playable(slot, True)
        self._move(slot, Happening.IN_STEP, joining.generation)
        logger.info("replica in step slot=%d generation=%d join_ms=%.2f", slot, joining.generation, message["join_ms"])
        self._advance()

    def _end_of_hope(self, slot: int, joining: Joining, message: Message) -> None:
        """The slot that took over has the dead one's state now, or has not."""
        self._joining = None
        self.segment.set_pin(slot, _native.NO_PIN)
        if message["is_in_step"]:
            self.slots[slot] = Slot(slot, State.ACTIVE, joining.generation)
            logger.info("patch saved slot=%d generation=%d join_ms=%.2f", slot, joining.generation, message["join_ms"])
            if self.slots[1 - slot].state is State.JOINING:
                self._begin_join(1 - slot)
        else:
            logger.warning("join failed slot=%d: %s", slot, message["detail"])
            self._needs_rescue = bool(self.desk.committed.nodes)
        self._advance()

    # ---- what the callback and the render threads did -------------------------------------------------

    def on_signal(self) -> None:
        """Something was queued, or a number was reached."""
        for event in self.session.noting(self.segment.events()):
            if event.kind == "swap":
                self._on_swap(event)
            elif event.kind == "checkpoint":
                self._on_checkpoint(event)
            elif event.kind == "fallback":
                self._on_fallback(event)
            elif event.kind == "underrun":
                logger.warning("underrun block=%d frame=%d", event.block, event.frame)
            elif event.kind == "resumed":
                logger.warning("sound is back block=%d silent_frames=%d", event.block, event.value)
            elif event.kind == "stale":
                worker = self.workers[event.source]
                if worker is not None:
                    self._on_gone(worker)
        self.intake.pump()

    def _on_fallback(self, event: _native.Event) -> None:
        heard = self.segment.active_slot
        logger.warning("fall-over block=%d to_slot=%d generation=%d", event.block, heard, event.generation)
        left = self.slots[1 - heard]
        if self.active is None and self.slots[heard].state is State.JOINING:
            self._take_over(heard)
            self._advance()
        if left.state is State.ACTIVE and self.slots[heard].is_alive:
            self._leave(left)

    def _leave(self, left: Slot) -> None:
        """The active worker is alive, or not yet known to be dead, but it stayed behind; the other one is heard."""
        survivor, worker = self.slots[left.other], self.workers[left.index]
        if survivor.state in (State.JOINING, State.PROBATION) and self.desk.committed.nodes and worker is not None:
            self._on_gone(worker)  # it alone has what is committed: as if it had died
            return
        self._move(left.index, Happening.LEFT)
        self._move(survivor.index, Happening.TOOK_OVER)
        attempt = self._attempt
        if attempt is not None and attempt.phase == "priming":
            self._give_up(attempt.slot)
            self._refuse("late", f"slot {left.index} stayed behind and slot {survivor.index}, which primed, is heard")
        self._begin_join(left.index)

    def _standing(self) -> Standing | None:
        """What a session log may begin with: both slots are in step."""
        active = self.active if self.is_redundant else None
        return None if active is None else (active.index, active.generation, self.desk.committed)

    @property
    def needs_blocks(self) -> bool:
        """True while something waits for blocks to be played (a paused free-running clock must play them)."""
        attempt = self._attempt
        if self.active is None:
            return True
        is_switching = attempt is not None and attempt.phase == "switching"
        if self.session.is_starting:
            return True
        return bool(self._joining or is_switching or not self.intake.is_clear or self._is_behind(self.standby))

    # ---- the free-running clock -------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        return self._audio.frames

    def allow(self, n_frames: int | None) -> int:
        """Let the free-running clock put out so many frames more (None: no limit); return where it will stand."""
        clock = self._free_clock()
        if n_frames is None:
            self._allowed = _native.NO_LIMIT
        elif self._allowed != _native.NO_LIMIT:
            self._allowed = max(self._allowed, self.frames) + n_frames
        clock.allow(self._allowed)
        return self._allowed

    def grant(self) -> None:
        """Let a paused free-running clock play one block more: something waits for it."""
        if self.driver is None or self.driver.kind != "free" or self._allowed == _native.NO_LIMIT:
            return
        if self.frames >= self._allowed:
            self.allow(self.options.block_frames)

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


def _count_within(times: deque[float], seconds: float) -> int:
    """Note that it happened now; return how often it did within the last seconds."""
    now = time.monotonic()
    times.append(now)
    while now - times[0] > seconds:
        times.popleft()
    return len(times)

"""Commits: validate, prime in the standby, open the gate, report. A commit either happens or changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pyengine import _native
from pyengine.board import Board, Reply
from pyengine.channel import Message
from pyengine.commands import Commit, Undo
from pyengine.crew import Crew
from pyengine.errors import CommitRefused, EngineError, PatchError
from pyengine.hints import hints
from pyengine.lineage import Stage
from pyengine.loop import Timer
from pyengine.mending import Mender
from pyengine.patch import Patch
from pyengine.plan import Blueprint
from pyengine.slots import Happening, Slot, State
from pyengine.worker import prime_message

logger = logging.getLogger(__name__)

WARMUP_BLOCKS = 8
FORESEEN_S = 0.004  # from an edit or a swap to what is built ahead for the commit or the join that will follow
FORESEEN_NODES = 256  # more is not built ahead: the loop has other things to do
PRIME_S = 0.0015  # to join, build and prime a small patch: watched without sleep
SWAP_TIMEOUT_S = 2.0  # from the SWITCH record to the swap: the clock has stopped if it takes longer
DRAIN_TIMEOUT_S = 5.0  # a worker that does not answer for so long after a commit was given up is replaced


@dataclass
class Attempt:
    """A commit on its way: waiting -> priming -> switching."""

    patch: Patch
    command: Commit | Undo
    reply: Reply
    started_s: float
    phase: str = "waiting"
    generation: int = 0
    slot: int = -1
    onto: int | None = None  # sent ahead, to a slot on its way to this generation
    stage: Stage | None = None  # from priming on
    held: list[_native.Record] = field(default_factory=list)
    ready_ms: float = 0.0
    received_frame: int = 0
    verdict: Message = field(default_factory=dict)
    is_hurried: bool = False
    timer: Timer | None = None


class Commits:
    """Every method is called by the loop. One commit is on its way at a time, and one may wait behind it."""

    def __init__(self, board: Board, crew: Crew, mender: Mender) -> None:
        self._board = board
        self._crew = crew
        self._mender = mender
        self._attempt: Attempt | None = None
        self._queued: Attempt | None = None
        self._draining: dict[int, float] = {}
        self._foresight: Timer | None = None
        self.refused: dict[str, int] = {}
        self.done = 0
        self.prime_warnings = 0
        self._told: list[str] = []
        self.frames: Callable[[], int] = lambda: 0
        self.on_commit: Callable[[dict[str, Any]], None] = lambda report: None
        self.on_taken_back: Callable[[int, str], None] = lambda generation, why: None
        self.on_plan: Callable[[Stage, int], None] = lambda stage, source: None

    # ---- how far ------------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """How far the commit on its way is: 'none', 'waiting', 'priming' or 'switching'."""
        return self._attempt.phase if self._attempt else "none"

    @property
    def is_switching(self) -> bool:
        return self.phase == "switching"

    @property
    def needs_standby(self) -> bool:
        return self._attempt is not None or self._queued is not None

    # ---- begin --------------------------------------------------------------------------------------------

    def commit(self, command: Commit | Undo, reply: Reply, received_s: float) -> None:
        """Begin a commit; the reply comes when it is heard or refused."""
        if self._attempt is not None and not self._may_queue(command):
            generation = self._attempt.generation or self._board.generation + 1
            text = f"a commit is on its way already (generation {generation}, {self._attempt.phase})"
            self._count_refusal("busy")
            raise CommitRefused("busy", f"{text}; wait for its answer and commit again; your edits are kept")
        patch = self._take_patch(command)
        attempt = Attempt(patch, command, reply, received_s, received_frame=self.frames())
        if self._attempt is not None:
            self._queued = attempt
            return
        self._begin(attempt)

    def _may_queue(self, command: Commit | Undo) -> bool:
        """The commit on its way is ready and about to be heard: one more may wait for that."""
        return self.is_switching and self._queued is None and isinstance(command, Commit)

    def _take_patch(self, command: Commit | Undo) -> Patch:
        """Return what is to be committed. Raises CommitRefused."""
        desk = self._board.desk
        try:
            if isinstance(command, Undo):
                self._check_nothing_is_lost(command)
                patch = desk.begin_undo()
            else:
                self._board.samples.resolve(desk.pending)
                patch = desk.queue() if self._attempt is not None else desk.begin()
        except PatchError as error:
            self._count_refusal("invalid")
            raise CommitRefused("invalid", str(error)) from error
        if not patch.nodes and not command.allow_silence:
            desk.unqueue() if self._attempt is not None else desk.refuse()
            self._count_refusal("invalid")
            text = "the pending patch is empty; create a module first, or commit with allow_silence 1 for silence"
            if isinstance(command, Undo):
                text = "before this patch there is only the empty one; undo with allow_silence 1 to go back to silence"
            raise CommitRefused("invalid", text)
        return patch

    def _check_nothing_is_lost(self, command: Undo) -> None:
        desk = self._board.desk
        if not desk.undo_depth or command.discard or not desk.has_edits:
            return
        self._count_refusal("edits pending")
        text = f"it would throw away what is pending ({desk.edits_text()})"
        how = "commit that, or throw it away with /patch/abort, or undo with discard 1, which does both"
        raise CommitRefused("edits pending", f"{text}; {how}")

    def _begin(self, attempt: Attempt) -> None:
        self._attempt = attempt
        attempt.timer = self._board.loop.after(self._timeout_ms(attempt.command) / 1e3, self._on_no_standby)
        self._mender.settle()  # a cold standby wakes
        self.advance()

    def hold(self, records: list[_native.Record]) -> None:
        """Keep values for modules that exist only in the commit on its way; they follow its SWITCH record."""
        if records and self._attempt is not None:
            self._attempt.held += records

    def _timeout_ms(self, command: Commit | Undo) -> float:
        return self._board.options.prime_timeout_ms if command.timeout_ms is None else command.timeout_ms

    def advance(self) -> None:
        """Do what can be done now: called after everything that happened."""
        if self._attempt is None and self._queued is not None:
            queued, self._queued = self._queued, None
            self._board.desk.begin_queued()
            self._begin(queued)
            return
        attempt = self._attempt
        if attempt is None or attempt.phase != "waiting":
            return
        if attempt.onto is not None and not self._may_go_on(attempt):
            self._take_back(attempt)
        if self._mender.is_mending:
            return
        if self._board.desk.is_undone_already:
            self._refuse("rolled back", "what it was to undo was taken back already")
            return
        if self._mender.is_on_probation:
            self._mender.end_probation()  # comes back here when the old slot has joined
        standby = self._board.standby
        if standby.index in self._draining:
            return
        if standby.state is State.REPLICA:
            self._prime(attempt, standby)
        elif attempt.onto is None and self._mender.is_joining(standby.index):
            self._send(attempt, standby, self._board.lineage.last.generation)

    def _may_go_on(self, attempt: Attempt) -> bool:
        """What was sent ahead is still for the standby, which joins or has joined what it is to follow."""
        board = self._board
        standby = board.standby
        is_there = standby.index == attempt.slot and board.lineage.last.generation == attempt.onto
        return is_there and (standby.state is State.REPLICA or self._mender.is_joining(standby.index))

    def _take_back(self, attempt: Attempt) -> None:
        """What was sent ahead comes to nothing; it may be sent again."""
        attempt.onto = None
        self._abandon(attempt.slot)

    def _on_no_standby(self) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.phase == "waiting":
            standby = self._board.standby
            text = f"slot {standby.index} is {standby.state.value} and was no replica in time; try again"
            self._refuse("no standby", text)

    # ---- what will be asked for -----------------------------------------------------------------------------

    def edited(self) -> None:
        """The pending patch was changed: what it is a moment later is built ahead."""
        if self._foresight is None:
            self._foresight = self._board.loop.after(FORESEEN_S, self._foresee)

    def _foresee(self) -> None:
        """Let the standby build what it will be asked to join and to prime, and forget it if that is not what comes. It
        is only built: nothing of a patch that nobody has committed is run.
        """
        self._foresight = None
        board, pending = self._board, self._board.desk.pending
        standby = board.standby
        if self._attempt is not None or standby.state not in (State.REPLICA, State.PROBATION):
            return
        if standby.state is State.PROBATION:
            self._mender.foresee_join(standby.index)
        if not pending.nodes or len(pending.nodes) > FORESEEN_NODES or pending.is_built_like(board.desk.committed):
            return
        if any(pending.spec(id).data == "sample" for id in pending.nodes):  # their files may not have been read
            return
        try:
            pending.validate(board.options.sample_rate_hz)
            blueprint = Blueprint.of(pending)
        except EngineError:  # told when it is committed
            return
        self._crew.send(standby.index, [{"type": "prepare", "blueprint": blueprint}])

    # ---- prime --------------------------------------------------------------------------------------------

    def _prime(self, attempt: Attempt, standby: Slot) -> None:
        if attempt.onto is None:
            self._send(attempt, standby, None)
        attempt.phase = "priming"
        self._board.move(standby.index, Happening.COMMIT)
        self._set_timer(attempt, self._timeout_ms(attempt.command) / 1e3, self._on_prime_timeout)

    def _send(self, attempt: Attempt, standby: Slot, onto: int | None) -> None:
        """Let a worker build and prime. onto: it is still on its way to that generation, and does this right after: the
        answers come in this order too.
        """
        board, options = self._board, self._board.options
        attempt.generation, attempt.slot, attempt.onto = board.next_generation(), standby.index, onto
        board.segment.reset_prime_ready(standby.index, attempt.generation)
        same = attempt.patch.is_built_like(board.desk.committed)
        crossfade_ms = attempt.command.crossfade_ms
        fade_ms = options.crossfade_ms if crossfade_ms is None else crossfade_ms
        fade_frames = 0 if same else round(fade_ms * options.sample_rate_hz / 1e3)
        attempt.stage = Stage.of(attempt.generation, attempt.patch, fade_frames)
        prime = prime_message(
            WARMUP_BLOCKS,
            fade_frames=fade_frames,
            allow_silence=attempt.command.allow_silence,
            max_share=options.max_block_share,
            onto=onto,
            may_hurry=options.on_prime_timeout == "swap",
        )
        self._crew.send(standby.index, [*attempt.stage.build_messages(), prime])
        board.loop.hurry(PRIME_S)

    def _set_timer(self, attempt: Attempt, seconds: float, action: Callable[[], None]) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.timer = self._board.loop.after(seconds, action)

    def _on_prime_timeout(self) -> None:
        attempt = self._attempt
        if attempt is None or attempt.phase != "priming":
            return
        timeout_ms = self._timeout_ms(attempt.command)
        if self._board.options.on_prime_timeout == "swap" and not attempt.is_hurried:
            logger.warning("prime time-out, warm-up cut short generation=%d ms=%g", attempt.generation, timeout_ms)
            attempt.is_hurried = True
            self._crew.send(attempt.slot, [{"type": "hurry", "generation": attempt.generation}])
            self._set_timer(attempt, DRAIN_TIMEOUT_S, self._on_prime_timeout)
            return
        self._abandon(attempt.slot)
        self._refuse("late", f"it was not primed within {timeout_ms:g} ms; make it smaller or allow a longer time-out")

    def _abandon(self, slot: int) -> None:
        """Tell a worker to forget what it builds; it may be in the midst of it and answers later."""
        board = self._board
        board.segment.reset_prime_ready(slot, board.next_generation())
        self._draining[slot] = time.monotonic()
        board.loop.after(DRAIN_TIMEOUT_S, lambda: self._on_drain_timeout(slot))
        if board.slots[slot].state is State.PRIMING:
            board.move(slot, Happening.REFUSED)
        self._crew.send(slot, [{"type": "abort"}])

    def _on_drain_timeout(self, slot: int) -> None:
        worker, since = self._crew.workers[slot], self._draining.get(slot)
        if worker is not None and since is not None and time.monotonic() - since >= DRAIN_TIMEOUT_S:
            self._crew.dismiss(worker, "does not answer")

    def on_primed(self, slot: int, message: Message) -> None:
        """A worker tells its verdict."""
        attempt, board = self._attempt, self._board
        if self._draining.pop(slot, None) is not None or attempt is None or attempt.generation != message["generation"]:
            self.advance()
            return
        if attempt.phase == "waiting":  # it was sent ahead, and what it was to follow is not there
            attempt.onto = None
            if message["is_ready"]:
                board.segment.reset_prime_ready(slot, board.next_generation())
                self._crew.send(slot, [{"type": "abort"}])
            self.advance()
            return
        board.loop.hurry(0)
        self.prime_warnings += len(message.get("warnings", ()))
        for warning in message.get("warnings", ()):
            logger.warning("prime op skipped generation=%d: %s", attempt.generation, warning)
        if not message["is_ready"]:
            board.move(slot, Happening.REFUSED)
            self._refuse(message["reason"], message["detail"])
            return
        attempt.verdict = message
        attempt.phase = "switching"
        attempt.ready_ms = 1e3 * (time.monotonic() - attempt.started_s)
        board.move(slot, Happening.PRIMED)
        board.desk.switching()
        assert attempt.stage is not None
        self.on_plan(attempt.stage, board.segment.slot_generation(slot))
        board.segment.open_gate(attempt.generation)
        switch = _native.Record(0, 0, 0.0, switch_to=attempt.generation)

        def numbered(first: int, newest: int, is_all: bool) -> None:
            assert attempt.stage is not None
            attempt.stage = replace(attempt.stage, switch_seq=first)

        board.intake.send([switch, *attempt.held], numbered=numbered)
        self._set_timer(attempt, SWAP_TIMEOUT_S, self._on_swap_timeout)

    # ---- swap ---------------------------------------------------------------------------------------------

    def _on_swap_timeout(self) -> None:
        """Blocks are not played any more (a device that stopped), or the standby is far behind."""
        attempt, board = self._attempt, self._board
        if attempt is None or not self.is_switching:
            return
        board.segment.close_gate()
        if board.slots[attempt.slot].state is State.READY:
            # Not one more block of it: a callback that has looked at the gate already may still swap to it.
            board.segment.set_playable(attempt.slot, False)
            board.move(attempt.slot, Happening.MISSED)
            self._crew.send(attempt.slot, [{"type": "abort"}])
            worker = None
        else:  # it has taken over from the other one, and has turned or will
            worker = self._crew.workers[attempt.slot]
        self._refuse("late", f"its first block was not played within {SWAP_TIMEOUT_S:g} s; is the output running?")
        if worker is not None:
            self._crew.dismiss(worker, "has turned to a patch that was refused")

    def on_swap(self, event: _native.Event) -> None:
        """The callback has opened the gate."""
        attempt, board = self._attempt, self._board
        if attempt is None or attempt.generation != event.generation:
            if not self._mender.on_swapped_back(event.generation):
                logger.warning("swap to a commit that was refused generation=%d", event.generation)
            return
        self._attempt = None
        if attempt.timer is not None:
            attempt.timer.cancel()
        board.segment.close_gate()
        new, old = attempt.slot, 1 - attempt.slot
        if board.slots[new].state is State.READY:
            if board.slots[old].state is State.ACTIVE:
                board.move(old, Happening.SWAPPED_OUT)
            board.move(new, Happening.SWAPPED_IN, event.generation)
        else:  # it had taken over from a dead one and turned in place
            board.slots[new] = Slot(new, State.ACTIVE, event.generation)
        report = self._report(attempt, event)
        assert attempt.stage is not None
        board.lineage.add(attempt.stage)
        self.done += 1
        logger.info(
            "swap committed generation=%d slot=%d block=%d late_blocks=%d nodes=%d ready_ms=%.2f",
            event.generation,
            new,
            event.block,
            event.value,
            len(board.desk.committed.nodes),
            attempt.ready_ms,
        )
        self._mender.begin_probation(event.generation, lambda why: self._on_rollback(attempt, why))
        attempt.reply(report)
        self.on_commit(report)
        self._mender.block_cpu_ns = attempt.verdict["warmup"].get("block_cpu_ns", 0.0)
        self.edited()

    def _on_rollback(self, attempt: Attempt, why: str) -> None:
        self._count_refusal("rolled back")
        detail = f"{why}; the patch before plays again, your edits are pending"
        attempt.reply(CommitRefused("rolled back", detail))
        self.on_taken_back(attempt.generation, why)

    def _report(self, attempt: Attempt, event: _native.Event) -> dict[str, Any]:
        kept = self._board.desk.accept()
        verdict = attempt.verdict
        unmeant = hints(attempt.patch)
        for text in unmeant:
            if text not in self._told:  # by the commit before: who sends without listening may look at the log
                logger.warning("probably not meant generation=%d: %s", event.generation, text)
        self._told = unmeant
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
            "warnings": [*verdict["warnings"], *unmeant],
        } | kept

    # ---- refused ------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Throw the pending edits away; a commit that is priming comes to nothing."""
        queued, self._queued = self._queued, None
        if queued is not None:
            self._board.desk.unqueue()
            self._count_refusal("aborted")
            queued.reply(CommitRefused("aborted", "/patch/abort came before its turn"))
        attempt = self._attempt
        if attempt is not None and attempt.phase != "switching":
            if attempt.phase == "priming":
                self._abandon(attempt.slot)
            self._refuse("aborted", "/patch/abort came before it was ready")

    def on_death(self, was: Slot, cause: str) -> None:
        """A worker has died: a commit that it primes or is to play is refused."""
        self._draining.pop(was.index, None)
        attempt = self._attempt
        if attempt is None:
            return
        if attempt.phase == "waiting":
            if was.index == attempt.slot:
                attempt.onto = None  # it has gone with it
            return
        other = self._board.slots[was.other]
        if was.index == attempt.slot:
            self._refuse("worker died", f"{cause} while the patch was {attempt.phase}")
        elif attempt.phase == "priming" and was.state is State.ACTIVE:
            self.on_taken_over(other, f"the worker of slot {was.index} died while the patch was priming beside it")

    def on_taken_over(self, survivor: Slot, why: str = "") -> None:
        """The slot that primes is heard from now on."""
        attempt = self._attempt
        if attempt is not None and attempt.phase == "priming" and attempt.slot == survivor.index:
            self._abandon(survivor.index)
            text = f"the other slot stayed behind and slot {survivor.index}, which primed, is heard"
            self._refuse("worker died" if why else "late", why or text)

    def give_up(self, why: str) -> None:
        """Refuse what is on its way, but for a commit that only waits."""
        if self._attempt is not None and self._attempt.phase != "waiting":
            self._refuse("worker died", why)

    def _count_refusal(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def _refuse(self, reason: str, detail: str) -> None:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.phase == "waiting" and attempt.onto is not None:
            self._take_back(attempt)
        self._board.segment.close_gate()
        self._board.desk.refuse()
        self._count_refusal(reason)
        logger.warning("commit refused generation=%d reason=%r: %s", attempt.generation, reason, detail)
        attempt.reply(CommitRefused(reason, f"{detail}; the patch before plays on, your edits are kept"))
        self.advance()

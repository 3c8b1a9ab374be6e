"""Keeps two replicas: joins, checkpoints, fail-over, probation, and the way back from a patch that kills.

What is to be heard is the last stage of the lineage. Each slot that has a worker and does not render it is brought to
it from a checkpoint and the journal; a slot that has none gets the worker in reserve.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pyengine import _native
from pyengine.board import Board
from pyengine.channel import Message
from pyengine.crew import BUDGET_S, Crew, cause_of, is_fault
from pyengine.lineage import Restart, Stage
from pyengine.loop import Timer
from pyengine.slots import Happening, Slot, State
from pyengine.worker import WorkerProcess

logger = logging.getLogger(__name__)

JOIN_TIMEOUT_MS = 2000
REPLAY_NS = 200e3  # that a join may render of what was played since a checkpoint, rather than wait for a fresh one
REPLAY_BLOCKS = 32
FORESEEN_BLOCKS = 4  # a checkpoint that serves a join for fewer blocks than that is not written ahead
CHECKPOINT_WAIT_S = 0.03  # for a fresh checkpoint; then the newest there is has to do
PARK_TIMEOUT_MS = 1000
RESUMES_ALLOWED = 3  # deaths of both workers, one after the other, without PROGRESS_BLOCKS played in between
PROGRESS_BLOCKS = 16
JOINERS_ALLOWED = 4  # that die while nobody renders and another one is still on its way
FAULTS_ALLOWED = 2  # of one patch's workers, within BUDGET_S, while one of them renders at all times
NOT_FINITE_LOOKS = 5  # of 0.1 s, each with samples that are NaN or infinite, that make a patch one that kills
LATE_WAIT_S = 0.1  # from a fall-over to the patch before, for the reason to show: a process takes a while to die
LAG_LOOKS = 3  # of 0.1 s, in which a replica that lags behind what is played must be in step again


class Attempts(Protocol):
    """What is asked of the commits (pyengine/commits.py)."""

    @property
    def is_switching(self) -> bool:
        """True while it is being decided what is to be heard."""

    @property
    def needs_standby(self) -> bool:
        """True while a commit is on its way."""

    def on_death(self, was: Slot, cause: str) -> None:
        """A worker has died."""

    def on_taken_over(self, survivor: Slot, why: str = "") -> None:
        """The slot that primes is heard from now on."""

    def give_up(self, why: str) -> None:
        """Refuse what is on its way, but for a commit that only waits."""


@dataclass
class Joining:
    """A slot on its way to render what is to be heard."""

    slot: int
    generation: int
    tries: int = 1
    restarts: Stage | None = None


@dataclass
class Probation:
    """A patch that was swapped to a moment ago, while the old slot still renders the one before."""

    generation: int
    on_rollback: Callable[[str], None]
    timer: Timer
    is_recommitted: bool = False
    doubted_s: float = 0.0  # since when the patch before is heard though this one's worker lives


class Mender:
    """Every method is called by the loop."""

    def __init__(self, board: Board, crew: Crew) -> None:
        self._board = board
        self._crew = crew
        self.commits: Attempts  # set by the supervisor
        self._joins: dict[int, Joining] = {}
        self._probation: Probation | None = None
        self._restart: Stage | None = None  # to be started by the next joiner
        self._restart_source: int | None = None
        self._has_begun = False  # the first slot to render is the one that the callback begins with
        self._lived: set[int] = {0}
        self._faulty: dict[int, int] = {}  # generation -> block that was due when a worker died of its own fault in it
        self._resumes, self._resumed_at = 0, 0
        self._joiners_lost = 0  # since somebody rendered
        self._restarts: deque[float] = deque()
        self._hashes: dict[tuple[int, int], int] = {}
        self._has_asked = False
        self._whole_from = [0, 0]  # block from which a slot's ring holds nothing from before it joined
        self._lags = [0, 0]
        self._faults: deque[tuple[float, int, int]] = deque()  # (time, generation, block that was due)
        self._not_finite_at, self._not_finite_looks = (0, 0), 0
        self._lost_at, self._lost_looks = 0, 0
        self.block_cpu_ns = 0.0  # what a block of the patch that is heard takes; 0: not known
        self.rollbacks = 0
        self.restarts = 0
        self.states_diverged = 0
        self.last_fault: dict[str, Any] = {}
        self.on_restart: Callable[[Stage], None] = lambda stage: None

    # ---- how things stand -------------------------------------------------------------------------------

    @property
    def is_redundant(self) -> bool:
        """True when either worker could die without a trace in the sound."""
        board = self._board
        return board.active is not None and board.standby.is_replica and not self._is_behind(board.standby.index)

    def _is_behind(self, slot: int) -> bool:
        """True while blocks are due that the slot rendered before it had joined."""
        return bool(self._board.segment.play_block < self._whole_from[slot])

    @property
    def needs_blocks(self) -> bool:
        """True while something waits for blocks to be played."""
        return bool(self._joins) or self.is_mending or self._is_behind(self._board.standby.index)

    @property
    def is_on_probation(self) -> bool:
        return self._probation is not None

    @property
    def is_mending(self) -> bool:
        """True while what is heard is not what was committed."""
        p, active = self._probation, self._board.active
        if active is None or self._restart is not None:
            return True
        return p is not None and p.is_recommitted and active.generation != p.generation

    # ---- the one place that starts things ---------------------------------------------------------------

    def settle(self) -> None:
        """Do what can be done now: called after everything that happened."""
        self._has_begun = self._has_begun or self._board.active is not None
        for slot in (0, 1) if self._has_begun else (self._board.segment.active_slot,):
            self._settle(slot)
        self._assign_keepers()

    def _settle(self, slot: int) -> None:
        board, state = self._board, self._board.slots[slot].state
        if state is State.DEAD and self._crew.hire(slot) is not None:
            board.segment.set_pin(slot, board.segment.keep)  # what comes from now on is kept for it
            board.segment.reset_prime_ready(slot, board.generation)
            board.move(slot, Happening.HIRED, 0)
            state = State.JOINING
        is_spare = board.is_cold and board.active is not None and not self.commits.needs_standby
        is_idle = state is State.JOINING and slot not in self._joins and not self._is_wanted(slot)
        if is_spare and (is_idle or state is State.REPLICA):
            self._park(slot)
        elif state is State.PARKED and not is_spare:
            board.segment.set_pin(slot, board.segment.keep)
            board.move(slot, Happening.JOIN)
            self._begin_join(slot)
        elif state is State.JOINING and slot not in self._joins:
            self._begin_join(slot)

    def _is_wanted(self, slot: int) -> bool:
        """A recommit needs it, however cold the standby is."""
        return self._probation is not None and self._probation.is_recommitted

    def _park(self, slot: int) -> None:
        segment = self._board.segment
        self._board.move(slot, Happening.PARK)
        segment.set_playable(slot, False)
        segment.set_alive(slot, False)
        segment.set_pin(slot, _native.NO_PIN)
        self._crew.send(slot, [{"type": "park", "timeout_ms": PARK_TIMEOUT_MS}])

    def _assign_keepers(self) -> None:
        """Periodic checkpoints are written by the standby; by the active one where there is none; by both on
        probation, as each has a patch of its own. But a slot has room for two: the one that renders the patch before
        keeps those that lead to the new one until there is one of the new one itself.
        """
        has_replica = any(s.is_replica for s in self._board.slots)
        for slot in self._board.slots:
            worker = self._crew.workers[slot.index]
            if worker is not None:
                is_alone = slot.state is State.ACTIVE and not has_replica
                is_keeper = slot.is_replica or slot.state is State.PROBATION or is_alone
                self._board.segment.set_keeper(worker.seat, is_keeper and self._may_write(slot))

    def _may_write(self, slot: Slot) -> bool:
        """A slot that renders the patch before may hold the only checkpoint from before the SWITCH: what it would
        write now leads nowhere, and must not replace that before the patch on probation has a checkpoint.
        """
        lineage = self._board.lineage
        return lineage.has_checkpoint or slot.generation == lineage.last.generation

    # ---- joins ------------------------------------------------------------------------------------------

    def _begin_join(self, slot: int) -> None:
        """Let a slot join what is to be heard: from a fresh checkpoint if there is who can write one, else from the
        newest.
        """
        board = self._board
        if self.commits.is_switching and self._restart is None:
            return  # what is to be heard is being decided; `settle` comes back to it
        tries = self._joins[slot].tries + 1 if slot in self._joins else 1
        if self._restart is not None:
            if any(j.restarts for j in self._joins.values()):
                return  # the other slot begins it; this one joins that
            joining = Joining(slot, self._restart.generation, tries, restarts=self._restart)
        else:
            joining = Joining(slot, board.lineage.last.generation, tries)
        self._joins[slot] = joining
        board.segment.set_pin(slot, board.segment.keep)
        board.loop.after(2 * JOIN_TIMEOUT_MS / 1e3, lambda: self._on_join_timeout(joining))
        self._send_join(joining)

    def _ask_for_checkpoint(self, joining: Joining) -> Message | None:
        """Let the other slot write one, if it can; return what the joiner is to wait for."""
        segment, provider = self._board.segment, self._board.slots[1 - joining.slot]
        is_there = provider.state is State.ACTIVE or provider.is_replica
        if not joining.generation or not is_there or segment.slot_generation(provider.index) != joining.generation:
            return None
        block = segment.render_head(provider.index)
        found = segment.checkpoint(joining.generation)
        if found is not None and 0 <= block - found[0] <= self._replay_blocks:
            return None
        segment.request_checkpoint(provider.index, joining.generation)
        return {"slot": provider.index, "block": block, "timeout_s": CHECKPOINT_WAIT_S}

    @property
    def _replay_blocks(self) -> int:
        """How far behind what is rendered a checkpoint may lie to serve a join as well as a fresh one."""
        return min(REPLAY_BLOCKS, int(REPLAY_NS / self.block_cpu_ns)) if self.block_cpu_ns > 0 else 0

    def foresee_join(self, slot: int) -> None:
        """A commit may end the probation soon: let the slot that renders the patch before have what it will need."""
        board, last = self._board, self._board.lineage.last
        active = board.active
        if active is None or active.generation != last.generation or last.restart is not None:
            return
        if self._replay_blocks >= FORESEEN_BLOCKS:  # else it is too old by then, and dear just after a large swap
            board.segment.request_checkpoint(active.index, last.generation)
        message = {"type": "prepare_join", "generation": last.generation, "blueprint": last.blueprint}
        self._crew.send(slot, [message])

    def _send_join(self, joining: Joining) -> None:
        board = self._board
        message: Message = {
            "type": "join",
            "generation": joining.generation,
            "awaited": self._ask_for_checkpoint(joining),
            "timeout_ms": JOIN_TIMEOUT_MS,
            "is_to_be_swapped": self._is_recommit(joining),
            "is_alone": board.active is None,
            "restart": None,
        }
        if joining.restarts is not None:
            message["stages"] = [joining.restarts.to_message()]
            with board.still():
                message["restart"] = {"source": self._restart_source, "base": board.segment.newest}
                board.desk.begin_restart()
        else:
            message["stages"] = [stage.to_message() for stage in board.lineage.chain()]
        if self._is_recommit(joining):
            board.segment.reset_prime_ready(joining.slot, joining.generation)
        self._crew.send(joining.slot, [message])

    def is_joining(self, slot: int) -> bool:
        """True while a slot is on its way to render what is heard, and nothing else is to happen there."""
        joining, last = self._joins.get(slot), self._board.lineage.last.generation
        is_plain = joining is not None and joining.restarts is None and joining.generation == last
        return is_plain and not self._awaits_recommit

    def _is_recommit(self, joining: Joining) -> bool:
        """The slot that is heard renders the patch before; this one brings the new one back."""
        return self._awaits_recommit and joining.generation == self._board.lineage.last.generation

    @property
    def _awaits_recommit(self) -> bool:
        """True while the patch before is heard, and the one on probation is to come back."""
        p, active = self._probation, self._board.active
        return p is not None and p.is_recommitted and active is not None and active.generation != p.generation

    def _on_join_timeout(self, joining: Joining) -> None:
        worker = self._crew.workers[joining.slot]
        if self._joins.get(joining.slot) is joining and worker is not None:
            self._crew.dismiss(worker, "did not join in time")

    def on_joined(self, slot: int, message: Message) -> None:
        """A worker renders what it was asked to, or says why not."""
        board, joining = self._board, self._joins.get(slot)
        if joining is None or joining.generation != message["generation"]:
            return
        worker = self._crew.workers[slot]
        assert worker is not None
        if not message["is_in_step"]:
            logger.warning("join failed slot=%d try=%d: %s", slot, joining.tries, message["detail"])
            if joining.tries < 3 and not message["is_stuck"]:
                self._begin_join(slot)
            else:
                self._crew.dismiss(worker, "could not join")
            return
        is_recommit = self._is_recommit(joining)
        del self._joins[slot]
        # A worker that rendered something else before left blocks of that ahead of the ones it renders now.
        self._whole_from[slot] = board.segment.render_head(slot) if worker.was_in_step else 0
        worker.was_in_step = True
        board.segment.set_alive(slot, True)
        board.segment.set_pin(slot, _native.NO_PIN)
        board.segment.set_playable(slot, True)
        if joining.restarts is not None:
            self._note_restart(joining.restarts, message)
        if is_recommit:
            board.move(slot, Happening.PRIMED, joining.generation)
            board.segment.open_gate(joining.generation)
        elif board.active is None:
            self._joiners_lost = 0
            board.move(slot, Happening.TOOK_OVER, joining.generation)
            self._on_only_one_left()
        else:
            board.move(slot, Happening.IN_STEP, joining.generation)
            if self._probation is None:
                self._lived.add(joining.generation)
        logger.info(
            "in step slot=%d generation=%d state=%s join_ms=%.2f",
            slot,
            joining.generation,
            board.slots[slot].state.value,
            message["join_ms"],
        )
        if joining.restarts is not None and board.active is not None:  # the next one needs it
            board.segment.request_checkpoint(slot, joining.generation)

    # ---- checkpoints ------------------------------------------------------------------------------------

    def on_checkpoint(self, event: _native.Event) -> None:
        """A checkpoint was written."""
        if self._slot_of(event.source) is None:
            return
        board = self._board
        board.lineage.note_checkpoint(event.generation, event.value)
        board.segment.set_keep(max(board.segment.keep, board.lineage.keep))
        self._has_asked = False
        self._assign_keepers()
        self.on_hash(event)

    def on_hash(self, event: _native.Event) -> None:
        """Both replicas tell the hash of their states at the same blocks: they must be the same."""
        key = (event.generation, event.block)
        other = self._hashes.pop(key, None)
        if other is None:
            self._hashes[key] = event.hash
            while len(self._hashes) > 64:
                del self._hashes[next(iter(self._hashes))]
        elif other != event.hash:
            self.states_diverged += 1
            self.on_diverged(event)

    def on_diverged(self, event: _native.Event) -> None:
        """This must never happen. The active one is right; the standby loads its states."""
        standby = self._board.standby
        logger.error(
            "replicas differ block=%d generation=%d; slot %d joins anew", event.block, event.generation, standby.index
        )
        if standby.state is State.REPLICA and self._board.active is not None:
            self._board.move(standby.index, Happening.JOIN)
            self.settle()

    def pump(self) -> None:
        """Ask for a checkpoint when the ring of records is half full since the last one."""
        segment, active = self._board.segment, self._board.active
        is_half_full = segment.newest - segment.keep > segment.config.n_commands // 2
        if active is None or not is_half_full or self._has_asked:
            return
        standby = self._board.standby
        slot = standby if standby.is_replica else active
        if not self._may_write(slot):
            return
        self._has_asked = True
        segment.request_checkpoint(slot.index, segment.slot_generation(slot.index))

    # ---- deaths -----------------------------------------------------------------------------------------

    def _slot_of(self, seat: int) -> int | None:
        return next((w.slot for w in self._crew.workers if w is not None and w.seat == seat), None)

    def on_gone(self, worker: WorkerProcess, why: str) -> None:
        """A worker is out of its slot. Whatever it was, the sound goes on, and the slot gets another."""
        board, slot = self._board, worker.slot
        was = board.slots[slot]
        node = board.node_name(board.segment.marker(slot))
        building = board.node_name(board.segment.build_marker(slot))
        is_own_fault = is_fault(worker.code) or (why == "stalled" and bool(node))
        cause = cause_of(worker.code) if why == "died" else f"{why} ({cause_of(worker.code)})"
        where = f" in node {node!r}" if node else f" in node {building!r}" if building else ""
        logger.warning("worker gone slot=%d pid=%d state=%s: %s%s", slot, worker.pid, was.state.value, cause, where)
        generation = board.segment.slot_generation(slot)
        board.segment.set_alive(slot, False)
        board.segment.set_pin(slot, _native.NO_PIN)  # its successor has one of its own
        self._let_play(worker)
        is_second = self._awaits_recommit and was.state in (State.READY, State.JOINING)  # it was to bring it back
        joining = self._joins.pop(slot, None)
        board.move(slot, Happening.DIED)
        of = generation if joining is None else joining.generation
        is_of_candidate = was.state is State.PRIMING and bool(building)  # what plays has nothing to do with it
        if is_own_fault:
            self.last_fault = {"slot": slot, "cause": cause, "node": node or building, "generation": of}
        if is_own_fault and not is_of_candidate:
            self._note_fault(of)
        self.commits.on_death(was, f"its worker {cause}{where}")
        if was.state is State.ACTIVE:
            self._after_active(was, is_own_fault, f"{cause}{where}")
        elif was.state is State.PROBATION:
            self.end_probation()
        elif is_second:
            self._roll_back(f"its worker {cause}{where}, a second death")
        if joining is not None and board.active is None:
            self._joiners_lost += 1
            if not self._joins or self._joiners_lost > JOINERS_ALLOWED:
                self._on_extinction()
        if is_own_fault and not is_of_candidate and self._is_killing(of):
            self._give_up()
        self._let_play(worker)  # what is to be heard may be another patch now

    def _let_play(self, worker: WorkerProcess) -> None:
        """What a worker published before its end may be played, as far as it is what is to be heard; but not before
        it is known to have ended.
        """
        generation = self._board.lineage.last.generation
        self._board.segment.set_playable(worker.slot, worker.is_gone, generation)

    def on_free(self, worker: WorkerProcess) -> None:
        """A worker's end is known, or has taken too long: its slot may get another."""
        is_empty = self._crew.workers[worker.slot] is None
        if worker.is_gone and is_empty and self._board.segment.seat(worker.slot) == worker.seat:
            self._let_play(worker)

    def _after_active(self, was: Slot, is_own_fault: bool, cause: str) -> None:
        board, other = self._board, self._board.slots[was.other]
        if other.is_replica:
            board.move(other.index, Happening.TOOK_OVER)
            self._on_only_one_left()
        elif other.state is State.PROBATION:
            board.move(other.index, Happening.TOOK_OVER)
            p = self._probation
            assert p is not None
            if is_own_fault or p.is_recommitted:
                self._roll_back(f"its worker {cause}")
            else:
                p.is_recommitted = True
                p.timer.cancel()
                logger.warning("patch is committed again generation=%d: its worker %s", p.generation, cause)
        elif other.state is not State.JOINING:
            self._on_extinction()

    def _on_only_one_left(self) -> None:
        """The patch that was to come back is heard, and nobody renders the one before any more: it stands."""
        p, active = self._probation, self._board.active
        if p is not None and p.is_recommitted and active is not None and active.generation == p.generation:
            self._board.segment.close_gate()
            self.end_probation()

    def _note_fault(self, generation: int) -> None:
        now, block = time.monotonic(), self._board.segment.play_block
        self._faulty[generation] = block
        self._faults.append((now, generation, block))
        while now - self._faults[0][0] > BUDGET_S:
            self._faults.popleft()

    def _is_killing(self, generation: int) -> bool:
        """True when what is to be heard has killed two workers at one place, or too many within a few seconds: the next
        one would die as well, though there always is one on its way. (A loop in a module takes a while to kill.)
        """
        blocks = [block for _, g, block in self._faults if g == generation]
        is_at_one_place = len(blocks) > 1 and blocks[-1] < blocks[-2] + PROGRESS_BLOCKS
        return generation == self._board.lineage.last.generation and (is_at_one_place or len(blocks) > FAULTS_ALLOWED)

    def _give_up(self) -> None:
        """End all workers: what they render kills."""
        for worker in [*self._crew.workers, *self._crew.workers]:
            if worker is not None:
                self._crew.dismiss(worker, "renders a patch that kills")

    def _on_extinction(self) -> None:
        """Nobody renders any more: silence, and time stands still. Go on where it stopped, unless it is the patch or
        a command that kills.
        """
        board, last = self._board, self._board.lineage.last
        self._probation_is_over()
        self.commits.give_up("both workers died")
        played = board.segment.play_block
        self._resumes = self._resumes + 1 if played < self._resumed_at + PROGRESS_BLOCKS else 1
        self._resumed_at = played
        # Both come to it at one block. A death of long ago, or while the sound went on, was another matter.
        near = PROGRESS_BLOCKS + board.segment.effective_lead
        is_poison = played - self._faulty.get(last.generation, -near) < near
        logger.error("no worker renders block=%d is_poison=%s", board.segment.play_block, is_poison)
        if is_poison or self._resumes > RESUMES_ALLOWED:
            self._step_back(last, is_poison)
        elif last.restart is not None and board.segment.checkpoint(last.generation) is None:
            self._begin_again(last, last.restart)
        else:  # a patch on probation stands: what it needs to be taken back has gone with them
            self._let_stand(last.generation)

    def _step_back(self, last: Stage, is_poison: bool) -> None:
        """A new generation of the last patch that lived: from its newest states, past all commands so far. When that
        dies too within a few seconds, the patch before it; in the end, silence.
        """
        board, desk = self._board, self._board.desk
        now = time.monotonic()
        if self._restart is not None:  # it died before it had begun
            board.lineage.drop_last()
        while self._restarts and now - self._restarts[0] > BUDGET_S:
            self._restarts.popleft()
        is_again = bool(self._restarts) or last.generation not in self._lived
        self._restarts.append(now)
        self._resumes = 0
        source: int | None = last.generation
        if is_again:
            source = None
            desk.step_back()
            for stage in board.lineage.chain():
                if stage.patch.is_built_like(desk.committed) and stage.generation in self._lived:
                    source = stage.generation
        stage = Stage.of(board.next_generation(), desk.committed)
        logger.error(
            "patch restarted generation=%d nodes=%d from_generation=%s: %s",
            stage.generation,
            len(stage.patch.nodes),
            source,
            "the one before killed its workers" if is_again else "a command or the patch itself killed its workers",
        )
        self.restarts += 1
        self._restart, self._restart_source = stage, source
        board.lineage.add(stage)
        for slot in list(self._joins):  # they were on their way to what kills
            worker = self._crew.workers[slot]
            if worker is not None:
                self._crew.dismiss(worker, "was on its way to a patch that kills")

    def _begin_again(self, last: Stage, restart: Restart) -> None:
        """A restarted patch has left no checkpoint to go on from: restart it once more, from the same states."""
        board = self._board
        board.lineage.drop_last()
        self._restart = Stage.of(board.next_generation(), board.desk.committed)
        self._restart_source = restart.source
        board.lineage.add(self._restart)
        logger.error("patch restarted generation=%d: %d has no checkpoint", self._restart.generation, last.generation)

    def _note_restart(self, stage: Stage, message: Message) -> None:
        board = self._board
        restart = Restart(**message["restart"])
        board.lineage.drop_last()
        begun = replace(stage, restart=restart)
        board.lineage.add(begun)
        board.lineage.settle()
        board.desk.restarted(message["values"])
        self._restart, self._restart_source = None, None
        self._lived.add(stage.generation)
        self.on_restart(begun)

    # ---- probation --------------------------------------------------------------------------------------

    def begin_probation(self, generation: int, on_rollback: Callable[[str], None]) -> None:
        """A patch was swapped to. on_rollback(why) is called if it has to be taken back."""
        board = self._board
        after_s = board.options.probation_ms / 1e3
        timer = board.loop.after(after_s, self.end_probation)
        self._probation = Probation(generation, on_rollback, timer)
        if after_s == 0 or not any(s.state is State.PROBATION for s in board.slots):
            self.end_probation()

    def _probation_is_over(self) -> None:
        if self._probation is not None:
            self._probation.timer.cancel()
            self._probation = None

    def end_probation(self) -> None:
        """The patch has lived: the old slot becomes its replica."""
        p, board = self._probation, self._board
        if p is None:
            return
        if self._awaits_recommit or self._is_in_doubt(p):
            return
        self._probation_is_over()
        self._let_stand(p.generation)
        for slot in board.slots:
            if slot.state is State.PROBATION:
                board.move(slot.index, Happening.JOIN)
        self.settle()

    def _is_in_doubt(self, p: Probation) -> bool:
        """True when the callback plays the patch before, though the worker of the new one lives: it gets LATE_WAIT_S to
        die of what is wrong with it, or the patch is taken back (`_on_late`; here, should that event be lost).
        """
        board = self._board
        heard = board.slots[board.segment.active_slot]
        if heard.state is not State.PROBATION:
            return False
        now = time.monotonic()
        p.doubted_s = p.doubted_s or now
        if now - p.doubted_s < LATE_WAIT_S:
            p.timer.cancel()
            p.timer = board.loop.after(LATE_WAIT_S, self.end_probation)
        else:
            self.reject(heard.other, "its blocks did not come in time")
        return True

    def _let_stand(self, generation: int) -> None:
        """The patch before does not come back."""
        self._lived.add(generation)
        self._board.desk.settle()
        self._board.lineage.settle()

    def on_swapped_back(self, generation: int) -> bool:
        """The gate brought a patch back that was on probation when its worker died. False: that is not it."""
        p, board = self._probation, self._board
        if p is None or not p.is_recommitted or p.generation != generation:
            return False
        board.segment.close_gate()
        logger.info("patch is heard again generation=%d", generation)
        if self._awaits_recommit:
            for slot in board.slots:
                if slot.state is State.ACTIVE:
                    board.move(slot.index, Happening.SWAPPED_OUT)
                elif slot.state is State.READY:
                    board.move(slot.index, Happening.SWAPPED_IN, generation)
        p.timer.cancel()
        p.timer = board.loop.after(board.options.probation_ms / 1e3, self.end_probation)
        if not any(slot.state is State.PROBATION for slot in board.slots):
            self.end_probation()  # it took over: nobody renders the patch before any more
        return True

    def _roll_back(self, why: str) -> None:
        """Back to the patch before; the edits stay pending."""
        p, board = self._probation, self._board
        assert p is not None
        self._probation_is_over()
        board.segment.close_gate()
        board.desk.rollback()
        board.lineage.drop_last()
        self.rollbacks += 1
        logger.error("commit rolled back generation=%d: %s", p.generation, why)
        for slot in board.slots:
            self._joins.pop(slot.index, None)
        p.on_rollback(why)

    def reject(self, slot: int, why: str, node: str = "") -> None:
        """Take back the patch that a slot plays on probation, though its worker lives."""
        board, other = self._board, self._board.slots[1 - slot]
        if self._probation is None or other.state is not State.PROBATION:
            return
        self.last_fault = {"slot": slot, "cause": why, "node": node, "generation": self._probation.generation}
        board.segment.set_playable(slot, False)
        board.move(slot, Happening.LEFT)
        board.move(other.index, Happening.TOOK_OVER)
        self._roll_back(why)
        self.settle()

    # ---- what the callback did --------------------------------------------------------------------------

    def on_fallback(self, event: _native.Event) -> None:
        """The callback made the other slot active: this one is dead, or stays behind."""
        board = self._board
        heard = board.segment.active_slot
        logger.warning("fall-over block=%d to_slot=%d generation=%d", event.block, heard, event.generation)
        left, survivor = board.slots[1 - heard], board.slots[heard]
        worker = self._crew.workers[left.index]
        if left.state is not State.ACTIVE or worker is None or not survivor.is_alive:
            return
        if worker.is_gone:
            self._crew.dismiss(worker, "died")
        elif survivor.is_replica:
            board.move(left.index, Happening.LEFT)
            self.commits.on_taken_over(survivor)
            board.move(survivor.index, Happening.TOOK_OVER)
        elif survivor.state is State.PROBATION:
            board.loop.after(LATE_WAIT_S, lambda: self._on_late(worker))
        else:  # it renders the patch before and is on its way to this one: whichever has it first is heard
            board.move(left.index, Happening.LEFT)
        self.settle()

    def _on_late(self, worker: WorkerProcess) -> None:
        """The patch before is heard, as the blocks of this one did not come; it may be dying, and is not."""
        if self._crew.workers[worker.slot] is worker and self._board.slots[worker.slot].state is State.ACTIVE:
            node = self._board.node_name(self._board.segment.marker(worker.slot))
            self.reject(worker.slot, f"its blocks did not come in time{f', node {node!r}' if node else ''}", node)

    def on_not_finite(self, event: _native.Event) -> None:
        """NaN or infinity, put out as 0."""
        slot = self._slot_of(event.source)
        logger.error(
            "output is not finite slot=%s generation=%d block=%d; put out as 0", slot, event.generation, event.block
        )
        active = self._board.active
        p = self._probation
        if active is not None and active.index == slot and p is not None and p.generation == event.generation:
            self.reject(active.index, "its samples are NaN or infinite")

    def on_stale(self, event: _native.Event) -> None:
        """A worker fell behind the journal or the records. (value 1: a join did, and says so itself.)"""
        slot = self._slot_of(event.source)
        worker = self._crew.workers[slot] if slot is not None else None
        if worker is not None and event.value == 0:
            self._crew.dismiss(worker, "fell a lap behind")

    def look(self) -> None:
        """Called every 0.1 s: a replica that goes on lagging behind what is played joins anew. An active slot
        that has rendered past a block that is due and that nobody has, has to begin before it.
        """
        board = self._board
        self._look_at_active()
        self._look_at_samples()
        for slot in board.slots:
            behind = board.segment.play_block - board.segment.render_head(slot.index)
            is_lagging = slot.state is State.REPLICA and behind > 0 and not board.segment.slot_rests(slot.index)
            self._lags[slot.index] = self._lags[slot.index] + 1 if is_lagging else 0
            if self._lags[slot.index] >= LAG_LOOKS:
                self._lags[slot.index] = 0
                logger.warning("replica lags slot=%d blocks=%d; it joins anew", slot.index, behind)
                board.move(slot.index, Happening.JOIN)
                self.settle()

    def _look_at_active(self) -> None:
        segment, active = self._board.segment, self._board.active
        play = segment.play_block
        is_lost = active is not None and segment.render_head(active.index) > play and not segment.has_block(play)
        self._lost_looks = self._lost_looks + 1 if is_lost and play == self._lost_at else 0
        self._lost_at = play
        worker = self._crew.workers[active.index] if active is not None else None
        if self._lost_looks >= LAG_LOOKS and worker is not None:
            self._lost_looks = 0
            self._crew.dismiss(worker, "is past the block that is due")

    def _look_at_samples(self) -> None:
        """Samples that stay NaN or infinite are silence for ever: that patch, or that command, is taken back."""
        segment, active, last = self._board.segment, self._board.active, self._board.lineage.last
        if active is None or active.generation != last.generation or segment.play_block == self._not_finite_at[0]:
            return
        seen = (segment.play_block, segment.slot_counters(active.index)["not_finite_samples"])
        self._not_finite_looks = self._not_finite_looks + 1 if seen[1] > self._not_finite_at[1] else 0
        self._not_finite_at = seen
        if self._not_finite_looks >= NOT_FINITE_LOOKS:
            self._not_finite_looks = 0
            cause = "put out NaN or infinity for long"
            self.last_fault = {"slot": active.index, "cause": cause, "node": "", "generation": last.generation}
            self._note_fault(last.generation)
            self._give_up()

    def status(self) -> dict[str, Any]:
        """Return its figures for /engine/status."""
        return {
            "is_on_probation": self.is_on_probation,
            "rollbacks": self.rollbacks,
            "restarts": self.restarts,
            "states_diverged": self.states_diverged,
            "last_fault": dict(self.last_fault),
        }

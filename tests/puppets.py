"""A real supervisor on puppets: its segment, workers, callback and clock are models that a test moves by hand.

    with Puppets() as puppets:
        puppets.rest()  # all that is under way comes to its end
        answer = puppets.commit("osc1")
        puppets.kill(puppets.seated[0])

What csrc/ does is told here a second time, by block and record and without samples; real are the loop's users:
supervisor, board, crew, mender, commits, desk, lineage, intake.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pyengine import _native, board, commits, crew, mending
from pyengine._native import NO_PIN, Event, Record
from pyengine.board import Options
from pyengine.commands import Abort, Commit, Create, Undo
from pyengine.errors import CommitRefused, EngineError
from pyengine.loop import Timer
from pyengine.slots import State
from pyengine.supervisor import Supervisor
from pyengine.worker import NOT_IN_STEP

LEAD = 2
HEDGES_TO_CHANGE = 3
CHECKPOINT_BLOCKS = 4
N_COMMANDS = 64
N_SEATS = 3
CALLBACK = N_SEATS
ALL, NONE = -1, -2  # what of a ring may be played, besides one generation
DT_S = 0.02  # the sleep of a render thread with nothing to do


class Clock:
    """The loop, in a time of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self.watched: set[int] = set()

    def monotonic(self) -> float:
        return self.now

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), timer))
        return timer

    def hurry(self, seconds: float) -> None: ...

    def call(self, action: Callable[[], None]) -> None:
        self._calls.append(action)

    def run(self) -> None:
        """Do what is due."""
        while self._calls:
            self._calls.popleft()()
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2].fire()
            while self._calls:
                self._calls.popleft()()

    def watch_channel(self, channel: Any, on_message: Any, on_end: Any) -> None:
        self.watched.add(id(channel))

    def unwatch(self, file: Any) -> None:
        self.watched.discard(id(file))

    def watch(self, file: Any, action: Any) -> None: ...

    def update(self, channel: Any) -> None: ...

    def fail(self, error: Exception) -> None:
        raise error


class Inbox:
    """What sends records into the stream; nothing comes in here by itself."""

    def __init__(self, segment: Segment, output: Any) -> None:
        self._segment = segment
        self.modules: list[tuple[str, int, int]] = []
        self.holds = 0

    def send(self, records: Any, is_stamped: bool = False, n_behind: int = 0) -> int:
        return self._segment.send(records)

    def publish(self, modules: list[tuple[str, int, int]]) -> None:
        assert self.holds > 0, "the modules that play change while something may be sent"
        self.modules = modules

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1

    def taken(self) -> list[tuple[int, int, float]]:
        return []

    def keep(self, seq: int) -> None: ...

    def set_latency(self, is_constant: bool, frames: int = 0) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Seat:
    def __init__(self) -> None:
        self.ring: dict[int, int] = {}  # block -> generation
        self.checkpoints: list[tuple[int, int, int]] = []  # (generation, block, seq), the newest last
        self.request = (0, 0)
        self.render_head = self.applied = self.generation = self.heartbeat = 0
        self.is_keeper = self.is_shut = False


class Segment:
    """The shared memory, and the gate of the callback."""

    def __init__(self, config: Any) -> None:
        self.config = replace(config, n_commands=N_COMMANDS)
        self.seats = [Seat() for _ in range(N_SEATS)]
        self.seat_of = [0, 1]
        self.playable = [NONE, NONE]
        self.alive = [False, False]
        self.pins = [NO_PIN, NO_PIN]
        self.ready = [(0, False), (0, False)]
        self.keep = 0
        self.stream: list[Record] = []
        self.journal: dict[int, int] = {}
        self.queues: list[deque[Event]] = [deque() for _ in range(N_SEATS + 1)]
        self.play_block = self.heard_generation = self.active_slot = 0
        self.pending = self.opening = self.used_opening = self.hedged = self.silent = 0

    @staticmethod
    def create(config: Any) -> Segment:
        return Segment(config)

    # what the supervisor says
    def set_keep(self, seq: int) -> None:
        self.keep = seq

    def set_pin(self, slot: int, seq: int) -> None:
        self.pins[slot] = seq

    def set_alive(self, slot: int, is_on: bool) -> None:
        self.alive[slot] = is_on

    def set_playable(self, slot: int, is_on: bool, generation: int | None = None) -> None:
        self.playable[slot] = NONE if not is_on else ALL if generation is None else generation

    def set_seat(self, slot: int, seat: int) -> None:
        self.seat_of[slot] = seat

    def slot_rests(self, slot: int) -> bool:
        """A puppet is never behind."""
        return False

    def slot_counters(self, slot: int) -> dict[str, int]:
        return {"not_finite_samples": 0}

    def set_keeper(self, seat: int, is_on: bool) -> None:
        self.seats[seat].is_keeper = is_on

    def set_shutdown(self, seat: int, is_on: bool) -> None:
        self.seats[seat].is_shut = is_on

    def reset_prime_ready(self, slot: int, generation: int) -> None:
        self.ready[slot] = (generation, False)

    def set_prime_ready(self, slot: int, generation: int) -> bool:
        if self.ready[slot] != (generation, False):
            return False
        self.ready[slot] = (generation, True)
        return True

    def open_gate(self, generation: int) -> None:
        self.opening += 1
        self.pending = generation

    def close_gate(self) -> None:
        self.pending = 0

    def request_checkpoint(self, slot: int, generation: int) -> None:
        seat = self.at(slot)
        seat.request = (generation, seat.request[1] + 1)

    # what it is told
    def at(self, slot: int) -> Seat:
        return self.seats[self.seat_of[slot]]

    def seat(self, slot: int) -> int:
        return self.seat_of[slot]

    def render_head(self, slot: int) -> int:
        return self.at(slot).render_head

    def applied(self, slot: int) -> int:
        return self.at(slot).applied

    def slot_generation(self, slot: int) -> int:
        return self.at(slot).generation

    def heartbeat(self, slot: int) -> int:
        return self.at(slot).heartbeat

    def marker(self, slot: int) -> int:
        return 0

    build_marker = marker
    effective_lead = LEAD

    def has_block(self, block: int) -> bool:
        return any(self.slot_has(slot, block) is not None for slot in (0, 1))

    def checkpoint(self, generation: int) -> tuple[int, int] | None:
        found = [(block, seq) for seat in self.seats for g, block, seq in seat.checkpoints if g == generation]
        return max(found, default=None)

    def events(self) -> Iterable[Event]:
        for queue in self.queues:
            while queue:
                yield queue.popleft()

    def tell(self, kind: str, source: int, block: int, generation: int, value: int, hash: int = 0) -> None:
        self.queues[source].append(Event(kind, source, block, 64 * block, generation, value, hash))

    def lock(self) -> bool:
        return True

    def close(self) -> None: ...

    # the stream
    @property
    def newest(self) -> int:
        return len(self.stream)

    def send(self, records: Sequence[Record]) -> int:
        floor = min(self.newest, self.keep, *self.pins)
        for slot in (0, 1):
            if self.alive[slot]:
                floor = min(floor, self.applied(slot))
        if self.newest - floor + len(records) > N_COMMANDS:
            return 0
        self.stream += records
        return self.newest

    # the callback
    def slot_has(self, slot: int, block: int) -> int | None:
        generation = self.at(slot).ring.get(block)
        return generation if self.playable[slot] in (ALL, generation) else None

    def is_open(self, slot: int) -> bool:
        g = self.pending
        is_wanted = g > 0 and self.opening != self.used_opening and self.ready[slot] == (g, True)
        return is_wanted and self.slot_has(slot, self.play_block) == g

    def play(self) -> bool:
        """Play the block that is due, as csrc/swap.c would; False when no ring has it."""
        block, active = self.play_block, self.active_slot
        for slot in (1 - active, active):
            if self.is_open(slot):
                self.active_slot, self.used_opening, self.hedged = slot, self.opening, 0
                self.tell("swap", CALLBACK, block, self.pending, 0)
                return self._heard(self.pending)
        generation = self.slot_has(active, block)
        if generation is not None:
            self.hedged = 0
            return self._heard(generation)
        generation = self.slot_has(1 - active, block)
        if generation is None:
            self.silent += 1
            return False
        self.hedged += 1
        is_gone = not self.alive[active] or self.playable[active] != ALL
        if is_gone or self.hedged >= HEDGES_TO_CHANGE:
            self.active_slot, self.hedged = 1 - active, 0
            self.tell("fallback", CALLBACK, block, generation, 0)
        return self._heard(generation)

    def _heard(self, generation: int) -> bool:
        self.heard_generation = generation
        self.play_block += 1
        for seat in self.seats:
            seat.ring.pop(self.play_block - 64, None)
        return True


class Process:
    """A worker: the supervisor's handle of it, its Python thread (`work`) and its render thread (`turn`)."""

    pids = itertools.count(1)

    def __init__(self, segment: Segment, started_s: float) -> None:
        self.segment = segment
        self.started_s = started_s
        self.pid = next(self.pids)
        self.slot = self.seat = -1
        self.sentinel = -1
        self.is_ready = self.was_in_step = False
        self.facts: dict[str, Any] = {}
        self.channel = SimpleNamespace(send=self._take, close=lambda: None)
        self.process = SimpleNamespace(wait=lambda timeout: None)
        self.inbox: deque[dict[str, Any]] = deque([{"type": "start"}])
        self.outbox: deque[dict[str, Any]] = deque()
        self.code: int | None = None
        self.is_killed = self.is_stuck = self.is_stopped = self.is_lazy = False
        self.run: int | None = None
        self.armed: int | None = None
        self.head = self.applied = self.served = 0
        self.sits: Seat | None = None
        self.sits_at = -1
        self.built = 0

    # the supervisor's side
    @property
    def is_gone(self) -> bool:
        return self.code is not None

    def kill(self) -> None:
        self.is_killed = True
        if not self.is_stuck:
            self.die(-9)

    def close(self) -> None: ...

    def die(self, code: int) -> None:
        if self.code is None:
            self.code = code

    def _take(self, messages: Sequence[dict[str, Any]]) -> None:
        self.inbox += messages

    # its Python thread
    def work(self, fate: str = "well") -> None:
        """Do what the next message asks; fate: 'well', 'fails' or 'stuck'."""
        if self.code is not None or self.is_stopped or not self.inbox:
            return
        message = self.inbox.popleft()
        answer = getattr(self, "_" + message["type"], lambda message, fate: None)(message, fate)
        if answer is not None:
            self.outbox.append(answer)

    def _start(self, message: Any, fate: str) -> dict[str, Any]:
        return {"type": "hello", "is_locked": True, "is_limited": True}

    def _assign(self, message: Any, fate: str) -> dict[str, Any]:
        self.sits_at, self.sits = message["seat"], self.segment.seats[message["seat"]]
        s = self.sits
        s.generation = s.applied = s.render_head = 0
        self.served = s.request[1]
        return {"type": "assigned", "is_realtime": True, "processors": []}

    def _abort(self, message: Any, fate: str) -> None:
        self.armed = None

    def _commit(self, message: Any, fate: str) -> None:
        self.built = message["generation"]

    def _prime(self, message: Any, fate: str) -> dict[str, Any]:
        answer = {"type": "primed", "generation": self.built, "is_ready": False, "reason": "silent", "detail": "so"}
        if fate != "well":
            return answer
        if message["onto"] not in (None, self.run):
            return answer | {"reason": NOT_IN_STEP}
        self.armed = self.built
        if not self.segment.set_prime_ready(self.slot, self.built):
            self.armed = None
            return answer | {"reason": "aborted"}
        figures = {"build_ms": 0, "prime_ms": 0, "warmup": {}, "is_hurried": False, "warnings": ()}
        return answer | {"is_ready": True} | figures

    def _park(self, message: Any, fate: str) -> dict[str, Any]:
        self.run = self.armed = None
        return {"type": "parked", "is_parked": True}

    def _join(self, message: Any, fate: str) -> dict[str, Any]:
        answer = {"type": "joined", "generation": message["generation"], "is_in_step": True, "join_ms": 0.0}
        if fate == "fails":
            return answer | {"is_in_step": False, "is_stuck": False, "detail": fate}
        fault = self._restart(message, answer) if message["restart"] else self._chain(message)
        if fate != "well" or fault:
            return answer | {"is_in_step": False, "is_stuck": fate == "stuck", "detail": fault or fate}
        if message["is_to_be_swapped"]:
            self.segment.set_prime_ready(self.slot, message["generation"])
        return answer

    def _begin(self, generation: int, block: int, applied: int) -> None:
        assert self.sits is not None
        self.head = self.head if self.run is not None else block
        self.run, self.applied = generation, applied
        self.sits.generation, self.sits.render_head, self.sits.applied = generation, self.head, applied

    def _restart(self, message: Any, answer: dict[str, Any]) -> str:
        s, base = self.segment, message["restart"]["base"]
        before = s.journal.get(s.play_block - 1, 0)
        self._begin(message["generation"], s.play_block, max(base, before))
        answer["restart"] = {"block": s.play_block, "base": base, "source": None, "source_block": 0}
        answer["values"] = {}
        return ""

    def _chain(self, message: Any) -> str:
        s, stages = self.segment, message["stages"]
        last_block = s.play_block if message["is_alone"] else NO_PIN
        for first in reversed(range(len(stages))):
            generation = stages[first]["generation"]
            below = stages[first + 1]["switch_seq"] if first + 1 < len(stages) else NO_PIN
            found = [
                (block, seq)
                for seat in s.seats
                for g, block, seq in seat.checkpoints
                if g == generation and seq < below and block <= last_block
            ]
            if found or generation == 0:
                block, seq = max(found, default=(0, 0))
                return self._catch_up(block, seq, [stage["generation"] for stage in stages[first:]])
        return "no checkpoint"

    def _catch_up(self, block: int, applied: int, generations: list[int]) -> str:
        s, at = self.segment, 0
        until = self.head if self.run is not None else max(block, s.play_block)
        for k in range(block, until):
            for seq in range(applied + 1, s.journal[k] + 1):
                if seq <= s.newest - N_COMMANDS:
                    return "a record is gone"
                at += generations[at + 1 : at + 2] == [s.stream[seq - 1].switch_to]
            applied = max(applied, s.journal[k])
        left = generations[at + 1 :]
        if left and (self.run is not None or len(left) > 1 or all(r.switch_to != left[0] for r in s.stream[applied:])):
            return "its SWITCH was not met"
        self.armed = left[0] if left else None
        self._begin(generations[at], until, applied)
        return ""

    # its render thread
    def turn(self) -> None:
        s, seat = self.segment, self.sits
        if self.code is not None or self.is_stopped or seat is None or seat.is_shut:
            return
        seat.heartbeat += 1
        while self.run is not None:
            self._serve_checkpoint(s, seat)
            if self.is_lazy or self.head >= s.play_block + LEAD:
                break
            self._render(s, seat)

    def _serve_checkpoint(self, s: Segment, seat: Seat) -> None:
        assert self.run is not None
        generation, number = seat.request
        is_asked = number != self.served and generation == self.run
        is_due = self.head % CHECKPOINT_BLOCKS == 0 and (self.run, self.head) != getattr(self, "checked", None)
        if not is_asked and not is_due:
            return
        if is_asked:
            self.served = number
        if is_due:
            self.checked = (self.run, self.head)
        kind = "checkpoint" if is_asked or seat.is_keeper else "hash"
        if kind == "checkpoint":
            seat.checkpoints = [*seat.checkpoints[-1:], (self.run, self.head, self.applied)]
        s.tell(kind, self.sits_at, self.head, self.run, self.applied, hash=1)

    def _render(self, s: Segment, seat: Seat) -> None:
        upto = s.journal.setdefault(self.head, max(s.newest, self.applied))
        for seq in range(self.applied + 1, upto + 1):
            generation = s.stream[seq - 1].switch_to
            if generation and self.armed == generation:
                self.run, self.armed = generation, None
        self.applied = max(self.applied, upto)
        assert self.run is not None
        if self.head >= s.play_block:
            seat.ring[self.head] = self.run
        self.head += 1
        seat.generation, seat.applied, seat.render_head = self.run, self.applied, self.head


class Puppets:
    """The whole: a supervisor whose workers, callback and time are moved by the methods below."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.processes: list[Process] = []
        self.answers: list[list[Any]] = []
        self._patches = ExitStack()
        output = SimpleNamespace(frames=0, close=lambda: None)
        for patched in (
            patch.object(_native, "Segment", Segment),
            patch.object(_native, "Output", lambda segment: output),
            patch.object(_native, "Inbox", Inbox),
            patch("pyengine.supervisor.Recorder", lambda *given: SimpleNamespace(close=lambda: None)),
            patch("pyengine.supervisor.Listener", lambda *given: SimpleNamespace(close=lambda: None)),
            patch("pyengine.supervisor._limit_realtime", lambda: False),
            patch("pyengine.crew.spawn", self._spawn),
            *(patch.object(module, "time", self.clock) for module in (board, commits, crew, mending)),
        ):
            self._patches.enter_context(patched)
        self.supervisor = Supervisor(Options(device="free", **options), self.clock)  # type: ignore[arg-type]
        self.segment: Segment = self.supervisor.segment  # type: ignore[assignment]
        self.board, self.crew = self.supervisor.board, self.supervisor.crew
        self.mender, self.commits = self.supervisor.mender, self.supervisor.commits
        self.supervisor.start()
        self.supervisor.is_started = True
        self.n_made = 0

    def __enter__(self) -> Puppets:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._patches.close()

    def _spawn(self, segment: Any, priority: int) -> Process:
        self.processes.append(Process(segment, self.clock.now))
        return self.processes[-1]

    @property
    def living(self) -> list[Process]:
        return [p for p in self.processes if p.code is None]

    @property
    def seated(self) -> list[Process]:
        return [w for w in self.crew.workers if w is not None]  # type: ignore[misc]

    @property
    def states(self) -> list[State]:
        return [slot.state for slot in self.board.slots]

    @property
    def active(self) -> int:
        return self.states.index(State.ACTIVE)

    # ---- moves

    def deliver(self, process: Process) -> None:
        """Let the supervisor read one message of a worker."""
        if process.outbox and id(process.channel) in self.clock.watched:
            self.crew._receive(process, process.outbox.popleft())  # type: ignore[arg-type]
            self.clock.run()

    def notice(self, process: Process) -> None:
        """Let the supervisor see that a process has ended."""
        if process.is_gone:
            self.crew.dismiss(process, "died")  # type: ignore[arg-type]
            self.clock.run()

    def free(self, process: Process) -> None:
        """The kernel lets go of a process: a kill takes effect."""
        process.is_stuck = False
        if process.is_killed:
            process.die(-9)

    def signal(self) -> None:
        self.supervisor.on_signal()
        self.clock.run()

    def play(self, n_blocks: int = 1) -> None:
        for _ in range(n_blocks):
            for process in self.living:
                process.turn()
            self.segment.play()

    def wait(self, seconds: float) -> None:
        """Let time go by while no block is played."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + DT_S)
            for process in self.living:
                process.turn()
            self.clock.run()

    def go_on(self, *, is_played: bool = True) -> None:
        """20 ms in which everybody does what there is to do."""
        for process in self.processes:
            process.is_lazy = process.is_stopped = False
            self.free(process)
            while process.inbox and process.code is None:
                process.work()
            while process.outbox and id(process.channel) in self.clock.watched:
                self.deliver(process)
            if process.is_gone:
                self.notice(process)
        if is_played:
            self.play(2)
        self.signal()
        self.wait(DT_S)

    def rest(self, seconds: float = 40.0) -> None:
        """Let everybody do what there is to do until all is well, or for so long."""
        until = self.clock.now + seconds
        while self.clock.now < until and self.trouble():
            self.go_on()
        assert not self.trouble(), self.trouble()

    def trouble(self) -> str:
        """Return what is not as it is when all is well."""
        board, segment, last = self.board, self.segment, self.board.lineage.last
        states = sorted(slot.state.value for slot in board.slots)
        if states != (["active", "parked"] if board.is_cold else ["active", "replica"]):
            return f"slots are {states}"
        if self.commits.phase != "none" or self.commits.needs_standby:
            return f"a commit is {self.commits.phase}"
        if self.mender.is_mending or self.mender.is_on_probation or self.mender._joins:
            return "mending"
        if segment.pins != [NO_PIN, NO_PIN]:
            return f"pins {segment.pins}"
        if segment.heard_generation != last.generation:
            return f"heard is {segment.heard_generation}, committed {last.generation}"
        runs = {w.run for w in self.seated if board.slots[w.slot].state is not State.PARKED}
        if runs != {last.generation}:
            return f"rendered is {runs}, committed {last.generation}"
        if not all(self.answers):
            return f"{self.answers.count([])} commits have no answer"
        if len(self.living) != 3:
            return f"{len(self.living)} processes live"
        return ""

    # ---- what a user does

    def commit(self, module: str = "", command: Commit | Undo | None = None) -> list[Any]:
        """Add a module and commit; return the list that its answers come to."""
        if module:
            self.board.desk.edit(Create(module, "simple_sine"))
        answers: list[Any] = []
        self.answers.append(answers)
        try:
            self.commits.commit(command or Commit(), answers.append, self.clock.now)
        except EngineError as error:
            answers.append(error)
        self.clock.run()
        return answers

    def undo(self) -> list[Any]:
        return self.commit(command=Undo(allow_silence=True, discard=True))

    def abort(self) -> None:
        self.commits.abort()
        self.board.desk.edit(Abort())
        self.clock.run()

    def committed(self, module: str) -> dict[str, Any]:
        """Commit, until it is heard; return the report. What was under way before may still cost a try."""
        answers = self.commit(module)
        for _ in range(500):
            if answers and not isinstance(answers[0], CommitRefused):
                break
            if answers:
                answers = self.commit()
            self.go_on()
        assert answers and not isinstance(answers[0], CommitRefused), answers
        report: dict[str, Any] = answers[0]
        return report

    def let_go_of_records(self) -> None:
        """Send so many records that none is kept from now; all must find room."""
        for _ in range(3 * N_COMMANDS):
            self.supervisor.intake.send([Record(1, 0, 0.0)])
            self.go_on()
        for _ in range(20):
            self.go_on()
        assert self.supervisor.intake.is_clear, (self.segment.newest, self.segment.keep, self.segment.pins)

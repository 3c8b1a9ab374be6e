"""The supervisor in any order of events: there is always a way on, to two replicas of what was committed."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from puppets import Puppets

from pyengine.slots import State

WHO = st.integers(0, 5)
CODES = st.sampled_from([-9, -9, -9, -15, -11, 1])


def fresh(**options: Any) -> Puppets:
    """Return puppets at rest, with a worker in reserve."""
    puppets = Puppets(**options)
    puppets.rest()
    return puppets


def kill(puppets: Puppets, slot: int) -> None:
    process: Any = puppets.crew.workers[slot]
    process.die(-9)
    puppets.notice(process)


def until_switching(puppets: Puppets) -> None:
    """Let the workers answer until the SWITCH record has gone out; no block is played and no time goes by."""
    while not puppets.commits.is_switching:
        for process in puppets.living:
            process.work()
            puppets.deliver(process)


class Happenings(RuleBasedStateMachine):
    """Whatever happens, in whatever order: no step fails, and afterwards all is well again and stays usable."""

    def __init__(self) -> None:
        super().__init__()
        self.puppets: Puppets | None = None
        self.n_modules = 0

    @initialize(
        standby=st.sampled_from(["hot", "hot", "cold"]),
        probation_ms=st.sampled_from([0.0, 300.0, 60_000.0]),
    )
    def begin(self, standby: str, probation_ms: float) -> None:
        self.puppets = Puppets(standby=standby, probation_ms=probation_ms)
        for _ in range(50):
            self.p.go_on()
        self.add()

    @property
    def p(self) -> Puppets:
        assert self.puppets is not None
        return self.puppets

    def one(self, who: int) -> Any:
        """Seated ones first, then those in reserve or on their way out."""
        seated = self.p.seated
        others = [q for q in self.p.living if q not in seated]
        return (seated + others)[who % len(seated + others)] if seated + others else None

    # ---- what users do

    @rule()
    def add(self) -> None:
        self.n_modules += 1
        self.p.commit(f"m{self.n_modules}")

    @rule()
    def undo(self) -> None:
        self.p.undo()

    @rule()
    def abort(self) -> None:
        self.p.abort()

    @rule(n=st.integers(1, 20))
    def turn_a_knob(self, n: int) -> None:
        desk = self.p.board.desk
        for id in list(desk.committed.nodes)[:1]:
            for k in range(n):
                self.p.supervisor.intake.send(desk.set(id, "freq", 100.0 + k).sent)

    # ---- what processes do

    @rule(who=WHO, n=st.integers(1, 12), fate=st.sampled_from(["well", "well", "well", "fails", "stuck"]))
    def work(self, who: int, n: int, fate: str) -> None:
        if process := self.one(who):
            for _ in range(n - 1):
                process.work()
            process.work(fate)

    @rule(who=WHO)
    def deliver(self, who: int) -> None:
        if process := self.one(who):
            self.p.deliver(process)

    @rule(who=WHO, code=CODES, is_noticed=st.booleans())
    def die(self, who: int, code: int, is_noticed: bool) -> None:
        if process := self.one(who):
            process.die(code)
            if is_noticed:
                self.p.notice(process)

    @rule(code=CODES)
    def both_die(self, code: int) -> None:
        for process in self.p.seated:
            process.die(code)

    @rule()
    def notice(self) -> None:
        for process in list(self.p.processes):
            self.p.notice(process)

    @rule(who=WHO, fate=st.sampled_from(["is_stopped", "is_stuck", "is_lazy"]))
    def hang(self, who: int, fate: str) -> None:
        if process := self.one(who):
            setattr(process, fate, True)
            process.is_stopped |= fate == "is_stuck"

    @rule(who=WHO)
    def let_go(self, who: int) -> None:
        if process := self.one(who):
            process.is_lazy = process.is_stopped = False
            self.p.free(process)

    # ---- what time does

    @rule(n=st.integers(1, 8))
    def play(self, n: int) -> None:
        self.p.play(n)

    @rule()
    def signal(self) -> None:
        self.p.signal()

    @rule(seconds=st.sampled_from([0.02, 0.04, 0.12, 0.4, 1.1, 2.1, 5.1]))
    def wait(self, seconds: float) -> None:
        self.p.wait(seconds)

    @rule(n=st.integers(1, 10))
    def go_on(self, n: int) -> None:
        for _ in range(n):
            self.p.go_on()

    # ---- what holds

    @invariant()
    def one_slot_is_heard_at_most(self) -> None:
        if self.puppets:
            assert sum(slot.state is State.ACTIVE for slot in self.p.board.slots) <= 1

    @invariant()
    def who_joins_is_joining(self) -> None:
        if self.puppets:
            for slot in self.p.mender._joins:
                assert self.p.board.slots[slot].state is State.JOINING

    @invariant()
    def the_committed_patch_is_the_last_one_of_the_lineage(self) -> None:
        if self.puppets:
            committed, last = self.p.board.desk.committed, self.p.board.lineage.last
            assert committed.structure() == last.patch.structure()

    def teardown(self) -> None:
        if self.puppets is None:
            return
        try:
            self.end()
        finally:
            self.p.close()

    def end(self) -> None:
        p = self.p
        p.rest(200)  # a probation may last a minute
        p.committed("last1")
        p.rest(200)
        p.let_go_of_records()
        p.rest(200)


TestHappenings = Happenings.TestCase
TestHappenings.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


# ---- one way after another


def test_an_undo_that_waits_while_its_patch_is_rolled_back_is_refused() -> None:
    with fresh(probation_ms=300.0) as puppets:
        puppets.committed("a")
        kill(puppets, puppets.active)
        answers = puppets.undo()  # waits: the patch is brought back
        while State.READY not in puppets.states:
            puppets.go_on(is_played=False)
        kill(puppets, puppets.states.index(State.READY))
        assert puppets.mender.rollbacks == 1
        puppets.rest()
        assert answers[0].reason == "rolled back" and not puppets.board.desk.committed.nodes
        puppets.committed("b")
        puppets.rest()


def on_probation(puppets: Puppets) -> None:
    puppets.committed("a")
    for _ in range(10):
        puppets.go_on()  # both slots write checkpoints, each of its own patch
    assert sorted(s.value for s in puppets.states) == ["active", "probation"]


def test_both_workers_killed_on_probation_leave_no_trace_behind_them() -> None:
    """The successor brings the new patch at once: no patch before to swap from, no record kept for it."""
    with fresh(probation_ms=60_000.0) as puppets:
        on_probation(puppets)
        opening = puppets.segment.opening
        kill(puppets, puppets.active)
        kill(puppets, puppets.active)
        puppets.rest(10)
        assert puppets.segment.opening == opening and puppets.mender.rollbacks == 0
        puppets.let_go_of_records()


def test_both_workers_killed_on_probation_with_none_in_reserve_end_it_too() -> None:
    with fresh(probation_ms=60_000.0) as puppets:
        on_probation(puppets)
        (reserve,) = puppets.crew.reserves
        reserve.is_ready = False
        kill(puppets, puppets.active)
        kill(puppets, puppets.active)
        reserve.is_ready = True
        puppets.supervisor._settle()
        puppets.rest(10)
        puppets.let_go_of_records()


def test_a_patch_that_came_back_and_took_over_is_not_rolled_back_by_a_death_beside_it() -> None:
    with fresh(probation_ms=60_000.0) as puppets:
        on_probation(puppets)
        kill(puppets, puppets.active)
        while State.READY not in puppets.states:
            puppets.go_on(is_played=False)
        kill(puppets, puppets.active)  # the last one with the patch before
        puppets.go_on()
        kill(puppets, 1 - puppets.active) if State.DEAD not in puppets.states else None
        puppets.rest(10)
        assert puppets.mender.rollbacks == 0 and list(puppets.board.desk.committed.nodes) == ["a"]


def test_a_commit_ends_the_second_probation_of_a_patch_that_came_back() -> None:
    with fresh(probation_ms=60_000.0) as puppets:
        on_probation(puppets)
        kill(puppets, puppets.active)
        while State.PROBATION not in puppets.states:
            puppets.go_on()
        assert puppets.mender.is_on_probation
        puppets.committed("b")


def test_a_restarted_patch_whose_workers_die_before_its_first_checkpoint_is_restarted_again() -> None:
    with fresh() as puppets:
        puppets.committed("a")
        puppets.rest()
        while not puppets.mender.restarts:  # a command kills them, say
            for process in puppets.seated:
                process.die(-11)
                puppets.notice(process)
        while State.ACTIVE not in puppets.states:
            puppets.go_on(is_played=False)
        first = puppets.board.lineage.last.generation
        for seat in puppets.segment.seats:
            seat.checkpoints = [c for c in seat.checkpoints if c[0] != first]
        for process in puppets.seated:
            process.die(-9)
        for process in puppets.processes:
            puppets.notice(process)
        puppets.rest(10)
        assert list(puppets.board.desk.committed.nodes) == ["a"]
        assert puppets.board.lineage.last.generation > first and puppets.mender.restarts == 1


def test_after_a_commit_that_was_refused_as_late_both_slots_are_replicas_again() -> None:
    with fresh() as puppets:
        answers = puppets.commit("a")
        until_switching(puppets)
        puppets.wait(2.5)  # the output stands still
        assert answers[0].reason == "late"
        puppets.rest(3)


def test_a_slot_that_took_over_and_turned_to_a_patch_refused_as_late_is_not_heard_with_it() -> None:
    with fresh() as puppets:
        puppets.committed("a")
        puppets.rest()
        answers = puppets.commit("b")
        until_switching(puppets)
        kill(puppets, puppets.active)
        puppets.wait(2.5)  # the output stands still
        assert answers[0].reason == "late"
        puppets.rest(5)
        assert puppets.segment.heard_generation == 1


def test_a_slot_whose_joiner_died_and_that_gets_no_other_holds_up_no_records() -> None:
    with fresh() as puppets:
        puppets.committed("a")
        puppets.rest()
        standby = 1 - puppets.active
        puppets.crew.refill = lambda: None  # type: ignore[method-assign]
        kill(puppets, standby)
        kill(puppets, standby)  # the one in reserve had the slot
        assert puppets.states[standby] is State.DEAD
        puppets.let_go_of_records()


def test_a_fault_of_long_ago_does_not_make_a_patch_poison_when_both_workers_are_killed() -> None:
    with fresh() as puppets:
        puppets.committed("a")
        puppets.rest()
        fault: Any = puppets.crew.workers[1 - puppets.active]
        fault.die(-11)
        puppets.notice(fault)
        puppets.rest()
        for _ in range(20):
            puppets.go_on()
        for process in puppets.seated:
            process.die(-9)
        puppets.rest()
        assert puppets.mender.restarts == 0 and puppets.board.lineage.last.generation == 1


def test_what_kills_its_worker_while_it_is_primed_is_not_held_against_what_plays() -> None:
    with fresh() as puppets:
        puppets.committed("a")
        puppets.rest()
        puppets.commit("b")
        standby: Any = puppets.crew.workers[1 - puppets.active]
        assert State.PRIMING in puppets.states
        standby.die(-11)
        puppets.segment.build_marker = lambda slot: 2  # type: ignore[method-assign]
        puppets.notice(standby)
        puppets.segment.build_marker = puppets.segment.marker  # type: ignore[method-assign]
        for process in puppets.seated:
            process.die(-9)
        puppets.rest()
        assert puppets.mender.restarts == 0 and list(puppets.board.desk.committed.nodes) == ["a"]


def test_a_patch_that_is_to_come_back_lets_a_paused_clock_play_on() -> None:
    with fresh(probation_ms=60_000.0) as puppets:
        on_probation(puppets)
        kill(puppets, puppets.active)
        while State.READY not in puppets.states:
            puppets.go_on(is_played=False)
        assert puppets.supervisor.needs_blocks
        puppets.go_on()
        assert State.PROBATION in puppets.states and puppets.segment.heard_generation == 1

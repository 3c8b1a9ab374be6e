"""Starting, seating and ending workers: what is used again only when, and that no fault ends it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from puppets import N_SEATS, Process, Puppets

from pyengine import crew
from pyengine.crew import FALSE_STARTS_ALLOWED, PAUSE_S, cause_of, is_fault
from pyengine.slots import State


@pytest.fixture
def puppets() -> Any:
    with Puppets() as puppets:
        puppets.rest()
        puppets.committed("a")
        puppets.rest()
        yield puppets


def hang(process: Process) -> None:
    """No kill takes effect until `free`."""
    process.is_stopped = process.is_stuck = True


def go_on(puppets: Puppets, seconds: float) -> None:
    """Everybody goes on but those that hang."""
    until = puppets.clock.now + seconds
    while puppets.clock.now < until:
        for process in puppets.living:
            while process.inbox and not process.is_stopped:
                process.work()
            puppets.deliver(process)
        puppets.play(2)
        puppets.signal()
        puppets.wait(0.02)


def test_a_seat_is_used_again_only_when_its_process_is_gone(puppets: Puppets) -> None:
    worker = puppets.seated[0]
    hang(worker)
    puppets.crew.dismiss(worker, "stalled")  # type: ignore[arg-type]
    assert puppets.segment.playable[0] == -2 and worker.is_killed
    assert worker.seat not in puppets.crew._free_seats and puppets.states[0] is State.DEAD
    puppets.wait(0.5)
    assert puppets.crew.workers[0] is None  # the slot waits for the end
    puppets.free(worker)
    puppets.wait(0.1)
    assert puppets.crew.workers[0] is not None and puppets.segment.seat(0) == worker.seat


def test_a_kill_that_is_not_confirmed_in_time_leaves_its_seat_alone(puppets: Puppets) -> None:
    worker = puppets.seated[0]
    hang(worker)
    puppets.crew.dismiss(worker, "stalled")  # type: ignore[arg-type]
    go_on(puppets, 1.5)
    assert puppets.segment.seat(0) == 2 and puppets.mender.is_redundant
    assert puppets.crew._free_seats == []
    puppets.free(worker)
    go_on(puppets, 0.2)
    assert puppets.crew._free_seats == [worker.seat]
    puppets.rest()


def test_a_slot_for_which_there_was_no_seat_gets_one_when_a_process_ends_at_last(puppets: Puppets) -> None:
    first, second = puppets.seated
    for worker in (first, second):
        hang(worker)
        puppets.crew.dismiss(worker, "stalled")  # type: ignore[arg-type]
    puppets.clock.run()
    go_on(puppets, 3)
    assert sorted(s.value for s in puppets.states) == ["active", "dead"]
    puppets.free(first)
    go_on(puppets, 1)
    assert puppets.mender.is_redundant
    puppets.free(second)
    puppets.wait(0.1)
    puppets.rest()
    assert len(puppets.crew._free_seats) == N_SEATS - 2


def test_a_process_that_ends_while_it_is_given_up_leaves_its_seat_free(puppets: Puppets) -> None:
    worker = puppets.seated[0]
    hang(worker)
    puppets.crew.dismiss(worker, "stalled")  # type: ignore[arg-type]
    puppets.wait(0.9)
    until, looks = puppets.clock.now + 0.1, []

    def is_gone(self: Process) -> bool:  # not yet in the last look, but right behind it
        looks.extend([1] if self is worker and puppets.clock.now >= until else [])
        return len(looks) > 1 if self is worker else self.code is not None

    with patch.object(Process, "is_gone", property(is_gone)):
        puppets.wait(0.2)
    worker.die(-9)
    puppets.rest()
    assert len(puppets.crew._free_seats) == N_SEATS - 2 and puppets.crew._ending == []


def test_a_worker_that_cannot_be_started_is_tried_again(puppets: Puppets, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> Any:
        raise OSError("no process left")

    spawn = crew.spawn
    monkeypatch.setattr(crew, "spawn", fail)
    for process in puppets.seated:
        process.die(-9)
        puppets.notice(process)
    puppets.wait(3.5)
    monkeypatch.setattr(crew, "spawn", spawn)
    puppets.rest()


def test_workers_that_die_before_they_are_of_use_are_followed_by_a_pause(puppets: Puppets) -> None:
    n_before = len(puppets.processes)
    for _ in range(FALSE_STARTS_ALLOWED + 1):
        (reserve,) = puppets.crew.reserves
        reserve.die(1)  # type: ignore[attr-defined]
        puppets.notice(reserve)  # type: ignore[arg-type]
    assert puppets.crew.reserves == [] and len(puppets.processes) == n_before + FALSE_STARTS_ALLOWED
    puppets.wait(PAUSE_S + 0.1)
    assert len(puppets.crew.reserves) == 1
    puppets.rest()


def test_joiners_that_die_one_after_another_are_followed_by_a_pause(puppets: Puppets) -> None:
    n_before = len(puppets.processes)
    for _ in range(200):  # 4 s
        for process in puppets.seated:
            if process.slot != puppets.active and any(m["type"] == "join" for m in process.inbox):
                process.die(-11)
                puppets.notice(process)
        go_on(puppets, 0.01)
    assert len(puppets.processes) - n_before <= FALSE_STARTS_ALLOWED + 6
    assert puppets.states.count(State.ACTIVE) == 1


def test_closing_ends_all_of_them_and_starts_no_other(puppets: Puppets) -> None:
    n_before = len(puppets.processes)
    puppets.crew.close()
    assert all({"type": "stop"} in process.inbox for process in puppets.living)
    assert puppets.crew.workers == [None, None] and puppets.crew.reserves == []
    puppets.wait(2)
    assert len(puppets.processes) == n_before


def test_a_fault_is_told_from_a_kill() -> None:
    assert [is_fault(code) for code in (-11, -6, 0, 3)] == [True] * 4
    assert [is_fault(code) for code in (-9, -15, None)] == [False] * 3
    assert cause_of(-11) == "died of SIGSEGV" and cause_of(3) == "ended with code 3"
    assert cause_of(None) == "was given up while it still ran" and cause_of(-250) == "died of signal 250"

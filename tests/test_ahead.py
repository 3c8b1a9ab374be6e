"""A commit on probation is sent to the standby behind the join that it needs, before that has been answered."""

from __future__ import annotations

from typing import Any

from puppets import Puppets
from test_mending import kill, on_probation

from pyengine.commands import Create
from pyengine.slots import State
from pyengine.worker import NOT_IN_STEP

SENT = ["join", "abort", "build", "commit", "prime"]


def begun_on_probation() -> tuple[Puppets, Any, list[Any]]:
    """Return puppets on probation with a commit just asked for, the worker that is to prime it, and its answers."""
    puppets = Puppets(probation_ms=60_000.0)
    puppets.rest()
    on_probation(puppets)
    answers = puppets.commit("b")
    worker: Any = puppets.crew.workers[1 - puppets.active]
    return puppets, worker, answers


def work_all(puppets: Puppets, worker: Any, fate: str = "well") -> None:
    while worker.inbox:
        worker.work(fate)


def test_join_and_priming_are_sent_together_and_answered_one_after_the_other() -> None:
    puppets, worker, answers = begun_on_probation()
    with puppets:
        assert [message["type"] for message in worker.inbox] == SENT
        assert State.JOINING in puppets.states and puppets.commits.phase == "waiting"
        work_all(puppets, worker)
        assert [message["type"] for message in worker.outbox] == ["joined", "primed"]
        puppets.deliver(worker)
        assert State.PRIMING in puppets.states and not worker.inbox  # nothing more to be sent
        puppets.deliver(worker)
        assert puppets.commits.is_switching
        puppets.rest(100)
        assert answers[0]["generation"] == worker.built
        assert list(puppets.board.desk.committed.nodes) == ["a", "b"]


def test_a_commit_whose_join_failed_is_not_refused_but_primed_behind_the_next_one() -> None:
    puppets, worker, answers = begun_on_probation()
    with puppets:
        worker.work("fails")
        work_all(puppets, worker)
        assert worker.outbox[-1]["reason"] == NOT_IN_STEP and worker.armed is None
        puppets.deliver(worker)
        puppets.deliver(worker)
        assert not answers and [message["type"] for message in worker.inbox] == SENT
        puppets.rest(100)
        assert answers[0]["generation"] > 0 and list(puppets.board.desk.committed.nodes) == ["a", "b"]


def test_an_abort_takes_back_what_was_sent_ahead_whether_it_was_primed_or_not() -> None:
    for is_primed in (False, True):
        puppets, worker, answers = begun_on_probation()
        with puppets:
            if is_primed:
                work_all(puppets, worker)
            puppets.abort()
            assert answers[0].reason == "aborted"
            puppets.board.desk.edit(Create("c", "simple_sine"))
            answers = puppets.commit()
            puppets.rest(100)
            assert answers[0]["new"] == ["c"] and worker.armed is None


def test_a_standby_that_dies_with_what_was_sent_ahead_costs_no_refusal() -> None:
    puppets, _, answers = begun_on_probation()
    with puppets:
        kill(puppets, 1 - puppets.active)
        puppets.rest(100)
        assert answers[0]["new"] == ["b"]


def test_a_joiner_that_takes_over_does_not_keep_what_was_sent_ahead() -> None:
    """The slot that is heard must not turn at the SWITCH: the other one is to."""
    puppets, worker, answers = begun_on_probation()
    with puppets:
        slot = worker.slot
        kill(puppets, 1 - slot)
        work_all(puppets, worker)
        puppets.deliver(worker)
        assert puppets.board.slots[slot].state is State.ACTIVE
        puppets.deliver(worker)
        work_all(puppets, worker)
        assert worker.armed is None
        until_switching_of_another(puppets, worker)
        puppets.rest(100)
        assert answers[0]["new"] == ["b"]


def until_switching_of_another(puppets: Puppets, worker: Any) -> None:
    for _ in range(50):
        puppets.go_on()
        if puppets.commits.is_switching or puppets.commits.phase == "none":
            break
    assert puppets.commits.phase == "none" or puppets.crew.workers[puppets.commits._attempt.slot] is not worker  # type: ignore[union-attr]

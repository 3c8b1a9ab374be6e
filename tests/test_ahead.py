"""What is done before it must be: a commit is sent behind the join that it needs, and plans are built while a patch is
edited.
"""

from __future__ import annotations

from typing import Any

from puppets import Puppets
from rig import Rig
from test_mending import fresh, kill, on_probation

from pyengine import Patch
from pyengine.commands import Connect, Create
from pyengine.commits import FORESEEN_S
from pyengine.lineage import Stage
from pyengine.plan import Blueprint
from pyengine.slots import State
from pyengine.worker import NOT_IN_STEP, Builder

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


# ---- built while the patch is edited


def edit(puppets: Puppets, *commands: Create | Connect) -> list[str]:
    """Edit as a client does; return what the standby's worker is asked for a moment later."""
    for command in commands:
        puppets.board.desk.edit(command)
        puppets.commits.edited()
    puppets.wait(2 * FORESEEN_S)
    worker: Any = puppets.crew.workers[1 - puppets.active]
    return [message["type"] for message in worker.inbox]


def test_edits_that_come_together_are_built_ahead_once() -> None:
    with fresh() as puppets:
        assert edit(puppets, Create("a", "simple_sine"), Create("b", "adsr"), Connect("a", "b")) == ["prepare"]


def test_a_patch_that_could_not_be_committed_is_not_built_ahead() -> None:
    with fresh() as puppets:
        assert edit(puppets, Create("a", "adsr"), Create("b", "adsr"), Connect("a", "b"), Connect("b", "a")) == []


def test_on_probation_the_standby_gets_what_its_join_needs_and_the_join_asks_for_nothing_more() -> None:
    with fresh(probation_ms=60_000.0) as puppets:
        on_probation(puppets)
        seat = puppets.segment.at(puppets.active)
        before = seat.request
        puppets.mender.block_cpu_ns = 1000.0
        assert edit(puppets, Create("b", "simple_sine")) == ["prepare_join", "prepare"]
        assert seat.request != before
        asked = seat.request
        puppets.play()
        puppets.commit()
        assert seat.request == asked
        puppets.rest(100)


def test_a_worker_takes_the_plan_that_it_built_ahead_whatever_was_set_since_but_no_other() -> None:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").connect("osc1", "env1")
    with Rig() as rig:
        builder = Builder(rig.segment, 0)
        builder.prepare({"blueprint": Blueprint.of(patch)})
        assert builder._prepared is not None
        plan = builder._prepared[1]
        builder.build({"blueprint": Blueprint.of(patch.copy().disconnect("osc1", "env1"))})
        builder.commit({"generation": 1})
        assert builder._plan is not plan
        patch.set("osc1", "freq", 330.0)
        builder.build({"blueprint": Blueprint.of(patch)})
        builder.commit({"generation": 2})
        assert builder._plan is plan and builder._prepared is None
        builder.close()


def test_a_join_that_was_built_ahead_starts_from_the_same_checkpoint() -> None:
    with Rig(checkpoint_blocks=16) as rig:
        rig.segment.set_keeper(0, True)
        rig.advance(64 * 100)
        stage = Stage.of(0, Patch())
        builder = Builder(rig.segment, 0)
        builder._worker = rig.workers[1]
        builder.prepare_join({"generation": 0, "blueprint": stage.blueprint})
        assert builder._prepared_join is not None
        prepared = builder._prepared_join[1]
        message = {"stages": [stage.to_message()], "is_alone": False}
        join, found = builder._chain(message), rig.segment.checkpoint(0)
        assert join is prepared and found is not None and join.block == found[0]
        another = builder._chain(message)
        assert another is not prepared
        join.close()
        another.close()
        builder._worker = None

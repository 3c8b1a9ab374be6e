from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyengine.slots import Happening, Slot, SlotError, State, next_state

# The design's picture, written down a second time: where each happening may find a slot, and leave it.
LEGAL: dict[Happening, dict[State, State]] = {
    Happening.SPAWNED: {State.RESERVE: State.STARTING, State.DEAD: State.STARTING},
    Happening.SAID_HELLO: {State.STARTING: State.JOINING},
    Happening.IN_STEP: {State.JOINING: State.REPLICA},
    Happening.COMMIT: {State.REPLICA: State.PRIMING, State.JOINING: State.PRIMING},
    Happening.PRIMED: {State.PRIMING: State.READY},
    Happening.REFUSED: {State.PRIMING: State.REPLICA},
    Happening.MISSED: {State.READY: State.JOINING},
    Happening.SWAPPED_IN: {State.READY: State.ACTIVE},
    Happening.SWAPPED_OUT: {State.ACTIVE: State.PROBATION},
    Happening.TOOK_OVER: dict.fromkeys(
        (State.JOINING, State.REPLICA, State.PRIMING, State.READY, State.PROBATION), State.ACTIVE
    ),
    Happening.LEFT: {State.ACTIVE: State.JOINING},
    Happening.JOIN: {State.REPLICA: State.JOINING, State.PROBATION: State.JOINING},
    Happening.DIED: {state: State.DEAD for state in State if state is not State.RESERVE},
}


class Slots(RuleBasedStateMachine):
    """Anything may happen at any time; only what the picture has changes a slot."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = Slot(0)
        self.expected = State.RESERVE

    @rule(happening=st.sampled_from(Happening), generation=st.none() | st.integers(0, 2**40))
    def happens(self, happening: Happening, generation: int | None) -> None:
        before = self.slot
        allowed = LEGAL[happening]
        if self.expected in allowed:
            self.expected = allowed[self.expected]
            self.slot = before.after(happening, generation)
            assert self.slot.generation == (before.generation if generation is None else generation)
        else:
            with pytest.raises(SlotError, match=f"{before.state.value} cannot take '{happening.value}'"):
                before.after(happening, generation)
            assert self.slot == before

    @rule()
    def steps_towards_being_heard(self) -> None:
        """The shortest way on, so that all states are met."""
        way = {
            State.RESERVE: Happening.SPAWNED,
            State.DEAD: Happening.SPAWNED,
            State.STARTING: Happening.SAID_HELLO,
            State.JOINING: Happening.IN_STEP,
            State.REPLICA: Happening.COMMIT,
            State.PRIMING: Happening.PRIMED,
            State.READY: Happening.SWAPPED_IN,
            State.ACTIVE: Happening.SWAPPED_OUT,
            State.PROBATION: Happening.JOIN,
        }
        self.happens(way[self.slot.state], None)

    @invariant()
    def is_where_the_picture_says(self) -> None:
        assert self.slot.state is self.expected
        assert (self.slot.index, self.slot.other) == (0, 1)
        is_process_there = self.slot.state not in (State.RESERVE, State.STARTING, State.DEAD)
        assert self.slot.is_alive == is_process_there


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_of_all_pairs_of_state_and_happening_exactly_the_legal_ones_are_accepted() -> None:
    accepted = set()
    for state in State:
        for happening in Happening:
            with suppress(SlotError):
                accepted.add((state, happening, next_state(state, happening)))
    assert accepted == {(s, h, to) for h, row in LEGAL.items() for s, to in row.items()}


def test_a_slot_in_reserve_cannot_die_and_a_fault_says_what_was_tried() -> None:
    with pytest.raises(SlotError, match="a slot that is reserve cannot take 'died'"):
        next_state(State.RESERVE, Happening.DIED)

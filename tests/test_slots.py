from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyengine.slots import Happening, Slot, SlotError, State, next_state

# The design's picture, written down a second time: where each happening may find a slot, and leave it.
LEGAL: dict[Happening, dict[State, State]] = {
    Happening.HIRED: {State.DEAD: State.JOINING},
    Happening.IN_STEP: {State.JOINING: State.REPLICA},
    Happening.PARK: dict.fromkeys((State.JOINING, State.REPLICA), State.PARKED),
    Happening.COMMIT: {State.REPLICA: State.PRIMING},
    Happening.PRIMED: {State.PRIMING: State.READY, State.JOINING: State.READY},
    Happening.REFUSED: {State.PRIMING: State.REPLICA},
    Happening.MISSED: {State.READY: State.JOINING},
    Happening.SWAPPED_IN: {State.READY: State.ACTIVE},
    Happening.SWAPPED_OUT: {State.ACTIVE: State.PROBATION},
    Happening.TOOK_OVER: dict.fromkeys(
        (State.JOINING, State.REPLICA, State.PRIMING, State.READY, State.PROBATION), State.ACTIVE
    ),
    Happening.LEFT: {State.ACTIVE: State.JOINING},
    Happening.JOIN: dict.fromkeys((State.REPLICA, State.PROBATION, State.PARKED), State.JOINING),
    Happening.DIED: {state: State.DEAD for state in State if state is not State.DEAD},
}


class Slots(RuleBasedStateMachine):
    """Anything may happen at any time; only what the picture has changes a slot."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = Slot(0)
        self.expected = State.DEAD

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
            State.DEAD: Happening.HIRED,
            State.PARKED: Happening.JOIN,
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
        assert self.slot.is_alive == (self.slot.state is not State.DEAD)
        assert not self.slot.is_replica or self.slot.is_alive


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_of_all_pairs_of_state_and_happening_exactly_the_legal_ones_are_accepted() -> None:
    accepted = set()
    for state in State:
        for happening in Happening:
            with suppress(SlotError):
                accepted.add((state, happening, next_state(state, happening)))
    assert accepted == {(s, h, to) for h, row in LEGAL.items() for s, to in row.items()}


def test_a_slot_without_a_worker_cannot_die_and_a_fault_says_what_was_tried() -> None:
    with pytest.raises(SlotError, match="a slot that is dead cannot take 'died'"):
        next_state(State.DEAD, Happening.DIED)

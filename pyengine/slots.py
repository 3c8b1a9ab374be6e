"""The state machine of a slot: pure, no clock, no I/O.

reserve -> starting -> joining -> replica -> priming -> ready -> active -> probation -> joining
                                                             (and from everywhere: dead -> starting)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from pyengine.errors import EngineError


class State(Enum):
    """What a slot is to the engine. active: heard; replica: renders the same blocks and could be heard."""

    RESERVE = "reserve"  # no process
    STARTING = "starting"  # a process that has not said hello
    JOINING = "joining"  # renders, but not (yet) what the active slot renders
    REPLICA = "replica"
    PRIMING = "priming"  # a replica beside which a new plan is built and warmed up
    READY = "ready"  # ... and armed: it turns at the SWITCH record
    ACTIVE = "active"
    PROBATION = "probation"  # was active before a swap; renders the patch before this one
    DEAD = "dead"


class Happening(Enum):
    """What may happen to a slot."""

    SPAWNED = "spawned"
    SAID_HELLO = "said hello"
    IN_STEP = "in step"  # renders the active slot's blocks
    COMMIT = "commit"
    PRIMED = "primed"
    REFUSED = "refused"  # the commit came to nothing, the running plan was not touched
    MISSED = "missed"  # it turned to a plan that is not heard
    SWAPPED_IN = "swapped in"
    SWAPPED_OUT = "swapped out"
    TOOK_OVER = "took over"  # the other one died or stayed behind
    LEFT = "left"  # stayed behind, and is not heard any more
    JOIN = "join"
    DIED = "died"


class SlotError(EngineError, RuntimeError):
    """A transition that must not be: a fault of ours."""


_S, _H = State, Happening
_NEXT: dict[tuple[State, Happening], State] = {
    (_S.RESERVE, _H.SPAWNED): _S.STARTING,
    (_S.DEAD, _H.SPAWNED): _S.STARTING,
    (_S.STARTING, _H.SAID_HELLO): _S.JOINING,
    (_S.JOINING, _H.IN_STEP): _S.REPLICA,
    (_S.JOINING, _H.TOOK_OVER): _S.ACTIVE,
    (_S.JOINING, _H.COMMIT): _S.PRIMING,  # after a double death: the patch is committed anew on it
    (_S.REPLICA, _H.COMMIT): _S.PRIMING,
    (_S.REPLICA, _H.TOOK_OVER): _S.ACTIVE,
    (_S.REPLICA, _H.JOIN): _S.JOINING,
    (_S.PRIMING, _H.PRIMED): _S.READY,
    (_S.PRIMING, _H.REFUSED): _S.REPLICA,
    (_S.PRIMING, _H.TOOK_OVER): _S.ACTIVE,
    (_S.READY, _H.SWAPPED_IN): _S.ACTIVE,
    (_S.READY, _H.MISSED): _S.JOINING,
    (_S.READY, _H.TOOK_OVER): _S.ACTIVE,
    (_S.ACTIVE, _H.SWAPPED_OUT): _S.PROBATION,
    (_S.ACTIVE, _H.LEFT): _S.JOINING,
    (_S.PROBATION, _H.JOIN): _S.JOINING,
    (_S.PROBATION, _H.TOOK_OVER): _S.ACTIVE,
}


def next_state(state: State, happening: Happening) -> State:
    """Return the state after a happening. Raises SlotError for one that must not happen in this state."""
    if happening is Happening.DIED and state is not State.RESERVE:
        return State.DEAD
    try:
        return _NEXT[state, happening]
    except KeyError:
        raise SlotError(f"a slot that is {state.value} cannot take {happening.value!r}") from None


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as the supervisor sees it. generation: what it renders or is to render."""

    index: int
    state: State = State.RESERVE
    generation: int = 0

    @property
    def is_alive(self) -> bool:
        return self.state not in (State.RESERVE, State.STARTING, State.DEAD)

    @property
    def other(self) -> int:
        return 1 - self.index

    def after(self, happening: Happening, generation: int | None = None) -> Slot:
        """Return the slot after a happening, of another generation where one is given."""
        kept = self.generation if generation is None else generation
        return replace(self, state=next_state(self.state, happening), generation=kept)

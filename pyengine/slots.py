"""The state machine of a slot: pure, no clock, no I/O.

dead -> joining -> replica -> priming -> ready -> active -> probation -> joining
                     parked (standby cold) -> joining         (and from everywhere: dead)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from pyengine.errors import EngineError


class State(Enum):
    """What a slot is to the engine. active: heard; replica: renders the same blocks and could be heard."""

    DEAD = "dead"  # no worker
    JOINING = "joining"  # a worker that does not (yet) render what is to be heard
    REPLICA = "replica"
    PARKED = "parked"  # a worker that renders nothing, where the standby is cold
    PRIMING = "priming"  # a replica beside which a new plan is built and warmed up
    READY = "ready"  # ... and armed: it turns at the SWITCH record
    ACTIVE = "active"
    PROBATION = "probation"  # was active before a swap; renders the patch before this one


class Happening(Enum):
    """What may happen to a slot."""

    HIRED = "hired"  # got a worker
    IN_STEP = "in step"  # renders the active slot's blocks
    PARK = "park"
    COMMIT = "commit"
    PRIMED = "primed"  # or: joined what is to be heard again
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
    (_S.DEAD, _H.HIRED): _S.JOINING,
    (_S.JOINING, _H.IN_STEP): _S.REPLICA,
    (_S.JOINING, _H.TOOK_OVER): _S.ACTIVE,
    (_S.JOINING, _H.PRIMED): _S.READY,
    (_S.JOINING, _H.PARK): _S.PARKED,
    (_S.PARKED, _H.JOIN): _S.JOINING,
    (_S.REPLICA, _H.PARK): _S.PARKED,
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
    if happening is Happening.DIED and state is not State.DEAD:
        return State.DEAD
    try:
        return _NEXT[state, happening]
    except KeyError:
        raise SlotError(f"a slot that is {state.value} cannot take {happening.value!r}") from None


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot as the supervisor sees it. generation: what it renders or is to render."""

    index: int
    state: State = State.DEAD
    generation: int = 0

    @property
    def is_alive(self) -> bool:
        return self.state is not State.DEAD

    @property
    def is_replica(self) -> bool:
        """True when it renders what the active slot renders, and could be heard."""
        return self.state in (State.REPLICA, State.PRIMING, State.READY)

    @property
    def other(self) -> int:
        return 1 - self.index

    def after(self, happening: Happening, generation: int | None = None) -> Slot:
        """Return the slot after a happening, of another generation where one is given."""
        kept = self.generation if generation is None else generation
        return replace(self, state=next_state(self.state, happening), generation=kept)

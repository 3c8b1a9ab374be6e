"""Which patches the sound has come through: what a worker needs to render from a checkpoint to now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyengine.patch import Patch
from pyengine.plan import Blueprint


@dataclass(frozen=True, slots=True)
class Restart:
    """Where a generation begins that no SWITCH record leads to. source: the generation whose checkpoint gave it its
    states, at block source_block; None where it began fresh. base: the newest record it skips."""

    block: int
    base: int
    source: int | None = None
    source_block: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """A generation: the patch as it was primed, which nobody changes any more, and the frames of its crossfade."""

    generation: int
    patch: Patch
    blueprint: Blueprint
    fade_frames: int = 0
    switch_seq: int = 0  # number of the SWITCH record that led to it
    restart: Restart | None = None

    @classmethod
    def of(cls, generation: int, patch: Patch, fade_frames: int = 0, switch_seq: int = 0) -> Stage:
        """Return the stage of a patch as it is now."""
        return cls(generation, patch.copy(), Blueprint.of(patch), fade_frames, switch_seq)

    def to_message(self) -> dict[str, Any]:
        """Return what a worker builds it from, values and all."""
        return {
            "generation": self.generation,
            "messages": self.build_messages(),
            "fade_frames": self.fade_frames,
            "switch_seq": self.switch_seq,
        }

    def build_messages(self) -> list[dict[str, Any]]:
        """Return the messages that make a worker build it from nothing: as many for any number of nodes."""
        return [
            {"type": "abort"},
            {"type": "build", "blueprint": self.blueprint},
            {"type": "commit", "generation": self.generation},
        ]


class Lineage:
    """The stages in the order they were heard. The last one is what is to be heard."""

    def __init__(self) -> None:
        self._stages = [Stage.of(0, Patch())]
        self._checkpoints: list[tuple[int, int]] = []  # (generation, number) of the two newest that lead to the last
        self._beyond: tuple[int, int] | None = None  # the newest of the stage before, from beyond the SWITCH
        self._is_settled = True  # the stage before does not come back

    @property
    def last(self) -> Stage:
        return self._stages[-1]

    @property
    def generations(self) -> list[int]:
        return [stage.generation for stage in self._stages]

    def add(self, stage: Stage) -> None:
        """A stage is heard; the one before may come back until `settle`."""
        self._stages.append(stage)
        self._beyond, self._is_settled = None, False

    def drop_last(self) -> Stage:
        """Forget the newest stage: it was rolled back."""
        stage = self._stages.pop()
        self._is_settled = True
        self._checkpoints = [c for c in self._checkpoints if c[0] != stage.generation]
        if self._beyond is not None:
            self._checkpoints, self._beyond = [*self._checkpoints[-1:], self._beyond], None
        return stage

    def chain(self) -> list[Stage]:
        """Return the stages that lead to the last one: each but the first is entered through its SWITCH."""
        first = max((i for i, stage in enumerate(self._stages) if stage.restart), default=0)
        return self._stages[first:]

    def note_checkpoint(self, generation: int, seq: int) -> None:
        """A checkpoint was written. What nobody can start from any more is forgotten."""
        found = [i for i, stage in enumerate(self._stages) if stage.generation == generation]
        if not found:
            return
        after = self._stages[found[0] + 1 :]
        if after and seq >= after[0].switch_seq:  # the old slot's, while the new patch is on probation
            if not self._is_settled:
                self._beyond = (generation, seq)
            return
        self._checkpoints = [*self._checkpoints[-1:], (generation, seq)]
        oldest = self._checkpoints[0][0]
        while len(self._stages) > 2 and self._stages[0].generation < oldest:
            self._stages.pop(0)

    @property
    def has_checkpoint(self) -> bool:
        """True once there is one of the last stage: until then the way to it leads through its SWITCH."""
        return any(generation == self.last.generation for generation, _ in self._checkpoints)

    @property
    def keep(self) -> int:
        """The number above which records are kept: that of the older of the two newest checkpoints that lead to what
        is to be heard, and of the newest one of the patch before while that may have to come back.
        """
        numbers = [seq for _, seq in self._checkpoints] if len(self._checkpoints) > 1 else [0]
        if self._beyond is not None:
            numbers.append(self._beyond[1])
        return min(numbers)

    def settle(self) -> None:
        """The one before the last stage does not come back."""
        self._beyond, self._is_settled = None, True

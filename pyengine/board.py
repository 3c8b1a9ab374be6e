"""What the parts of the supervisor share: the segment, the slots, the patches, and where the sound stands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyengine import _native
from pyengine.desk import Desk, Setting
from pyengine.intake import Intake
from pyengine.lineage import Lineage
from pyengine.loop import Loop
from pyengine.samples import Samples
from pyengine.shortway import ShortWay
from pyengine.slots import Happening, Slot, State

logger = logging.getLogger(__name__)

CHECKPOINT_S = 0.25  # of sound, from one periodic checkpoint to the next

Reply = Callable[[Any], None]
"""Takes the result of a command, or the EngineError that it was refused with."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine is run. device: 'auto', 'none', 'free', or a device's name; times in ms."""

    device: str = "auto"
    sample_rate_hz: float = 48000.0
    block_frames: int = 64
    lead_blocks: int = 2
    n_channels: int = 2
    osc_host: str = "127.0.0.1"
    osc_port: int | None = 5005
    osc_tcp_port: int | None = None
    oscquery_port: int | None = None
    announces: bool = False
    recordings: Path = Path("recordings")
    samples: Path = Path(".")
    history_s: float = 30.0  # of the output, kept for listening
    session: Path | None = None  # log everything from the first block on
    prime_timeout_ms: float = 500.0
    on_prime_timeout: str = "keep"
    crossfade_ms: float = 5.0
    max_block_share: float = 0.5  # of the block period, for one block of a new patch
    probation_ms: float = 500.0
    standby: str = "hot"  # or 'cold': it renders nothing until it is needed
    latency: float | str = "shortest"  # ms from a setting's arrival to its effect, 'shortest' or 'asap'
    stall_ms: float = 1000.0  # a worker that makes no turn for so long is replaced


class Board:
    """Held by all parts; each changes only what is its own."""

    def __init__(self, options: Options, loop: Loop) -> None:
        self.options = options
        self.loop = loop
        self.started_s = time.monotonic()
        self.segment = _native.Segment.create(self._config())
        self.segment.set_keep(0)  # until there are checkpoints: from the start
        self._desk = Desk(options.sample_rate_hz)
        self.short: ShortWay | None = None
        self.intake = Intake(self.segment)
        self.lineage = Lineage()
        self.slots = [Slot(0), Slot(1)]
        self.samples = Samples(options.samples, options.sample_rate_hz)
        self._generation = 0
        self.on_move: list[Callable[[Slot], None]] = []  # whoever watches

    @property
    def desk(self) -> Desk:
        """The patches, with all the values that were taken the short way."""
        if self.short is not None:
            self.short.absorb()
        return self._desk

    def still(self) -> AbstractContextManager[None]:
        """Within this nothing that comes in is sent."""
        return self._desk.still()

    def open_short_way(self, inbox: _native.Inbox, on_setting: Callable[[Setting], None]) -> None:
        """Let modules that play be set without Python."""
        self.short = ShortWay(inbox, self._desk, on_setting, self.intake.tell)
        self._desk.still = self.short.still

    def _config(self) -> _native.Config:
        o = self.options
        return _native.Config(
            sample_rate_hz=o.sample_rate_hz,
            block_frames=o.block_frames,
            n_channels=o.n_channels,
            lead_blocks=o.lead_blocks,
            is_free_running=o.device == "free",
            checkpoint_blocks=max(1, round(CHECKPOINT_S * o.sample_rate_hz / o.block_frames)),
            may_rest=o.device != "free",  # there frames are counted: a setting takes effect with the block that is due
        )

    def next_generation(self) -> int:
        self._generation += 1
        return self._generation

    @property
    def generation(self) -> int:
        """The newest number given to a patch."""
        return self._generation

    def move(self, slot: int, happening: Happening, generation: int | None = None) -> None:
        before = self.slots[slot]
        self.slots[slot] = now = before.after(happening, generation)
        for watcher in self.on_move:
            watcher(now)
        logger.debug("slot %d: %s -> %s (%s)", slot, before.state.value, self.slots[slot].state.value, happening.value)

    @property
    def active(self) -> Slot | None:
        """The slot that is heard, None while none is."""
        return next((s for s in self.slots if s.state is State.ACTIVE), None)

    @property
    def standby(self) -> Slot:
        active = self.active
        return self.slots[1 - active.index if active else 1]

    @property
    def is_cold(self) -> bool:
        return self.options.standby == "cold"

    def node_name(self, handle: int) -> str:
        """Return the id of a handle in any patch at hand, '' for none."""
        desk = self.desk
        for patch in (desk.candidate, desk.committed, desk.pending):
            for node in patch.nodes.values() if patch is not None and handle else ():
                if patch is not None and node.handle <= handle < node.handle + patch.copies(node.id):
                    return node.id
        return ""

"""What an engine's side of the C core is made from, and what it tells: plain data, which _native.py hands out.

In a file of its own because a class of this kind takes Python most of a millisecond to make, and who only renders needs
none of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of an engine; see PeConfig in csrc/api.h."""

    sample_rate_hz: float = 48000.0
    block_frames: int = 64
    n_channels: int = 2
    lead_blocks: int = 2
    n_commands: int = 1 << 16
    n_journal: int = 1 << 20
    tap_frames: int = 1 << 18
    checkpoint_bytes: int = 1 << 25  # PE_MAX_NODES of 2 kB; memory is taken when a patch needs it
    is_free_running: bool = False
    checkpoint_blocks: int = 0
    may_rest: bool = False
    checkpoint_pieces: int = 0  # that a worker takes for a checkpoint with each block; 0: as many as there is time for


@dataclass(frozen=True, slots=True)
class Event:
    """Something the callback or a render thread did. source: the seat, or CALLBACK."""

    kind: str
    source: int
    block: int
    frame: int
    generation: int
    value: int
    hash: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A datagram that needs Python. frame: where its settings take effect, below 0 as soon as they are read."""

    data: bytes
    sender: tuple[str, int]
    received_s: float  # on the clock of time.monotonic
    frame: int


@dataclass(frozen=True, slots=True)
class Record:
    """One command for the stream. frame < 0: at the first frame of the block that takes it."""

    handle: int
    param: int
    value: float
    frame: int = -1
    is_immediate: bool = False
    switch_to: int = 0  # a SWITCH to this generation instead
    is_mark: bool = False


@dataclass(frozen=True, slots=True)
class Warmup:
    """What a warm-up measured: amplitudes linear, time in ns of thread CPU per block (median)."""

    max_rms: float
    peak: float
    block_cpu_ns: float
    is_finite: bool
    n_blocks: int

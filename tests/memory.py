"""Where things lie in the shared segment, found by its header; for tests that damage them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pyengine._core import ffi, lib

from pyengine._native import N_SEATS, Segment

HEAD_BYTES = 64  # of a block and of a checkpoint
INFO_AT, N_SCHEDULED_AT, INFO_BYTES = 8, 56, 48
RECORD_BYTES = ffi.sizeof("PeCommand")
SCHEDULE_BYTES = lib.PE_SCHEDULE_SIZE * RECORD_BYTES
OFFSETS_AT = 24 + ffi.sizeof("PeConfig")  # magic, version, size, config


@dataclass(frozen=True)
class CheckpointPlace:
    """One of a seat's two places for a checkpoint; fields as they lie there now."""

    segment: Segment
    at: int

    def word(self, offset: int) -> int:
        return read_word(self.segment, self.at + offset)

    stamp = property(lambda self: self.word(0))
    generation = property(lambda self: self.word(8))
    block = property(lambda self: self.word(16))
    seq = property(lambda self: self.word(24))
    state_bytes = property(lambda self: self.word(32))
    checksum = property(lambda self: self.word(48))
    schedule_at = property(lambda self: self.at + HEAD_BYTES)
    states_at = property(lambda self: self.at + HEAD_BYTES + SCHEDULE_BYTES)

    @property
    def n_scheduled(self) -> int:
        return self.word(N_SCHEDULED_AT) & 0xFFFFFFFF

    @property
    def states(self) -> bytes:
        return bytes(self.segment._memory[self.states_at : self.states_at + self.state_bytes])

    @property
    def contents(self) -> list[int]:
        """Every byte that counts: what it says of itself, the commands that wait, the states."""
        return [
            *range(self.at + INFO_AT, self.at + INFO_AT + INFO_BYTES),
            *range(self.at + N_SCHEDULED_AT, self.at + N_SCHEDULED_AT + 4),
            *range(self.schedule_at, self.schedule_at + self.n_scheduled * RECORD_BYTES),
            *range(self.states_at, self.states_at + self.state_bytes),
        ]


def read_word(segment: Segment, at: int) -> int:
    return int.from_bytes(segment._memory[at : at + 8], "little")


def write_word(segment: Segment, at: int, value: int) -> None:
    segment._memory[at : at + 8] = value.to_bytes(8, "little")


def _offsets(segment: Segment) -> tuple[int, ...]:
    """Return ring_blocks, then the offsets in the order of PeSegment in csrc/segment.h."""
    n_words = 4 * N_SEATS + 2
    ring_blocks, _, *words = struct.unpack_from(f"<II{n_words}Q", segment._memory, OFFSETS_AT)
    return ring_blocks, *words


def checkpoint_places(segment: Segment, seat: int) -> list[CheckpointPlace]:
    first = 1 + 2 * N_SEATS + 2 * seat
    return [CheckpointPlace(segment, at) for at in _offsets(segment)[first : first + 2]]


def newest_place(segment: Segment, seat: int) -> CheckpointPlace:
    return max(checkpoint_places(segment, seat), key=lambda place: place.stamp)


def journal_at(segment: Segment) -> int:
    return _offsets(segment)[1 + 4 * N_SEATS + 1]


def record_at(segment: Segment, seq: int) -> int:
    """Return where in the command ring the record of this number lies, or would."""
    return _offsets(segment)[1 + 4 * N_SEATS] + (seq & (segment.config.n_commands - 1)) * RECORD_BYTES


def head_at(segment: Segment, seat: int, block: int) -> int:
    """Return where the head of a block lies in a seat's ring: stamp, generation, hash."""
    offsets = _offsets(segment)
    return offsets[1 + seat] + (block & (offsets[0] - 1)) * HEAD_BYTES


def block_at(segment: Segment, seat: int, block: int) -> int:
    offsets, config = _offsets(segment), segment.config
    n_bytes = 4 * config.block_frames * config.n_channels
    return offsets[1 + N_SEATS + seat] + (block & (offsets[0] - 1)) * n_bytes


def block_head(segment: Segment, seat: int, block: int) -> tuple[int, int, int]:
    """Return (stamp, generation, hash) as they stand at the block's place."""
    at = head_at(segment, seat, block)
    return read_word(segment, at), read_word(segment, at + 8), read_word(segment, at + 16)


def block_data(segment: Segment, seat: int, block: int) -> bytes:
    at, config = block_at(segment, seat, block), segment.config
    return bytes(segment._memory[at : at + 4 * config.block_frames * config.n_channels])

"""The SPSC block ring against a deque: any order of acquiring, committing, peeking and releasing."""

from __future__ import annotations

import mmap
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pyengine._core import ffi, lib


def new_ring(block_bytes: int, capacity: int) -> object:
    """Return a ring in page-aligned memory, which lives as long as its handle."""
    n_bytes = lib.pe_ring_bytes(block_bytes, capacity)
    memory = ffi.from_buffer(mmap.mmap(-1, n_bytes))
    assert lib.pe_ring_init(ffi.cast("void *", memory), n_bytes, block_bytes, capacity) == lib.PE_OK
    out = ffi.new("PeRing **")
    assert lib.pe_ring_attach(ffi.cast("void *", memory), n_bytes, out) == lib.PE_OK
    _memory_of[int(ffi.cast("uintptr_t", out[0]))] = memory
    return out[0]


_memory_of: dict[int, object] = {}


class RingMachine(RuleBasedStateMachine):
    """`model` holds the committed blocks; `acquired` and `peeked` what the last look gave."""

    @initialize(block_bytes=st.integers(1, 9), bits=st.integers(0, 4))
    def start(self, block_bytes: int, bits: int) -> None:
        self.block_bytes, self.capacity = block_bytes, 1 << bits
        self.ring = new_ring(block_bytes, self.capacity)
        self.model: deque[bytes] = deque()
        self.written = self.read = 0
        self.acquired = self.peeked = 0
        self.place = ffi.new("void **")

    def to_end(self, index: int) -> int:
        return self.capacity - index % self.capacity

    @rule(want=st.integers(0, 40))
    def acquire(self, want: int) -> None:
        self.acquired = lib.pe_ring_acquire(self.ring, want, self.place)
        free = self.capacity - len(self.model)
        assert self.acquired == min(want, free, self.to_end(self.written))
        self.write_to = self.place[0]

    @precondition(lambda self: self.acquired)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(0, self.acquired))
        blocks = [data.draw(st.binary(min_size=self.block_bytes, max_size=self.block_bytes)) for _ in range(n)]
        if n:
            ffi.buffer(self.write_to, n * self.block_bytes)[:] = b"".join(blocks)
        lib.pe_ring_commit(self.ring, n)
        self.model.extend(blocks)
        self.written += n
        self.acquired = 0

    @rule(want=st.integers(0, 40))
    def peek(self, want: int) -> None:
        self.peeked = lib.pe_ring_peek(self.ring, want, self.place)
        assert self.peeked == min(want, len(self.model), self.to_end(self.read))
        got = bytes(ffi.buffer(self.place[0], self.peeked * self.block_bytes)) if self.peeked else b""
        assert got == b"".join(list(self.model)[: self.peeked])

    @precondition(lambda self: self.peeked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(0, self.peeked))
        lib.pe_ring_release(self.ring, n)
        for _ in range(n):
            self.model.popleft()
        self.read += n
        self.peeked = 0

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        if hasattr(self, "ring"):
            assert lib.pe_ring_readable(self.ring) == len(self.model)
            assert lib.pe_ring_writable(self.ring) == self.capacity - len(self.model)
            assert lib.pe_ring_capacity(self.ring) == self.capacity
            assert lib.pe_ring_block_bytes(self.ring) == self.block_bytes

    def teardown(self) -> None:
        _memory_of.clear()


RingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestTheRingBehavesAsADeque = RingMachine.TestCase


@pytest.mark.parametrize(
    ("block_bytes", "capacity"),
    [(0, 4), (4, 0), (4, 3), (4, 6), (4, (1 << 30) + 1), (4, 1 << 31)],
    ids=str,
)
def test_a_ring_of_a_wrong_size_is_refused(block_bytes: int, capacity: int) -> None:
    memory = ffi.from_buffer(mmap.mmap(-1, 4096))
    assert lib.pe_ring_bytes(block_bytes, capacity) == 0
    status = lib.pe_ring_init(ffi.cast("void *", memory), 4096, block_bytes, capacity)
    assert status == lib.PE_BAD_ARGUMENT


def test_a_ring_in_too_little_or_unaligned_memory_is_refused() -> None:
    memory = ffi.from_buffer("char[]", mmap.mmap(-1, 8192))
    n_bytes = lib.pe_ring_bytes(4, 16)
    assert lib.pe_ring_init(memory, n_bytes - 1, 4, 16) == lib.PE_BAD_SIZE
    assert lib.pe_ring_init(memory + 8, n_bytes, 4, 16) == lib.PE_BAD_ARGUMENT
    assert lib.pe_ring_init(ffi.NULL, n_bytes, 4, 16) == lib.PE_BAD_ARGUMENT


def test_attaching_refuses_memory_that_is_no_ring_of_this_version() -> None:
    raw = mmap.mmap(-1, 8192)
    memory = ffi.from_buffer("char[]", raw)
    n_bytes = lib.pe_ring_bytes(4, 16)
    out = ffi.new("PeRing **")
    assert lib.pe_ring_attach(memory, n_bytes, out) == lib.PE_BAD_MAGIC
    assert lib.pe_ring_init(memory, n_bytes, 4, 16) == lib.PE_OK
    whole = raw[:320]
    for at, wrong, status in [
        (0, b"\0", lib.PE_BAD_MAGIC),
        (4, b"\x7f", lib.PE_BAD_VERSION),
        (12, b"\x11", lib.PE_BAD_SIZE),
        (132, b"\x05", lib.PE_BAD_SIZE),  # the writer's copy of the block's size, and of the capacity
        (136, b"\x20", lib.PE_BAD_SIZE),
        (260, b"\x05", lib.PE_BAD_SIZE),  # the reader's
        (264, b"\x20", lib.PE_BAD_SIZE),
    ]:
        raw[at : at + 1] = wrong
        assert lib.pe_ring_attach(memory, n_bytes, out) == status and out[0] == ffi.NULL
        raw[:320] = whole
    assert lib.pe_ring_attach(memory, n_bytes - 64, out) == lib.PE_BAD_SIZE
    assert lib.pe_ring_attach(memory, n_bytes, out) == lib.PE_OK

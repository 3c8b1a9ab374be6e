"""The command stream and the journal: one decision per block, kept to by both slots; no bundle is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyengine._core import ffi, lib
from rig import Rig

from pyengine import Patch
from pyengine._native import NO_PIN, Config, Record, Segment, commands

SEQ_BITS = 40
BUDGET = lib.PE_COMMAND_BUDGET
WORDS = ("send", "pin0", "pin1", "unpin0", "unpin1")
MARK = Record(0, 0, 0.0, is_mark=True)


def decision(segment: Segment, block: int) -> int | None:
    """Return the number up to which commands apply before a block, None while nobody decided."""
    word = int(lib.pe_journal_entry(segment.pointer, block))
    if word == 0:
        return None
    assert word >> SEQ_BITS == block // segment.config.n_journal + 1
    return word & ((1 << SEQ_BITS) - 1)


def small_segment(**numbers: Any) -> Segment:
    return Segment.create(Config(**{"n_commands": 2 * BUDGET, "n_journal": 1024, "tap_frames": 64} | numbers))


def osc(rig: Rig) -> int:
    """Commit a sine that sounds at once and return its handle."""
    patch = Patch().create("osc1", "simple_sine").set("osc1", "gain", 0.0)
    rig.commit(patch)
    return patch.nodes["osc1"].handle


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(1, 400), st.just(BUDGET), st.floats(0.0, 900.0).map(lambda n: -1 - int(n))),
        max_size=12,
    )
)
def test_decisions_never_go_back_and_lie_on_ends_of_bundles(script: list[int]) -> None:
    """script: a number above 0 sends a bundle of that size, one below 0 plays so many frames."""
    with Rig() as rig:
        ends = {0}
        for step in script:
            if step > 0:
                ends.add(rig.segment.send([MARK] * step))
            else:
                rig.advance(-step)
        assert 0 not in list(ends)[1:] or len(ends) == 1
        rig.advance(64 * (2 + len(script)))  # at most one large bundle per block
        rig.settle()
        decided = [decision(rig.segment, k) for k in range(rig.segment.render_head(0))]
        numbers = [n for n in decided if n is not None]
        assert len(numbers) == len(decided)
        assert set(numbers) <= ends
        assert numbers == sorted(numbers)
        assert max(np.diff([0, *numbers]), default=0) <= BUDGET
        assert numbers[-1] == rig.segment.newest == rig.segment.applied(0) == rig.segment.applied(1)
        assert decision(rig.segment, rig.segment.render_head(0)) is None


def test_more_commands_than_the_budget_are_spread_over_blocks_and_none_is_lost() -> None:
    with Rig() as rig:
        rig.settle()
        head = rig.segment.render_head(0)
        for _ in range(5):
            assert rig.segment.send([MARK] * 3000)
        rig.advance(64 * 8)
        rig.settle()
        assert [decision(rig.segment, head + i) for i in range(6)] == [3000, 6000, 9000, 12000, 15000, 15000]


def test_a_bundle_larger_than_the_budget_or_an_empty_one_is_not_sent() -> None:
    segment = small_segment()
    assert segment.send([MARK] * BUDGET) == BUDGET
    assert lib.pe_stream_send(segment.pointer, commands([MARK] * (BUDGET + 1)), BUDGET + 1) == 0
    assert lib.pe_stream_send(segment.pointer, commands([]), 0) == 0
    assert segment.newest == BUDGET


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, BUDGET)), max_size=25))
def test_no_record_is_overwritten_that_somebody_has_still_to_read(script: list[tuple[str, int]]) -> None:
    segment = small_segment()
    pins = [NO_PIN, NO_PIN]
    newest = 0
    for word, n in script:
        kept_from = min(newest, *pins)
        space = segment.config.n_commands - (newest - kept_from)
        assert segment.stream_space == space
        if word == "send":
            sent = segment.send([MARK] * n)
            assert sent == (newest + n if n <= space else 0)
            newest = max(newest, sent)
        else:
            slot = int(word[-1])
            pins[slot] = NO_PIN if word.startswith("un") else max(newest - n, kept_from)
            segment.set_pin(slot, pins[slot])
    assert segment.newest == newest


def test_a_living_slot_holds_its_records_until_it_has_applied_them() -> None:
    segment = small_segment()
    segment.set_alive(0, True)
    assert segment.send([MARK] * BUDGET) and segment.send([MARK] * BUDGET)
    assert segment.stream_space == 0 and segment.send([MARK]) == 0
    segment.set_alive(0, False)
    assert segment.stream_space == segment.config.n_commands


def test_a_slot_a_lap_behind_is_told_so_and_leaves() -> None:
    with Rig() as rig:
        n_journal = rig.config.n_journal
        entries = ffi.new("uint64_t *")
        rig.settle()
        block = rig.segment.render_head(0)
        # The word of the next block says that the journal has come round: by hand, for it takes 23 minutes.
        entries[0] = (block // n_journal + 2) << SEQ_BITS
        raw = rig.segment._memory
        at = find_journal(rig)
        raw[at + 8 * block : at + 8 * block + 8] = bytes(ffi.buffer(entries))
        rig.clock.allow(rig.output.frames + 640)
        kinds: list[str] = []
        for _ in range(500):
            kinds += [event.kind for event in rig.segment.events()]
            if kinds.count("stale") == 2:
                break
            rig.segment.wait_signal(rig.segment.signal_value, 10)
        assert kinds.count("stale") == 2
        assert rig.segment.render_head(0) == rig.segment.render_head(1) == block
        rig.clock.allow(0)


def find_journal(rig: Rig) -> int:
    """Return where the entries lie: at the start of an engine the only run of words with tag 1, number 0."""
    head = rig.segment.render_head(0)
    first = ((1 << SEQ_BITS).to_bytes(8, "little")) * head
    at = rig.segment._memory.find(first)
    assert at > 0
    return at


# ---- what is heard of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("block_frames", [32, 64])
def test_commands_of_one_bundle_apply_at_one_frame(block_frames: int) -> None:
    with Rig(block_frames=block_frames) as rig:
        handle = osc(rig)
        rig.settle()
        rig.record()
        records = [Record(handle, 1, 0.1 * i, is_immediate=True) for i in range(1, 6)]
        assert rig.segment.send([*records, Record(handle, 0, 0.0, is_immediate=True)])
        rig.advance(block_frames * 10)
        heard = np.flatnonzero(rig.read_tap()[:, 0])
        assert heard.size == 0 or np.all(np.diff(rig.read_tap()[heard[0] :, 0]) == 0)  # a standing phase


def test_a_command_with_a_frame_takes_effect_at_that_frame() -> None:
    with Rig() as rig:
        handle = osc(rig)
        rig.record()
        start = rig.output.frames
        frame = (rig.segment.render_head(0) + 3) * 64 + 17
        assert rig.segment.send([Record(handle, 1, 0.5, frame=frame, is_immediate=True)])
        rig.advance(64 * 12)
        heard = np.flatnonzero(rig.read_tap()[:, 0])
        assert start + heard[0] in (frame, frame + 1)  # a sine may be 0 at the very frame


def test_of_two_commands_for_one_frame_the_later_number_stands_though_the_earlier_waited() -> None:
    with Rig() as rig:
        handle = osc(rig)
        rig.settle()
        rig.record()
        start = rig.output.frames
        block = rig.segment.render_head(0) + 1
        assert rig.segment.send([Record(handle, 1, 0.9, frame=block * 64, is_immediate=True)])
        rig.advance(64)
        rig.settle()
        assert rig.segment.render_head(0) == rig.segment.render_head(1) == block
        assert rig.segment.send([Record(handle, 1, 0.1, is_immediate=True)])
        rig.advance(64 * 12)
        heard = rig.read_tap()[block * 64 - start :, 0]
        assert 0.09 < np.abs(heard).max() <= 0.1

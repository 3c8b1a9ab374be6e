"""A worker's seat: what a dead one had published stays, and one that was given up cannot disturb its successor."""

from __future__ import annotations

import numpy as np
import pytest
from memory import block_at, block_data, block_head, checkpoint_places, head_at, journal_at, write_word
from pyengine._core import lib
from rig import Rig, wait_until

import pyengine
from pyengine import Patch
from pyengine._native import Event, Record, Segment

SPARE = 2


def voice() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1")


def more(patch: Patch) -> Patch:
    return patch.copy().create("osc2", "simple_sine").set("osc2", "freq", 333.0)


def words(segment: Segment, seat: int) -> tuple[int, ...]:
    """Return what the worker of a seat says, and has counted; not its heartbeat, which goes on in any case."""
    says = (lib.pe_seat_render_head, lib.pe_seat_applied, lib.pe_seat_generation)
    counters = (lib.pe_seat_counter(segment.pointer, seat, i) for i in range(lib.PE_SLOT_COUNTERS))
    return *(int(f(segment.pointer, seat)) for f in says), *map(int, counters)


def ring(segment: Segment, seat: int, blocks: range) -> list[tuple[tuple[int, int, int], bytes]]:
    return [(block_head(segment, seat, k), block_data(segment, seat, k)) for k in blocks]


def heartbeat(segment: Segment, seat: int) -> int:
    return int(lib.pe_seat_heartbeat(segment.pointer, seat))


def wait_for_a_turn(segment: Segment, seat: int) -> None:
    """Return once the seat's render thread has gone round its loop twice: it has seen all that was stored before."""
    before = heartbeat(segment, seat)
    wait_until(lambda: heartbeat(segment, seat) >= before + 3, 60.0)


def started(patch: Patch) -> Rig:
    """A rig in which both slots play the patch, with a checkpoint of it from slot 1 whose records are kept."""
    rig = Rig()
    rig.record()
    rig.commit(patch)
    rig.advance(64 * 16)
    rig.settle()
    rig.segment.set_keep(rig.checkpoint(1).value)
    rig.send(Record(patch.nodes["osc1"].handle, 0, 500.0))
    rig.advance(64 * 7)
    rig.settle()
    return rig


def undisturbed(patch: Patch, n_frames: int) -> np.ndarray:
    with started(patch) as rig:
        rig.advance(n_frames)
        return rig.read_tap()


# ---- successors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seat", [0, SPARE])
def test_a_successor_in_the_old_or_in_the_spare_seat_goes_on_with_the_same_bits(seat: int) -> None:
    patch = voice()
    expected = undisturbed(patch, 20_000)
    with started(patch) as rig:
        rig.stop(0)
        rig.advance(64 * 5)
        rig.start(0, seat)
        rig.join(0, [(1, patch, 0)])
        assert rig.segment.seat(0) == seat
        rig.advance(64 * 10)
        rig.segment.set_playable(1, False)  # from here on only the successor is heard
        rig.advance(5000)
        assert rig.segment.active_slot == 0
        counters = rig.counters()
        assert counters["compared_blocks"] > 0 and counters["diverged_blocks"] == 0
        assert counters["declicks"] == counters["frames_underrun"] == 0
        heard = rig.read_tap()
        assert np.array_equal(heard, expected[: len(heard)])
        rig.segment.set_playable(1, True)
        rig.commit(more(patch))  # and it takes part in commits
        rig.commit(patch)
        assert rig.counters()["swaps"] == 3


def test_both_slots_may_die_and_their_successors_go_on_where_the_sound_stopped() -> None:
    patch = voice()
    expected = undisturbed(patch, 20_000)
    with started(patch) as rig:
        for slot in range(2):
            rig.stop(slot)
        assert np.array_equal(
            frames_of(rig, 64 * 2), expected[rig.output.frames - 128 : rig.output.frames]
        )  # published
        at = rig.output.frames
        assert not np.array_equal(frames_of(rig, 64), expected[at : at + 64])  # silence, declicked
        assert rig.segment.play_block * 64 == at
        for slot in range(2):
            rig.start(slot, slot)
            rig.join(slot, [(1, patch, 0)])
        heard = np.concatenate([frames_of(rig, 64) for _ in range(50) if rig.settle() is None])
        assert np.array_equal(heard[240:], expected[at + 240 : at + 64 * 50])  # after the declick
        assert rig.counters()["frames_underrun"] == 64


def frames_of(rig: Rig, n_frames: int) -> np.ndarray:
    """Call the audio callback from here: it does not wait for blocks as the clock would."""
    data = rig.output.process(n_frames)
    return np.frombuffer(data, np.float32).reshape(-1, rig.config.n_channels)


def test_what_a_predecessor_had_published_of_the_same_generation_is_left_alone() -> None:
    patch = voice()
    with started(patch) as rig:
        segment = rig.segment
        rig.stop(0)
        first, end = segment.play_block, segment.render_head(0)
        assert end == first + segment.effective_lead
        # A mark in what was published: it would be gone if somebody wrote there again.
        for block in range(first, end):
            segment._memory[block_at(segment, 0, block)] ^= 1
        before = ring(segment, 0, range(first, end))
        rig.start(0, 0)
        rig.join(0, [(1, patch, 0)])
        rig.settle()
        assert ring(segment, 0, range(first, end)) == before
        assert segment.slot_counters(0)["kept_blocks"] == end - first
        for block in range(first, end):
            segment._memory[block_at(segment, 0, block)] ^= 1
        assert ring(segment, 0, range(first, end)) == ring(segment, 1, range(first, end))
        rig.advance(64 * 20)
        assert segment.slot_counters(0)["kept_blocks"] == end - first
        assert rig.counters()["diverged_blocks"] == 0


def test_what_a_predecessor_had_published_of_another_generation_is_written_anew() -> None:
    patch = voice()
    with started(patch) as rig:
        segment = rig.segment
        behind = segment.active_slot
        rig.switch(more(patch))
        rig.settle()
        rig.stop(behind)
        first, end = segment.play_block, segment.render_head(behind)
        assert end > first
        assert {block_head(segment, behind, k)[1] for k in range(first, end)} == {1}  # it went on with the old patch
        rig.start(behind, behind)
        rig.join(behind, [(1, patch, 0), (2, more(patch), 0)])
        rig.settle()
        assert segment.slot_counters(behind)["kept_blocks"] == 0
        assert ring(segment, behind, range(first, end)) == ring(segment, 1 - behind, range(first, end))
        rig.advance(64 * 10)
        assert rig.counters()["compared_blocks"] >= 10 and rig.counters()["diverged_blocks"] == 0


def test_a_successor_in_the_spare_seat_starts_with_an_empty_ring_and_words_of_its_own() -> None:
    patch = voice()
    with started(patch) as rig:
        rig.stop(0)
        old = words(rig.segment, 0)
        rig.start(0, SPARE)
        assert words(rig.segment, SPARE) == (0,) * len(old)
        assert all(block_head(rig.segment, SPARE, k) == (0, 0, 0) for k in range(16))
        rig.join(0, [(1, patch, 0)])
        rig.settle()
        assert words(rig.segment, 0) == old
        assert rig.segment.slot_counters(0)["kept_blocks"] == 0
        assert {e.source for e in rig.drain() if e.kind == "replica"} >= {SPARE}


# ---- one that was given up, but still runs ------------------------------------------------------------------


def given_up(patch: Patch) -> Rig:
    """A rig whose slot 0 has a successor in the spare seat, while its first worker still runs in seat 0."""
    rig = started(patch)
    rig.drain()
    rig.start(0, SPARE)
    rig.join(0, [(1, patch, 0)])
    rig.settle()
    return rig


def test_a_worker_that_was_given_up_but_still_runs_does_not_write_to_its_successors_seat() -> None:
    patch = voice()
    expected = undisturbed(patch, 20_000)
    with given_up(patch) as rig:
        segment = rig.segment
        rig.segment.set_keeper(0, True)
        head = words(segment, 0)[0]
        rig.advance(64 * 30)
        wait_until(lambda: words(segment, 0)[0] >= segment.play_block + segment.effective_lead, 60.0)
        assert words(segment, 0)[0] >= head + 30  # it still runs, and still renders the same
        rig.settle()
        blocks = range(segment.play_block, segment.play_block + segment.effective_lead)
        assert ring(segment, 0, blocks) == ring(segment, SPARE, blocks) == ring(segment, 1, blocks)
        for block in blocks:  # what stands in its ring is never heard
            segment._memory[block_at(segment, 0, block)] ^= 0xFF
            write_word(segment, head_at(segment, 0, block) + 16, 12345)
        rig.segment.set_playable(1, False)
        rig.advance(64 * 20)
        assert segment.active_slot == 0
        heard = rig.read_tap()
        assert np.array_equal(heard, expected[: len(heard)])
        assert rig.counters()["diverged_blocks"] == 0


def test_words_events_and_checkpoints_of_a_slot_come_from_its_new_seat_alone() -> None:
    patch = voice()
    with given_up(patch) as rig:
        segment = rig.segment
        old = words(segment, 0)
        rig.drain()
        checkpoint: Event = rig.checkpoint(0)
        assert checkpoint.source == SPARE
        assert words(segment, 0) == old  # nobody asked seat 0, and it did nothing: it may not render yet
        assert {e.source for e in rig.drain()} <= {SPARE}
        assert checkpoint.hash == rig.checkpoint(1).hash
        stamps = [place.stamp for place in checkpoint_places(segment, 0)]
        rig.checkpoint(0)
        assert [place.stamp for place in checkpoint_places(segment, 0)] == stamps
        second = rig.switch(more(patch)) if segment.active_slot == 1 else None
        assert second is not None and segment.slot_generation(0) == 2
        assert int(lib.pe_seat_generation(segment.pointer, 0)) == 1  # nothing was armed there
        rig.advance(64 * 10)
        assert segment.heard_generation == 2


def test_to_end_a_worker_that_was_given_up_does_not_end_its_successor() -> None:
    patch = voice()
    with given_up(patch) as rig:
        segment = rig.segment
        segment.set_shutdown(0, True)
        rig.former[0].close()
        beats = heartbeat(segment, 0)
        rig.advance(64 * 20)
        wait_for_a_turn(segment, SPARE)
        assert heartbeat(segment, 0) == beats
        segment.set_playable(1, False)
        rig.advance(64 * 20)
        assert rig.counters()["frames_underrun"] == 0


def test_the_seat_of_one_that_was_given_up_is_the_next_spare_once_it_is_at_an_end() -> None:
    patch = voice()
    expected = undisturbed(patch, 30_000)
    with given_up(patch) as rig:
        rig.former[0].close()
        for old, seat in ((SPARE, 0), (0, SPARE), (SPARE, 0)):
            rig.advance(64 * 3)
            assert rig.segment.seat(0) == old
            rig.start(0, seat)
            rig.join(0, [(1, patch, 0)])
            rig.advance(64 * 3)
            rig.former[-1].close()
        rig.segment.set_playable(1, False)
        rig.advance(64 * 20)
        heard = rig.read_tap()
        assert np.array_equal(heard, expected[: len(heard)])
        assert rig.counters()["diverged_blocks"] == 0


def test_one_that_was_given_up_and_slept_past_the_journal_stops_and_changes_no_decision() -> None:
    patch = voice()
    with given_up(patch) as rig:
        segment = rig.segment
        # The word of seat 0's next block says that the journal has come round, for as long as it looks at it. The
        # other two are past that block: they do not look again.
        n_journal = rig.config.n_journal
        for slot in range(2):
            rig.workers[slot].park(60_000)
            segment.set_alive(slot, False)
        rig.rendering.clear()
        block = words(segment, 0)[0]
        at = journal_at(segment) + 8 * block
        write_word(segment, at, (block // n_journal + 2) << 40)
        rig.drain()
        rig.output.process(64 * 2)
        stale: list[Event] = []
        signal = segment.signal_value
        while not stale:
            stale += [e for e in rig.drain() if e.kind == "stale"]
            signal = segment.wait_signal(signal, 10)
        assert [(e.source, e.block) for e in stale] == [(0, block)]
        assert words(segment, 0)[0] == block
        assert lib.pe_journal_entry(segment.pointer, block) == (block // n_journal + 2) << 40
        assert not lib.pe_journal_entry(segment.pointer, block + 1)


def test_a_live_engine_after_two_deaths_and_a_spare_seat_plays_what_offline_rendering_plays() -> None:
    patch = voice()
    with Rig() as rig:
        rig.record()
        first = rig.commit(patch)
        rig.settle()
        rig.segment.set_keep(rig.checkpoint(0).value)
        for slot, seat in ((0, SPARE), (1, 0), (0, 1)):
            rig.advance(640)
            rig.stop(slot)
            rig.advance(640)
            rig.start(slot, seat)
            rig.join(slot, [(1, patch, 0)])
        rig.advance(640)
        heard = rig.read_tap()[first:]
        assert np.array_equal(heard, pyengine.render(patch, frames=len(heard), channels=2))
        assert rig.counters()["diverged_blocks"] == rig.counters()["declicks"] == 0

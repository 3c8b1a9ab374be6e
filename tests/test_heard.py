"""What the callback plays and tells: from which slot, of which generation, declicked or not; never NaN; one opening
of the gate is one swap; replicas that differ are counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from memory import block_at, block_data, block_head, head_at, write_word
from rig import Rig

from pyengine import Patch, _native
from pyengine._native import CALLBACK, DECLICKED, Record

BLOCK = 64


def voice() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("filt1", "biquad_filter")
    return patch.connect("osc1", "filt1")


def other_voice() -> Patch:
    return Patch(next_handle=10).create("osc9", "simple_sine").set("osc9", "freq", 333.0)


def play(rig: Rig, n_blocks: int = 1) -> npt.NDArray[np.float32]:
    """Call the callback from here, once per block; it does not wait for blocks as the clock would."""
    data = b""
    for _ in range(n_blocks):
        rig.settle()
        data += rig.output.process(BLOCK)
    return np.frombuffer(data, np.float32).reshape(-1, rig.config.n_channels)


def told(rig: Rig, *kinds: str) -> list[tuple[str, int, int, int, int]]:
    """Return (kind, block, frame, generation, value) of what the callback told since the last call."""
    new = rig.drain()
    assert all(e.source == CALLBACK for e in new if e.kind in kinds)
    return [(e.kind, e.block, e.frame, e.generation, e.value) for e in new if e.kind in kinds]


def heard(rig: Rig) -> list[tuple[int, int, int, int, bool]]:
    """Return (block, frame, slot, generation, declicked) of every change of what is heard since the last call."""
    return [
        (block, frame, value % DECLICKED, generation, value >= DECLICKED)
        for _, block, frame, generation, value in told(rig, "heard")
    ]


def started(rig: Rig) -> int:
    """Commit a patch; return the slot that is heard, at a block's edge, with all told."""
    rig.commit(voice())
    play(rig, 5)
    rig.drain()
    return rig.segment.active_slot


def begin_commit(rig: Rig, patch: Patch, fade_frames: int = 0) -> tuple[int, int]:
    """Arm the standby, send the SWITCH, leave the gate shut; return the generation and the block of the SWITCH."""
    standby = 1 - rig.segment.active_slot
    rig.generation += 1
    rig.segment.reset_prime_ready(standby, rig.generation)
    rig.workers[standby].arm(rig.plan(patch), rig.generation, fade_frames)
    assert rig.segment.set_prime_ready(standby, rig.generation)
    rig.settle()
    block = rig.segment.render_head(standby)
    rig.send(Record(0, 0, 0.0, switch_to=rig.generation))
    return rig.generation, block


# ---- what is told ---------------------------------------------------------------------------------------


def test_the_first_swap_in_time_is_told_at_its_block_without_a_declick() -> None:
    with Rig() as rig:
        play(rig, 3)
        assert heard(rig) == []  # from slot 0, generation 0, as it began
        generation, block = begin_commit(rig, voice())
        rig.segment.open_gate(generation)
        play(rig, 10)
        assert heard(rig) == [(block, block * BLOCK, 1, generation, False)]
        assert rig.counters()["declicks"] == 0


def test_a_late_swap_is_told_with_its_declick_at_the_block_it_comes_at() -> None:
    with Rig() as rig:
        active = started(rig)
        generation, block = begin_commit(rig, other_voice())
        at = rig.segment.play_block
        play(rig, block - at + 3)  # three blocks of it are not heard
        rig.segment.open_gate(generation)
        play(rig, 5)
        assert [(e[1], e[4]) for e in told(rig, "swap")] == [(block + 3, 3)]
        rig_heard = [e for e in rig.events if e.kind == "heard"][-1]
        assert (rig_heard.block, rig_heard.frame) == (block + 3, (block + 3) * BLOCK)
        assert (rig_heard.generation, rig_heard.value) == (generation, 1 - active + DECLICKED)
        assert rig.counters()["late_swaps"] == 1 and rig.counters()["declicks"] == 1


def test_a_fall_back_to_the_old_patch_and_the_way_back_through_the_gate_are_told() -> None:
    with Rig() as rig:
        old = started(rig)
        rig.switch(other_voice())
        play(rig, 3)
        heard(rig)
        new, at = 1 - old, rig.segment.play_block
        rig.segment.set_playable(new, False)
        play(rig, 4)
        assert heard(rig) == [(at, at * BLOCK, old, 1, True)]
        assert rig.segment.active_slot == old and rig.segment.heard_generation == 1
        assert [e.value for e in rig.events if e.kind == "fallback"] == [0]  # another generation
        rig.segment.set_playable(new, True)
        play(rig, 4)
        assert heard(rig) == []  # nobody opened the gate again
        rig.segment.open_gate(2)
        at = rig.segment.play_block
        play(rig, 4)
        assert heard(rig) == [(at, at * BLOCK, new, 2, True)]
        rig.segment.close_gate()
        assert rig.counters()["swaps"] == 3 and rig.counters()["fallbacks"] == 1


def test_an_underrun_and_the_return_from_it_are_told_to_the_frame() -> None:
    with Rig() as rig:
        active = started(rig)
        play(rig, 2)
        rig.output.process(17)  # in the middle of a block
        at, block = rig.output.frames, rig.segment.play_block
        for slot in range(2):
            rig.segment.set_playable(slot, False)
        silence = np.frombuffer(rig.output.process(100), np.float32).reshape(-1, 2)
        rig.output.process(50)
        assert told(rig, "underrun") == [("underrun", block + 1, at + 47, 0, 0)]  # what it had begun, it put out
        assert not any(e.kind == "heard" and e.frame >= at for e in rig.events)
        assert np.abs(silence[-1]).max() < np.abs(silence[46]).max()  # falls to zero
        for slot in range(2):
            rig.segment.set_playable(slot, True)
        play(rig, 2)
        again = at + 150
        assert [(e.kind, e.block, e.frame, e.value) for e in rig.drain() if e.kind in ("heard", "resumed")] == [
            ("heard", block + 1, again, active + DECLICKED),
            ("resumed", block + 1, again, 103),
        ]
        assert rig.counters()["declicks"] == 2 and rig.counters()["frames_underrun"] == 103


def test_a_block_taken_from_the_other_ring_is_told_and_so_is_the_next_without_a_declick() -> None:
    with Rig() as rig, Rig() as other:
        active = started(rig)
        assert started(other) == active
        rig.settle()
        block = rig.segment.play_block + 1
        write_word(rig.segment, head_at(rig.segment, active, block), 0)  # being written, for ever
        assert np.array_equal(play(rig, 6), play(other, 6))
        assert heard(rig) == [
            (block, block * BLOCK, 1 - active, 1, False),
            (block + 1, (block + 1) * BLOCK, active, 1, False),
        ]
        counters = rig.counters()
        assert counters["hedged_blocks"] == 1 and counters["declicks"] == counters["fallbacks"] == 0
        assert rig.segment.active_slot == active


@pytest.mark.parametrize("stamp", ["being written", "of the next lap", "of the block before"])
def test_a_block_that_is_torn_or_another_one_in_the_active_ring_is_taken_from_the_other(stamp: str) -> None:
    with Rig() as rig, Rig() as other:
        active = started(rig)
        started(other)
        rig.settle()
        block = rig.segment.play_block
        at = block_at(rig.segment, active, block)
        rig.segment._memory[at : at + 256] = b"\x7f" * 256  # half written over
        stamps = {"being written": 0, "of the next lap": block + 257, "of the block before": block}
        write_word(rig.segment, head_at(rig.segment, active, block), stamps[stamp])
        assert np.array_equal(play(rig, 3), play(other, 3))
        assert rig.counters()["hedged_blocks"] == 1 and rig.counters()["frames_underrun"] == 0


def test_a_block_torn_in_both_rings_is_silence_until_one_of_them_is_whole() -> None:
    with Rig() as rig, Rig() as other:
        started(rig)
        started(other)
        rig.settle()
        block = rig.segment.play_block
        heads = [head_at(rig.segment, slot, block) for slot in range(2)]
        for at in heads:
            write_word(rig.segment, at, 0)
        rig.output.process(BLOCK)
        assert rig.segment.play_block == block  # time stands still
        write_word(rig.segment, heads[1], block + 1)
        expected = play(other, 12)
        assert np.array_equal(play(rig, 12)[240:], expected[240:])
        assert rig.counters()["frames_underrun"] == BLOCK and rig.counters()["declicks"] == 2


def test_after_enough_late_blocks_in_a_row_the_other_slot_becomes_active_without_a_sound() -> None:
    with Rig() as rig, Rig() as other:
        active = started(rig)
        started(other)
        n = 0
        expected, got = [], []
        while rig.segment.active_slot == active:
            rig.settle()
            write_word(rig.segment, head_at(rig.segment, active, rig.segment.play_block), 0)
            got.append(play(rig))
            expected.append(play(other))
            n += 1
        assert n == 16 and rig.counters()["hedged_blocks"] == 16
        assert np.array_equal(np.concatenate(got), np.concatenate(expected))
        assert [e.value for e in rig.drain() if e.kind == "fallback"] == [1]  # the same generation
        assert np.array_equal(play(rig, 5), play(other, 5))


# ---- the gate -------------------------------------------------------------------------------------------


def test_one_opening_of_the_gate_is_one_swap() -> None:
    with Rig() as rig:
        old = started(rig)
        rig.switch(other_voice())  # opened, swapped, closed
        play(rig, 2)
        rig.segment.set_playable(1 - old, False)
        play(rig, 2)
        rig.segment.set_playable(1 - old, True)
        assert rig.segment.active_slot == old
        rig.segment.open_gate(2)
        play(rig, 2)
        assert rig.segment.active_slot == 1 - old and rig.counters()["swaps"] == 3
        rig.segment.set_playable(1 - old, False)  # falls back while the gate stands open
        play(rig, 2)
        rig.segment.set_playable(1 - old, True)
        play(rig, 5)
        assert rig.segment.active_slot == old and rig.counters()["swaps"] == 3  # this opening is used up
        rig.segment.open_gate(2)
        play(rig, 2)
        assert rig.segment.active_slot == 1 - old and rig.counters()["swaps"] == 4
        rig.segment.close_gate()
        play(rig, 2)
        assert rig.counters()["swaps"] == 4 and rig.counters()["fallbacks"] == 2


@pytest.mark.parametrize("missing", ["ready", "primed", "primed for another", "block", "open"])
def test_the_gate_swaps_only_when_everything_is_there(missing: str) -> None:
    with Rig() as rig:
        active = started(rig)
        standby = 1 - active
        generation, block = begin_commit(rig, other_voice())
        if missing != "open":
            rig.segment.open_gate(generation)
        if missing == "ready":
            rig.segment.close_gate()
        if missing == "primed":
            rig.segment.reset_prime_ready(standby, generation)
        if missing == "primed for another":
            rig.segment.reset_prime_ready(standby, generation + 1)
            assert rig.segment.set_prime_ready(standby, generation + 1)
        if missing == "block":
            rig.segment.set_playable(standby, False)
        play(rig, block - rig.segment.play_block + 4)
        assert rig.segment.active_slot == active and rig.counters()["swaps"] == 1
        assert rig.segment.heard_generation == generation - 1


# ---- replicas that differ -------------------------------------------------------------------------------


def test_replicas_are_compared_block_by_block() -> None:
    with Rig() as rig:
        started(rig)
        before = rig.counters()
        play(rig, 25)
        after = rig.counters()
        assert after["compared_blocks"] - before["compared_blocks"] == 25
        assert after["diverged_blocks"] == 0


def test_a_slot_that_plays_another_patch_is_not_compared() -> None:
    with Rig() as rig:
        started(rig)
        rig.switch(other_voice())
        play(rig, 3)
        before = rig.counters()["compared_blocks"]
        play(rig, 10)
        assert rig.counters()["compared_blocks"] == before


def test_a_block_with_other_bits_in_one_ring_is_counted_and_told_and_the_active_one_is_heard() -> None:
    with Rig() as rig, Rig() as other:
        active = started(rig)
        started(other)
        rig.settle()
        block = rig.segment.play_block + 1
        at = head_at(rig.segment, 1 - active, block) + 16
        rig.segment._memory[at] ^= 1  # its hash
        data = block_at(rig.segment, 1 - active, block)
        rig.segment._memory[data] ^= 1  # and a sample
        assert np.array_equal(play(rig, 6), play(other, 6))
        assert told(rig, "diverged") == [("diverged", block, block * BLOCK, 1, active)]
        assert rig.counters()["diverged_blocks"] == 1


def test_a_replica_in_another_state_diverges_in_every_block_and_in_the_hash_of_its_checkpoints() -> None:
    with Rig(checkpoint_blocks=4) as rig, Rig() as other:
        active = started(rig)
        started(other)
        rig.segment.set_keeper(active, True)
        play(rig, 8), play(other, 8)
        standby = 1 - active
        rig.workers[standby].park(60_000)
        rig.rendering.discard(standby)
        join = _native.Join(rig.plan(voice().set("osc1", "gain", 0.9)), 1)  # the right patch in a wrong state
        join.restart(rig.segment, rig.segment.play_block, rig.segment.newest)
        rig.take(standby, join)
        rig.settle()
        play(rig, 4), play(other, 4)
        rig.drain()
        before = rig.counters()["diverged_blocks"]
        assert np.array_equal(play(rig, 20), play(other, 20))  # the active one is right
        assert rig.counters()["diverged_blocks"] == before + 20
        new = rig.drain()
        assert sum(e.kind == "diverged" for e in new) == 20
        written = {e.block: e.hash for e in new if e.kind == "checkpoint" and e.source == active}
        hashes = {e.block: e.hash for e in new if e.kind == "hash" and e.source == standby}
        both = written.keys() & hashes.keys()
        assert len(both) >= 4 and all(written[k] != hashes[k] for k in both)


def test_the_hash_in_a_blocks_head_is_a_function_of_its_bits_alone() -> None:
    with Rig() as rig:
        rig.commit(Patch().create("osc1", "simple_sine").set("osc1", "gain", 0.0))
        play(rig, 4)
        rig.settle()
        block = rig.segment.play_block
        seen = {block_data(rig.segment, slot, k): block_head(rig.segment, slot, k)[2] for slot in (0, 1)
                for k in (block, block + 1)}  # fmt: skip
        assert len(seen) == len(set(seen.values())) == 1  # silence is silence


# ---- what is not a number ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("more_modules")
@pytest.mark.parametrize("module", ["test_nan", "test_inf"])
def test_what_is_not_finite_comes_out_as_zero_counted_and_told_once(module: str) -> None:
    with Rig() as rig:
        rig.commit(Patch().create("bad", module))
        out = play(rig, 10)
        assert not np.any(out)
        rig.settle()
        rig.drain()
        first = {}
        for e in rig.events:
            if e.kind == "not finite":
                assert e.source not in first  # once, not in every block
                first[e.source] = e
        assert set(first) <= {0, 1} and first
        slot = rig.segment.active_slot
        begins = next(e.block for e in rig.events if e.kind == "switched" and e.generation == 1)
        assert first[slot].block == begins and first[slot].value == BLOCK * 2
        n_blocks = rig.segment.render_head(slot) - begins
        assert rig.segment.slot_counters(slot)["not_finite_samples"] == n_blocks * BLOCK * 2
        assert rig.counters()["diverged_blocks"] == 0


@pytest.mark.usefixtures("more_modules")
def test_a_module_that_turns_to_nan_in_mid_block_is_silent_from_that_frame_on_in_both_slots() -> None:
    with Rig() as rig:
        patch = Patch().create("bad", "test_poison").set("bad", "level", 0.25)
        rig.commit(patch)
        play(rig, 4)
        rig.settle()
        at = rig.output.frames
        frame = rig.segment.render_head(0) * BLOCK + 17
        armed = 1
        rig.send(Record(patch.nodes["bad"].handle, armed, 1.0, frame=frame))
        out = play(rig, 12)
        assert np.all(out[: frame - at] == 0.25) and not np.any(out[frame - at :])
        assert rig.counters()["diverged_blocks"] == 0
        assert {e.source for e in rig.drain() if e.kind == "not finite"} == {0, 1}


@pytest.mark.usefixtures("more_modules")
def test_a_crossfade_between_finite_samples_too_far_apart_stays_finite() -> None:
    up = Patch().create("up", "test_huge").set("up", "level", 1.0)
    down = Patch(next_handle=10).create("down", "test_huge").set("down", "level", -1.0)
    with Rig() as rig:
        rig.record()
        rig.commit(up)
        rig.commit(down, 1000)
        rig.advance(3000)
        assert np.all(np.isfinite(rig.read_tap()))


@pytest.mark.usefixtures("more_modules")
@pytest.mark.parametrize("is_in", [True, False])
def test_a_crossfade_with_a_patch_that_is_not_finite_stays_finite(is_in: bool) -> None:
    good = Patch().create("osc1", "simple_sine")
    bad = Patch(next_handle=10).create("bad", "test_inf")
    with Rig() as rig:
        rig.record()
        rig.commit(good if is_in else bad, 100)
        rig.commit(bad if is_in else good, 1000)
        rig.commit(good if is_in else bad, 1000)
        rig.advance(3000)
        out = rig.read_tap()
        assert np.all(np.isfinite(out)) and np.any(out)
        assert rig.counters()["diverged_blocks"] == 0

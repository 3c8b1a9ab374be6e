"""A checkpoint is written piece by piece beside the blocks, and holds the one edge at which it was begun.

`checkpoint_pieces` lets a worker take so many pieces with each block and no more, so that what is rendered and set
meanwhile is known to the block.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import checkpoint_places
from pyengine._core import lib
from rig import Rig, wait_until
from strategies import patches

from pyengine import Patch, _native
from pyengine._native import KEEP_ALL, Record
from pyengine.specs import registry

BLOCK = 64
AT_ONCE = 1 << 20  # pieces: more than there are
N_VOICES = 40  # two banks and a half


def voices() -> Patch:
    patch = Patch()
    for i in range(N_VOICES):
        osc, env, filt = f"osc{i}", f"env{i}", f"filt{i}"
        patch.create(osc, "simple_sine").create(env, "adsr").create(filt, "biquad_filter")
        patch.connect(osc, env).connect(env, filt).set(osc, "freq", 100.0 + 31.0 * i).set(osc, "gain", 0.01)
    return patch


def voice() -> Patch:
    patch = Patch().create("osc", "simple_sine").create("env", "adsr").create("filt", "biquad_filter")
    return patch.connect("osc", "env").connect("env", "filt")


def everything() -> Patch:
    """Voices in banks, and beside them one of each module that needs no data: those that set others, too."""
    patch = voices()
    for spec in registry().modules:
        if not spec.data:
            patch.create(f"a_{spec.name}", spec.name)
    return patch.connect("a_lfo", "filt3.cutoff").connect("osc5", "a_delay").connect("a_delay", "a_feedback")


def pieces_of(rig: Rig, patch: Patch) -> int:
    """How many pieces a checkpoint of a patch without memories has."""
    with rig.plan(patch) as plan:
        return -(-plan.state_bytes // lib.PE_PIECE_BYTES)


def told(rig: Rig) -> dict[int, int]:
    """Return block -> hash of the checkpoints of generation 1 that were told so far, written or not."""
    rig.drain()
    return {e.block: e.hash for e in rig.events if e.kind in ("checkpoint", "hash") and e.generation == 1}


def wait_for_a_turn(rig: Rig, slot: int) -> None:
    """Return once the slot's render thread has gone round its loop: it has seen all that was stored before."""

    def heartbeat() -> int:
        return int(lib.pe_seat_heartbeat(rig.segment.pointer, rig.seats[slot]))

    before = heartbeat()
    wait_until(lambda: heartbeat() >= before + 2, 60.0)


def go_on(rig: Rig, n_blocks: int) -> None:
    """Play so many blocks; the workers have gone on with what they write by then."""
    rig.advance(BLOCK * n_blocks)
    rig.settle()
    for slot in rig.rendering:
        wait_for_a_turn(rig, slot)


def playing(rig: Rig, patch: Patch) -> int:
    """Play a patch until its envelopes stand; return the slot that does."""
    rig.switch(patch)
    rig.advance(BLOCK * 200)
    return rig.segment.active_slot


def ask(rig: Rig, slot: int) -> int:
    """Let a slot begin a checkpoint; return the block before which it stands."""
    rig.settle()
    head = rig.segment.render_head(slot)
    rig.segment.request_checkpoint(slot, rig.segment.slot_generation(slot))
    wait_for_a_turn(rig, slot)
    return head


def random_records(rng: random.Random, patch: Patch, first_frame: int) -> list[Record]:
    records = []
    for node in rng.sample(list(patch.nodes.values()), min(len(patch.nodes), rng.choice((0, 0, 1, 3)))):
        for param in rng.sample(registry()[node.type].params, min(1, len(registry()[node.type].params))):
            value = rng.uniform(param.min, min(param.max, 1000.0))
            frame = rng.choice((-1, first_frame + rng.randrange(3 * BLOCK)))
            records.append(Record(node.handle, param.index, value, frame=frame, is_immediate=rng.random() < 0.2))
    return records


def hashes(patch: Patch, *, pieces: int, is_kept: bool, seed: int, n_blocks: int) -> tuple[dict[int, int], bytes]:
    """Play the patch, with a checkpoint every 16 blocks and settings at random; return what was told, and heard."""
    rng = random.Random(seed)
    with Rig(checkpoint_blocks=16, checkpoint_pieces=pieces) as rig:
        rig.record()
        rig.switch(patch)
        rig.segment.set_keeper(rig.segment.seat(rig.segment.active_slot), is_kept)
        for _ in range(n_blocks):
            records = random_records(rng, patch, (rig.segment.play_block + 2) * BLOCK)
            if records:
                rig.send(*records)
            rig.advance(BLOCK)
        rig.settle()
        return told(rig), rig.read_tap().tobytes()


def assert_the_same_however_it_is_written(patch: Patch, seed: int, pieces: int, n_blocks: int = 70) -> None:
    whole, heard = hashes(patch, pieces=AT_ONCE, is_kept=True, seed=seed, n_blocks=n_blocks)
    assert len(whole) >= n_blocks // 16 - 1
    for is_kept in (True, False):
        spread, also_heard = hashes(patch, pieces=pieces, is_kept=is_kept, seed=seed, n_blocks=n_blocks)
        assert spread == {block: whole[block] for block in spread} and len(spread) >= len(whole) - 1
        assert also_heard == heard


@settings(max_examples=12, deadline=None)
@given(patch=patches(max_nodes=12), seed=st.integers(0, 1 << 30))
def test_a_checkpoint_taken_piece_by_piece_is_that_of_its_edge_whatever_is_set_meanwhile(
    patch: Patch, seed: int
) -> None:
    assert_the_same_however_it_is_written(patch, seed, pieces=1)


@pytest.mark.parametrize("make", [voices, everything])
@pytest.mark.parametrize("seed", range(3))
def test_so_is_one_of_voices_in_banks_and_of_every_module(make: Callable[[], Patch], seed: int) -> None:
    assert_the_same_however_it_is_written(make(), seed, pieces=10)


def test_what_stands_still_in_banks_is_written_in_as_many_blocks_as_it_has_pieces() -> None:
    with Rig(checkpoint_pieces=8) as rig:
        patch = voices()
        head = ask(rig, playing(rig, patch))
        n_blocks = -(-pieces_of(rig, patch) // 8) - 1  # the first ones were taken at the request
        assert n_blocks > 5
        for _ in range(n_blocks):
            assert told(rig) == {} and rig.segment.checkpoint(1) is None
            go_on(rig, 1)
        assert list(told(rig)) == [head]
        found = rig.segment.checkpoint(1)
        assert found is not None and found[0] == head


@pytest.mark.parametrize("make", [voice, voices])
def test_a_setting_of_what_stood_still_changes_the_state_after_the_edge_and_not_at_it(
    make: Callable[[], Patch],
) -> None:
    found = []
    for pieces in (AT_ONCE, 1):
        with Rig(checkpoint_pieces=pieces) as rig:
            patch = make()
            slot = playing(rig, patch)
            n_pieces, handles = pieces_of(rig, patch), [patch.nodes[id].handle for id in list(patch.nodes)[::31]]
            head = ask(rig, slot)
            go_on(rig, n_pieces // 16)
            assert bool(told(rig)) == (pieces == AT_ONCE)
            rig.send(*(Record(handle, 0, 77.0) for handle in handles))
            go_on(rig, n_pieces)
            found.append(told(rig))
            assert list(told(rig)) == [head]
    assert found[0] == found[1]


def test_who_joins_from_one_that_was_written_while_it_played_goes_on_with_the_same_bits() -> None:
    with Rig(checkpoint_pieces=1) as rig:
        rig.record()
        patch = voices()
        active = playing(rig, patch)
        joined = 1 - active
        rig.segment.set_pin(joined, 0)
        head = ask(rig, active)
        n_blocks = 0
        while not told(rig):
            rig.send(Record(patch.nodes[f"osc{n_blocks // 8}"].handle, 0, 300.0 + n_blocks))
            rig.advance(BLOCK)
            n_blocks += 1
        assert list(told(rig)) == [head] and n_blocks > 10
        rig.join(joined, [(1, patch, 0)])
        rig.segment.set_pin(joined, _native.NO_PIN)
        rig.advance(BLOCK * 20)
        rig.segment.set_playable(active, False)  # from here on only the one that joined is heard
        rig.advance(BLOCK * 40)
        counters = rig.counters()
        assert rig.segment.active_slot == joined and counters["compared_blocks"] > 10
        assert counters["diverged_blocks"] == 0 and rig.read_tap()[-BLOCK * 40 :].any()


def test_a_request_while_one_is_written_gets_a_later_one() -> None:
    with Rig(checkpoint_pieces=4) as rig:
        patch = voices()
        slot = playing(rig, patch)
        blocks = [ask(rig, slot)]
        go_on(rig, 1)
        blocks.append(ask(rig, slot))
        assert told(rig) == {}
        go_on(rig, 2 * pieces_of(rig, patch) // 4 + 2)
        first, second = told(rig)
        assert first == blocks[0] and second > blocks[1]
        found = rig.segment.checkpoint(1)
        assert found is not None and found[0] == second


def test_one_that_a_switch_or_a_join_overtakes_is_given_up_and_the_one_before_it_stays() -> None:
    with Rig(checkpoint_pieces=1) as rig:
        patch = voices()
        active = playing(rig, patch)
        standby = 1 - active
        rig.segment.set_pin(standby, 0)
        whole = ask(rig, active)
        go_on(rig, pieces_of(rig, patch))
        assert list(told(rig)) == [whole]
        rig.join(standby, [(1, patch, 0)])
        ask(rig, standby)
        go_on(rig, 2)
        rig.switch(patch.copy().create("osc_more", "simple_sine"))  # the standby turns while it writes
        go_on(rig, pieces_of(rig, patch) + 5)
        assert list(told(rig)) == [whole] and rig.counters()["frames_underrun"] == 0
        ask(rig, active)
        go_on(rig, 2)
        rig.join(active, [(1, patch, 0)])  # takes over its run while it writes; then it begins anew
        at = rig.segment.render_head(active)
        go_on(rig, pieces_of(rig, patch) + 5)
        first, second = told(rig)
        assert first == whole and second >= at
        stamps = sorted(place.stamp for place in checkpoint_places(rig.segment, rig.seats[standby]))
        assert stamps == [0, 0]


def test_a_death_while_one_is_written_leaves_the_one_before_it() -> None:
    with Rig(checkpoint_pieces=1) as rig:
        patch = voices()
        slot = playing(rig, patch)
        whole = ask(rig, slot)
        go_on(rig, pieces_of(rig, patch))
        ask(rig, slot)
        go_on(rig, 3)
        rig.stop(slot)
        found = rig.segment.checkpoint(1)
        assert found is not None and found[0] == whole
        plan = rig.plan(patch)
        join = _native.Join(plan, 1)
        assert lib.pe_join_load(join.pointer, rig.segment.pointer, 1, KEEP_ALL, KEEP_ALL) == lib.PE_OK
        assert join.block == whole
        join.close()

"""A checkpoint holds all states: who loads it goes on with the same bits; one that was damaged is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from memory import INFO_AT, N_SCHEDULED_AT, CheckpointPlace, checkpoint_places, newest_place, write_word
from pyengine._core import ffi, lib
from rig import Rig

import pyengine
from pyengine import Patch, _native
from pyengine._native import KEEP_ALL, Record
from pyengine.errors import NativeError


def voice() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1")


def state_hash(states: bytes) -> int:
    """FNV-1a, as Plan.state_hash has it."""
    hash = 0xCBF29CE484222325
    for byte in states:
        hash = (hash ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hash


def test_both_slots_write_the_same_checkpoint_of_the_same_edge() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        handle = patch.nodes["osc1"].handle
        later = rig.output.frames + 100_000
        rig.send(Record(handle, 0, 100.0), Record(handle, 0, 600.0, frame=later))
        rig.advance(5000)
        rig.settle()
        told = [rig.checkpoint(slot) for slot in range(2)]
        one, other = (newest_place(rig.segment, seat) for seat in range(2))
        assert (one.block, one.seq, one.state_bytes) == (other.block, other.seq, other.state_bytes)
        assert one.checksum == other.checksum  # states, and the command that waits
        assert one.n_scheduled == other.n_scheduled == 1
        assert one.states == other.states
        assert [(e.block, e.value, e.hash) for e in told] == [(one.block, one.seq, one.checksum)] * 2


def test_a_checkpoint_before_the_first_command_holds_the_state_that_offline_rendering_reaches() -> None:
    with Rig() as rig:
        patch = voice()
        first = rig.commit(patch)
        rig.advance(3000)
        rig.settle()
        rig.checkpoint(0)
        place = newest_place(rig.segment, 0)
        n_frames = place.block * 64 - first
        with rig.plan(patch) as plan:
            out = np.zeros((n_frames, 2), np.float32)
            plan.render(ffi.NULL, 0, n_frames, 64, out)
            assert plan.state_bytes == place.state_bytes
            assert plan.state_hash == state_hash(place.states)


def test_a_slot_that_joined_goes_on_bit_for_bit() -> None:
    with Rig() as rig:
        rig.record()
        patch = voice()
        first = rig.commit(patch)
        joined = 1 - rig.segment.active_slot
        rig.advance(1000)
        rig.segment.set_playable(1 - joined, False)  # from here on only the one that joined is heard
        rig.advance(20_000)
        assert rig.counters()["hedged_blocks"] > 0 and rig.segment.active_slot == joined
        heard = rig.read_tap()[first:]
        assert np.array_equal(heard, pyengine.render(patch, frames=len(heard), channels=2))


def test_there_is_no_checkpoint_of_a_generation_that_nobody_runs() -> None:
    with Rig() as rig:
        rig.commit(voice())
        assert rig.segment.checkpoint(rig.generation + 1) is None
        rig.segment.request_checkpoint(0, rig.generation + 1)
        rig.advance(640)
        assert rig.segment.checkpoint(rig.generation + 1) is None
        with pytest.raises(NativeError) as error:
            _native.Join(rig.plan(voice()), rig.generation + 1).load(rig.segment, rig.generation + 1)
        assert error.value.status == lib.PE_NO_CHECKPOINT


def test_a_checkpoint_does_not_fit_the_plan_of_another_patch() -> None:
    with Rig() as rig:
        rig.commit(voice())
        with pytest.raises(NativeError) as error:
            other = rig.plan(Patch().create("osc1", "simple_sine"))
            _native.Join(other, rig.generation).load(rig.segment, rig.generation)
        assert error.value.status == lib.PE_BAD_CHECKPOINT


@pytest.mark.parametrize("change", [{"block_frames": 32}, {"block_frames": 128}, {"n_channels": 1}])
def test_a_plan_of_other_blocks_or_channels_is_neither_armed_nor_joined(change: dict[str, int]) -> None:
    with Rig() as rig, Rig(**change) as other:
        rig.commit(voice())
        with pytest.raises(NativeError) as error:
            rig.workers[0].join(_native.Join(other.plan(voice()), rig.generation), 100)
        assert error.value.status == lib.PE_BAD_ARGUMENT
        with pytest.raises(NativeError) as error:
            rig.workers[0].arm(other.plan(voice()), rig.generation + 1, 0)
        assert error.value.status == lib.PE_BAD_ARGUMENT


def test_a_patch_committed_unchanged_changes_no_bit() -> None:
    with Rig() as rig:
        rig.record()
        patch = voice()
        first = rig.commit(patch)
        for _ in range(4):
            rig.advance(777)
            rig.commit(patch)
        rig.advance(2000)
        heard = rig.read_tap()[first:]
        assert np.array_equal(heard, pyengine.render(patch, frames=len(heard), channels=2))


# ---- torn and damaged ones ---------------------------------------------------------------------------------


class Loaded:
    """What a fresh join of the voice is, after it has loaded the newest whole checkpoint; or the status."""

    def __init__(self, rig: Rig, patch: Patch) -> None:
        plan = rig.plan(patch)
        states = plan.pointer  # lives on in the join
        join = _native.Join(plan, rig.generation)
        self.status = int(lib.pe_join_load(join.pointer, rig.segment.pointer, rig.generation, KEEP_ALL, KEEP_ALL))
        self.hash = int(lib.pe_plan_state_hash(states)) if self.status == lib.PE_OK else 0
        join.close()


class Damaged:
    """A rig whose slot 0 has written two checkpoints, of different blocks and states; no other seat has any."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.memory = rig.segment._memory
        self.patch = voice()
        rig.commit(self.patch)
        handle = self.patch.nodes["osc1"].handle
        later = rig.output.frames + 1_000_000
        for _ in range(2):
            rig.send(*(Record(handle, 0, 100.0 + k, frame=later + k) for k in range(2)))
            rig.advance(64 * 15)
            rig.settle()
            rig.checkpoint(0)
        for seat in (1, 2):
            for place in checkpoint_places(rig.segment, seat):
                write_word(rig.segment, place.at, 0)
        self.older, self.newest = sorted(checkpoint_places(rig.segment, 0), key=lambda place: place.block)
        assert self.older.block < self.newest.block and self.older.stamp < self.newest.stamp
        assert (self.older.n_scheduled, self.newest.n_scheduled) == (2, 4)
        self.hash = {place.at: state_hash(place.states) for place in (self.older, self.newest)}
        assert len(set(self.hash.values())) == 2

    def load(self) -> Loaded:
        return Loaded(self.rig, self.patch)

    def hash_of(self, place: CheckpointPlace) -> int:
        return self.hash[place.at]

    @contextmanager
    def changed(self, at: int, data: bytes) -> Iterator[None]:
        kept = bytes(self.memory[at : at + len(data)])
        self.memory[at : at + len(data)] = data
        try:
            yield
        finally:
            self.memory[at : at + len(data)] = kept


def test_a_byte_flipped_anywhere_in_the_newest_checkpoint_makes_way_for_the_older_one() -> None:
    with Rig() as rig:
        damaged = Damaged(rig)
        assert damaged.load().hash == damaged.hash_of(damaged.newest)
        flips = random.Random(1)
        for at in damaged.newest.contents:
            with damaged.changed(at, bytes([damaged.memory[at] ^ flips.randrange(1, 256)])):
                assert damaged.load().hash == damaged.hash_of(damaged.older), at - damaged.newest.at
        assert damaged.load().hash == damaged.hash_of(damaged.newest)


def test_a_bit_flipped_anywhere_in_what_a_checkpoint_says_of_itself_is_found() -> None:
    with Rig() as rig:
        damaged = Damaged(rig)
        for place, other in ((damaged.newest, damaged.older), (damaged.older, damaged.newest)):
            for at in range(place.at + INFO_AT, place.at + N_SCHEDULED_AT + 8):
                for bit in range(8):
                    with damaged.changed(at, bytes([damaged.memory[at] ^ 1 << bit])):
                        assert damaged.load().hash == damaged.hash_of(other), (at - place.at, bit)


def test_a_byte_flipped_anywhere_in_the_older_checkpoint_does_not_matter_to_the_newest() -> None:
    with Rig() as rig:
        damaged = Damaged(rig)
        flips = random.Random(2)
        for at in damaged.older.contents:  # in its block, too: it may claim to be the newest
            with damaged.changed(at, bytes([damaged.memory[at] ^ flips.randrange(1, 256)])):
                assert damaged.load().hash == damaged.hash_of(damaged.newest), at - damaged.older.at


def test_a_checkpoint_whose_writer_died_anywhere_in_it_is_passed_over() -> None:
    """The stamp is 0 while it is written; and even if it were not, a half of this and a half of that is refused."""
    with Rig() as rig:
        damaged = Damaged(rig)
        place, contents = damaged.newest, damaged.newest.contents
        whole = bytes(damaged.memory[at] for at in contents)
        before = random.Random(3).randbytes(len(contents))  # what lay there before
        for n_written in range(len(contents)):
            for at, byte in zip(contents[n_written:], before[n_written:], strict=True):
                damaged.memory[at] = byte
            torn = bytes(damaged.memory[at] for at in contents) != whole
            assert damaged.load().hash == damaged.hash_of(damaged.older if torn else place)
            with damaged.changed(place.at, bytes(8)):
                assert damaged.load().hash == damaged.hash_of(damaged.older)
                found = rig.segment.checkpoint(rig.generation)
                assert found == (damaged.older.block, damaged.older.seq)
            for at, byte in zip(contents, whole, strict=True):
                damaged.memory[at] = byte


def test_with_both_damaged_or_torn_nothing_is_loaded_and_nothing_changes() -> None:
    with Rig() as rig:
        damaged = Damaged(rig)
        flips = random.Random(4)
        before = [rig.checkpoint(1).hash for _ in range(2)]
        for place in checkpoint_places(rig.segment, 1):
            write_word(rig.segment, place.at, 0)
        words = [(rig.segment.render_head(slot), rig.segment.applied(slot)) for slot in range(2)]
        pairs = [(flips.choice(damaged.newest.contents), flips.choice(damaged.older.contents)) for _ in range(200)]
        statuses = set()
        for one, other in pairs:
            with (
                damaged.changed(one, bytes([damaged.memory[one] ^ 0x10])),
                damaged.changed(other, bytes([damaged.memory[other] ^ 0x10])),
            ):
                statuses.add(damaged.load().status)
        assert statuses <= {lib.PE_BAD_CHECKPOINT, lib.PE_NO_CHECKPOINT} and lib.PE_BAD_CHECKPOINT in statuses
        with damaged.changed(damaged.newest.at, bytes(8)), damaged.changed(damaged.older.at, bytes(8)):
            assert damaged.load().status == lib.PE_NO_CHECKPOINT
            assert rig.segment.checkpoint(rig.generation) is None
        assert [(rig.segment.render_head(slot), rig.segment.applied(slot)) for slot in range(2)] == words
        assert [rig.checkpoint(1).hash for _ in range(2)] == before
        counters = rig.counters()
        rig.advance(64 * 10)
        assert rig.counters()["compared_blocks"] == counters["compared_blocks"] + 10
        assert rig.counters()["diverged_blocks"] == 0


def test_the_place_of_a_torn_checkpoint_is_written_next_and_the_whole_one_is_kept() -> None:
    with Rig() as rig:
        damaged = Damaged(rig)
        for _ in range(5):
            torn, whole = sorted(checkpoint_places(rig.segment, 0), key=lambda place: place.stamp)
            write_word(rig.segment, torn.at, 0)  # its writer died
            kept = whole.stamp, whole.block, whole.checksum, whole.states
            rig.advance(640)
            rig.settle()
            rig.checkpoint(0)
            assert (whole.stamp, whole.block, whole.checksum, whole.states) == kept
            assert torn.stamp == kept[0] + 1 and torn.block > kept[1]
            assert damaged.load().hash == state_hash(torn.states)


def test_of_all_seats_the_latest_block_is_loaded() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        for i in range(6):
            rig.advance(64 * 3)
            rig.settle()
            rig.checkpoint(i % 2)
            place = newest_place(rig.segment, i % 2)
            assert Loaded(rig, patch).hash == state_hash(place.states)
            assert rig.segment.checkpoint(rig.generation) == (place.block, place.seq)


# ---- at every so many blocks -------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 8, 25])
def test_the_keeper_writes_at_the_grid_and_the_other_slot_tells_the_same_hash(every: int) -> None:
    with Rig(checkpoint_blocks=every) as rig:
        rig.segment.set_keeper(0, True)
        patch = voice()
        rig.commit(patch)
        handle = patch.nodes["osc1"].handle
        rig.settle()
        rig.drain()
        rig.events.clear()
        begin = max(rig.segment.render_head(slot) for slot in range(2))
        for i in range(12):
            rig.send(Record(handle, 0, 200.0 + i), Record(handle, 1, 0.1, frame=rig.output.frames + 5000))
            rig.advance(64 * 10)
            rig.drain()
        rig.settle()
        rig.drain()
        written = {e.block: (e.generation, e.value, e.hash) for e in rig.events if e.kind == "checkpoint"}
        told = {e.block: (e.generation, e.value, e.hash) for e in rig.events if e.kind == "hash"}
        assert {e.source for e in rig.events if e.kind == "checkpoint"} == {0}
        assert {e.source for e in rig.events if e.kind == "hash"} == {1}
        end = min(rig.segment.render_head(slot) for slot in range(2))
        grid = {k for k in range(begin + 1, end) if k % every == 0}
        assert grid <= written.keys() and grid <= told.keys()
        assert all(k % every == 0 for k in written | told)
        assert all(written[k] == told[k] for k in grid)
        found = rig.segment.checkpoint(rig.generation)
        assert found is not None and found[0] == max(written)


def test_when_the_other_slot_is_made_keeper_it_writes_and_the_first_only_tells() -> None:
    with Rig(checkpoint_blocks=4) as rig:
        rig.commit(voice())
        rig.settle()
        rig.drain()
        for keeper in (0, 1, 0):
            for slot in range(2):
                rig.segment.set_keeper(slot, slot == keeper)
            rig.advance(64 * 8)
            rig.settle()
            rig.drain()
            rig.events.clear()
            rig.advance(64 * 20)
            rig.settle()
            rig.drain()
            kinds = {(e.source, e.kind) for e in rig.events if e.kind in ("checkpoint", "hash")}
            assert kinds == {(keeper, "checkpoint"), (1 - keeper, "hash")}


def test_without_a_period_nothing_is_written_unasked() -> None:
    with Rig() as rig:
        rig.segment.set_keeper(0, True)
        rig.commit(voice())
        rig.drain()
        rig.events.clear()
        rig.advance(64 * 100)
        rig.drain()
        assert not [e for e in rig.events if e.kind in ("checkpoint", "hash")]


def test_no_checkpoint_is_written_in_a_crossfade_and_the_one_that_was_asked_for_comes_after_it() -> None:
    with Rig(checkpoint_blocks=2) as rig:
        for slot in range(2):
            rig.segment.set_keeper(slot, True)
        patch = voice()
        rig.commit(patch)
        standby = 1 - rig.segment.active_slot
        first = rig.switch(patch.copy().set("osc1", "freq", 300.0), 64 * 20) // 64
        rig.segment.request_checkpoint(standby, rig.generation)
        rig.advance(64 * 40)
        rig.settle()
        rig.drain()
        blocks = [e.block for e in rig.events if e.kind == "checkpoint" and e.generation == rig.generation]
        assert blocks and min(blocks) == first + 20

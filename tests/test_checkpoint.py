"""A checkpoint holds all states: who loads it goes on with the same bits; one that was damaged is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyengine._core import ffi, lib
from rig import Rig, wait_until

import pyengine
from pyengine import Patch
from pyengine._native import NO_PIN, Record
from pyengine.errors import NativeError

HEAD_BYTES, INFO_AT, N_SCHEDULED_AT = 64, 8, 48
SCHEDULE_BYTES = lib.PE_SCHEDULE_SIZE * ffi.sizeof("PeCommand")


def voice() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1")


def info_of(rig: Rig, generation: int) -> Any:
    info = ffi.new("PeCheckpointInfo *")
    assert lib.pe_checkpoint_latest(rig.segment.pointer, generation, info) == lib.PE_OK
    return info


def checkpoint(rig: Rig, slot: int) -> Any:
    """Let a slot write a checkpoint and return what it says of itself."""
    count = rig.segment.slot_counters(slot)["checkpoints"]
    rig.segment.request_checkpoint(slot, rig.generation)
    wait_until(lambda: rig.segment.slot_counters(slot)["checkpoints"] > count)
    return info_of(rig, rig.generation)


def state_hash(rig: Rig, info: Any, at: int) -> int:
    """FNV-1a over the states in a checkpoint, as Plan.state_hash has it."""
    hash = 0xCBF29CE484222325
    for byte in rig.segment._memory[at + HEAD_BYTES + SCHEDULE_BYTES :][: info.state_bytes]:
        hash = (hash ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hash


def place_of(rig: Rig, info: Any) -> int:
    """Return where in the segment the newest checkpoint that says this of itself begins."""
    memory, places = rig.segment._memory, []
    at = memory.find(bytes(ffi.buffer(info)))
    while at > 0:
        places.append((int.from_bytes(memory[at - INFO_AT : at], "little"), at - INFO_AT))
        at = memory.find(bytes(ffi.buffer(info)), at + 1)
    return max(places)[1]


def test_both_slots_write_the_same_checkpoint_of_the_same_edge() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        handle = patch.nodes["osc1"].handle
        later = rig.output.frames + 100_000
        assert rig.segment.send([Record(handle, 0, 100.0), Record(handle, 0, 600.0, frame=later)])
        rig.advance(5000)
        rig.settle()
        one = checkpoint(rig, 0)
        at = place_of(rig, one)
        other = checkpoint(rig, 1)
        assert at != place_of(rig, other)
        assert (one.block, one.seq, one.state_bytes) == (other.block, other.seq, other.state_bytes)
        assert one.checksum == other.checksum  # states, and the command that waits
        assert state_hash(rig, one, at) == state_hash(rig, other, place_of(rig, other))


def test_a_checkpoint_before_the_first_command_holds_the_state_that_offline_rendering_reaches() -> None:
    with Rig() as rig:
        patch = voice()
        first = rig.commit(patch)
        rig.advance(3000)
        rig.settle()
        info = checkpoint(rig, 0)
        n_frames = info.block * 64 - first
        with rig.plan(patch) as plan:
            out = np.zeros((n_frames, 2), np.float32)
            plan.render(ffi.NULL, 0, n_frames, 64, out)
            assert plan.state_bytes == info.state_bytes
            assert plan.state_hash == state_hash(rig, info, place_of(rig, info))


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
            rig.workers[0].join(rig.plan(voice()), rig.generation + 1, 100)
        assert error.value.status == lib.PE_NO_CHECKPOINT


def test_a_checkpoint_does_not_fit_the_plan_of_another_patch() -> None:
    with Rig() as rig:
        rig.commit(voice())
        with pytest.raises(NativeError) as error:
            rig.workers[0].join(rig.plan(Patch().create("osc1", "simple_sine")), rig.generation, 100)
        assert error.value.status == lib.PE_BAD_CHECKPOINT


@pytest.mark.parametrize("change", [{"block_frames": 32}, {"block_frames": 128}, {"n_channels": 1}])
def test_a_plan_of_other_blocks_or_channels_is_neither_armed_nor_joined(change: dict[str, int]) -> None:
    with Rig() as rig, Rig(**change) as other:
        rig.commit(voice())
        with pytest.raises(NativeError) as error:
            rig.workers[0].join(other.plan(voice()), rig.generation, 100)
        assert error.value.status == lib.PE_BAD_ARGUMENT
        with pytest.raises(NativeError) as error:
            rig.workers[0].arm(other.plan(voice()), rig.generation + 1, 0)
        assert error.value.status == lib.PE_BAD_ARGUMENT


def test_a_damaged_checkpoint_is_refused_wherever_the_damage_lies() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        later = rig.output.frames + 1_000_000
        handle = patch.nodes["osc1"].handle
        assert rig.segment.send([Record(handle, 0, 100.0 + i, frame=later + i) for i in range(3)])
        rig.advance(1000)
        rig.settle()
        checkpoint(rig, 0)
        info = checkpoint(rig, 0)
        at, memory = place_of(rig, info), rig.segment._memory
        states_at = at + HEAD_BYTES + SCHEDULE_BYTES
        places = [
            *range(at + INFO_AT + 8, at + INFO_AT + 40),  # block, number, size of the states, checksum
            *range(at + N_SCHEDULED_AT, at + N_SCHEDULED_AT + 4),
            *range(at + HEAD_BYTES, at + HEAD_BYTES + 3 * 64),  # the commands that wait
            *range(states_at, states_at + info.state_bytes),
        ]

        def join() -> None:
            rig.segment.set_pin(1, info.seq)
            try:
                rig.workers[1].join(rig.plan(patch), rig.generation, 5000)
            finally:
                rig.segment.set_pin(1, NO_PIN)

        @settings(max_examples=150, deadline=None)
        @given(st.sampled_from(places), st.integers(1, 255))
        def damage(place: int, flip: int) -> None:
            memory[place] ^= flip
            try:
                with pytest.raises(NativeError) as error:
                    join()
            finally:
                memory[place] ^= flip
            assert error.value.status == lib.PE_BAD_CHECKPOINT

        damage()
        join()
        assert rig.segment.slot_generation(1) == rig.generation


def test_a_checkpoint_that_is_being_written_is_passed_over() -> None:
    with Rig() as rig:
        rig.commit(voice())
        memory = rig.segment._memory
        for _ in range(2):  # each of the two buffers is in writing when its writer dies
            at = place_of(rig, info_of(rig, rig.generation))
            memory[at : at + 8] = bytes(8)
            if rig.segment.checkpoint(rig.generation) is None:
                break
        assert rig.segment.checkpoint(rig.generation) is None
        checkpoint(rig, 0)
        assert rig.segment.checkpoint(rig.generation) is not None


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

"""Starting a plan: from a checkpoint, through the SWITCHes that came after it, or anew after poison. Same bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from memory import block_data, block_head, checkpoint_places, record_at, write_word
from pyengine._core import lib
from rig import Rig

from pyengine import Patch, _native
from pyengine._native import NO_PIN, Record
from pyengine.errors import NativeError
from pyengine.lineage import Stage
from pyengine.worker import Builder

Samples = npt.NDArray[np.float32]


def voice(freq: float = 440.0) -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1").set("osc1", "freq", freq)


def two_voices(patch: Patch, cutoff: float = 900.0) -> Patch:
    """The same voice, another sine beside it, and the filter turned down: handles and states are carried."""
    return patch.copy().create("osc2", "simple_sine").set("osc2", "freq", 331.0).set("filt1", "cutoff", cutoff)


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(NativeError) as error:
        call()
    assert error.value.status is not None
    return error.value.status


def edge(rig: Rig, slot: int) -> tuple[int, int, int, int]:
    """Return what a slot is at the edge where it waits: generation, block, number, hash of all states."""
    rig.settle()
    event = rig.checkpoint(slot)
    return event.generation, event.block, event.value, event.hash


def assert_replicas(rig: Rig) -> None:
    """Both slots are the same to the last bit, and so is what they play from here on."""
    assert edge(rig, 0) == edge(rig, 1)
    rig.advance(64 * (rig.segment.effective_lead + 1))  # what was rendered before a join may be of another generation
    before = rig.counters()
    rig.advance(64 * 20)
    after = rig.counters()
    assert after["compared_blocks"] == before["compared_blocks"] + 20
    assert after["diverged_blocks"] == 0
    assert edge(rig, 0) == edge(rig, 1)


def heard_of(rig: Rig, slot: int, n_frames: int) -> None:
    """Let only this slot be heard for n_frames."""
    rig.segment.set_playable(1 - slot, False)
    rig.advance(n_frames)
    assert rig.segment.active_slot == slot


# ---- chains ---------------------------------------------------------------------------------------------


def commits(rig: Rig, fades: list[int], between: Callable[[Rig], None], *, late: bool) -> Samples:
    """Play a patch and len(fades) commits, and return all that was heard.

    Slot 1 has the first commit, then they take turns. With `late` the slot that was left behind joins only at the
    end, from the checkpoint of the first patch; otherwise after every commit, from the new plan's checkpoint.
    """
    patches = [voice()]
    patches += [two_voices(patches[0], cutoff=900.0 - 300.0 * i) for i in range(len(fades))]
    osc1 = patches[0].nodes["osc1"].handle
    rig.record()
    rig.commit(patches[0])
    rig.advance(777)
    rig.send(Record(osc1, 0, 500.0), Record(osc1, 1, 0.3, frame=rig.output.frames + 64 * 30 + 5))
    rig.settle()
    rig.advance(64)
    rig.checkpoint(0)
    rig.segment.set_keep(rig.segment.applied(0))
    rig.advance(500)
    behind = 0
    for i, fade_frames in enumerate(fades):
        behind = rig.segment.active_slot
        between(rig)
        rig.switch(patches[1 + i], fade_frames)
        rig.send(Record(osc1, 0, 600.0 + 50.0 * i), Record(osc1, 1, 0.2, frame=rig.output.frames + 64 * 6 + 17))
        if late or i + 1 < len(fades):
            chain = [(1, patches[0], 0)] + [(2 + k, patches[1 + k], fades[k]) for k in range(i + 1)]
            rig.join(behind, chain)
        rig.advance(fade_frames + 64 * 3)
    if not late:
        rig.checkpoint(1 - behind)
        rig.join(behind, [(rig.generation, patches[-1], 0)])
    assert_replicas(rig)
    heard_of(rig, behind, 5000)
    return rig.read_tap()


def nothing(rig: Rig) -> None:
    pass


def refused_commit(rig: Rig) -> None:
    """A SWITCH that nobody turns to: its commit was given up."""
    rig.send(Record(0, 0, 0.0, switch_to=1000 + rig.generation))
    rig.advance(100)


@pytest.mark.parametrize("fades", [[0], [240], [4800], [0, 0], [2000, 3000]], ids=str)
@pytest.mark.parametrize("between", [nothing, refused_commit])
def test_a_join_from_an_older_generation_goes_through_every_switch_to_the_same_bits(
    fades: list[int], between: Callable[[Rig], None]
) -> None:
    with Rig() as one, Rig() as other:
        heard = commits(one, fades, between, late=True)
        expected = commits(other, fades, between, late=False)
        n_frames = min(len(heard), len(expected))
        assert n_frames > 8000 and np.abs(heard).max() > 0.1
        assert np.array_equal(heard[:n_frames], expected[:n_frames])
        assert one.counters()["declicks"] == other.counters()["declicks"] == 0


def test_a_join_in_the_middle_of_a_crossfade_takes_the_fade_along() -> None:
    with Rig() as rig:
        first = voice()
        rig.commit(first)
        rig.settle()
        rig.checkpoint(0)
        rig.segment.set_keep(rig.segment.applied(0))
        behind = rig.segment.active_slot
        fade_frames = 64 * 100
        begin = rig.switch(two_voices(first), fade_frames) // 64
        rig.advance(64 * 10)
        rig.join(behind, [(1, first, 0), (2, two_voices(first), fade_frames)])
        rig.settle()
        head = rig.segment.render_head(behind)
        assert begin + 10 < head < begin + 100
        rig.advance(64)
        rig.settle()
        assert block_head(rig.segment, 0, head) == block_head(rig.segment, 1, head)  # and the hash of its bits
        rig.advance(64 * 100)
        rig.drain()
        ends = [(e.source, e.block) for e in rig.events if e.kind == "faded" and e.generation == 2]
        assert sorted(ends) == [(0, begin + 100), (1, begin + 100)]
        assert_replicas(rig)


def test_a_chain_whose_switch_never_came_is_refused_and_nothing_changes() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(0)
        before = [edge(rig, slot) for slot in range(2)]
        for chain in (
            [(1, patch, 0), (2, two_voices(patch), 0)],
            [(1, patch, 0), (2, two_voices(patch), 0), (3, voice(), 100)],
        ):
            join = rig.begin(chain)
            assert status_of(lambda join=join: rig.workers[0].join(join, 60_000)) == lib.PE_STALE
        assert [edge(rig, slot) for slot in range(2)] == before
        assert_replicas(rig)


def test_of_a_chain_that_was_half_switched_to_nothing_is_taken() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(0)
        rig.segment.set_keep(rig.segment.applied(0))
        behind = rig.segment.active_slot
        rig.switch(two_voices(patch))
        join = rig.begin([(1, patch, 0), (2, two_voices(patch), 0), (3, voice(), 0)])
        assert status_of(lambda: rig.workers[behind].join(join, 60_000)) == lib.PE_STALE
        assert rig.segment.slot_generation(behind) == 1 and rig.segment.slot_generation(1 - behind) == 2
        rig.join(behind, [(1, patch, 0), (2, two_voices(patch), 0)])
        assert_replicas(rig)


def test_a_chain_out_of_order_is_refused() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(0)
        rig.segment.set_keep(rig.segment.applied(0))
        behind = rig.segment.active_slot
        rig.switch(two_voices(patch))
        rig.advance(640)
        rig.checkpoint(1 - behind)
        rig.join(behind, [(2, two_voices(patch), 0)])
        rig.switch(voice())
        behind = 1 - rig.segment.active_slot
        join = rig.begin([(1, patch, 0), (3, voice(), 0), (2, two_voices(patch), 0)])
        assert status_of(lambda: rig.workers[behind].join(join, 60_000)) == lib.PE_STALE


@pytest.mark.parametrize("fade_frames", [0, 640])
@pytest.mark.parametrize("n_played", [0, 17, 64, 128 + 17])
def test_a_fresh_worker_turns_by_itself_at_a_switch_that_was_sent_but_not_played_yet(
    fade_frames: int, n_played: int
) -> None:
    """Both slots die with the SWITCH decided, or only sent: whoever starts from before it meets it in its own time."""
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(0)
        rig.segment.set_keep(rig.segment.applied(0))
        standby = 1 - rig.segment.active_slot
        rig.segment.reset_prime_ready(standby, 2)
        assert rig.segment.set_prime_ready(standby, 2)
        rig.segment.open_gate(2)
        rig.send(Record(0, 0, 0.0, switch_to=2))  # nothing is armed: nobody turns
        head = rig.segment.render_head(0)
        rig.advance(n_played)
        rig.settle()
        for slot in range(2):
            rig.stop(slot)
        assert rig.segment.play_block <= head  # its block was not heard yet, in either case
        for slot in range(2):
            rig.start(slot, slot)
            rig.join(slot, [(1, patch, 0), (2, two_voices(patch), fade_frames)])
        assert_replicas(rig) if fade_frames == 0 else rig.advance(fade_frames + 640)
        rig.drain()
        assert sorted((e.source, e.block) for e in rig.events if e.kind == "switched" and e.generation == 2) == [
            (0, head),
            (1, head),
        ]
        late = int(n_played > 128)  # the old patch's block was begun already
        swaps = [(e.block, e.value) for e in rig.events if e.kind == "swap" and e.generation == 2]
        assert swaps == [(head + late, late)]
        assert_replicas(rig)


def test_a_checkpoint_of_one_that_went_on_past_the_switch_is_no_start_for_the_chain() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        early = rig.checkpoint(0)
        rig.segment.set_keep(early.value)
        behind = rig.segment.active_slot
        rig.switch(two_voices(patch))
        below = rig.segment.newest  # the number of the SWITCH
        rig.advance(64 * 5)
        rig.settle()
        late = rig.checkpoint(behind)  # still of generation 1, with the SWITCH behind it
        assert late.generation == 1 and late.value >= below
        assert rig.segment.checkpoint(1) == (late.block, late.value)
        assert rig.segment.checkpoint(1, below=below) == (early.block, early.value)
        join = rig.begin([(1, patch, 0), (2, two_voices(patch), 0)])  # from the late one: never meets its SWITCH
        assert status_of(lambda: rig.workers[behind].join(join, 60_000)) == lib.PE_STALE
        join = _native.Join(rig.plan(patch), 1)
        join.load(rig.segment, 1, below=below)
        join.then(rig.plan(two_voices(patch)), 2, 0)
        rig.take(behind, join)
        assert_replicas(rig)


def test_into_an_empty_ring_goes_who_starts_no_later_than_what_is_due() -> None:
    """Both are dead and one ring is lost: from a checkpoint that lies ahead, the due block would never come."""
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        early = rig.checkpoint(0)
        rig.segment.set_keep(early.value)
        rig.advance(64 * 10)
        rig.settle()
        late = rig.checkpoint(0)
        due = rig.segment.play_block
        assert early.block <= due < late.block
        assert rig.segment.checkpoint(1, last_block=due) == (early.block, early.value)
        for slot in range(2):
            rig.stop(slot)
        rig.segment.set_playable(1, False)  # its ring is not to be trusted
        rig.start(0, 2)
        join = _native.Join(rig.plan(patch), 1)
        join.load(rig.segment, 1, last_block=due)
        rig.take(0, join)
        rig.advance(64 * 20)
        assert rig.counters()["frames_underrun"] == rig.counters()["declicks"] == 0


# ---- restart --------------------------------------------------------------------------------------------


def restarted(rig: Rig, patch: Patch, generation: int, source: int, block: int, base: int) -> _native.Join:
    join = _native.Join(rig.plan(patch), generation)
    join.load(rig.segment, source)
    join.restart(rig.segment, block, base)
    return join


def test_a_return_from_poison_goes_on_with_the_checkpoint_and_without_what_was_sent_since() -> None:
    patch = voice()
    osc1 = patch.nodes["osc1"].handle

    def until_checkpoint(rig: Rig) -> int:
        rig.commit(patch)
        rig.advance(64 * 40)
        rig.send(Record(osc1, 0, 700.0))
        rig.advance(64 * 10)
        rig.settle()
        rig.segment.set_keep(rig.checkpoint(1).value)
        return rig.segment.render_head(1)

    expected = []
    with Rig() as other:  # as if nothing had been sent
        first = until_checkpoint(other)
        for block in range(first, first + 40):
            other.advance(64)
            other.settle()
            expected.append(block_data(other.segment, 1, block))

    with Rig() as rig:
        assert until_checkpoint(rig) == first
        later = (first + 12) * 64
        rig.send(Record(osc1, 0, 90.0), Record(osc1, 1, 0.9, frame=later))  # one at once, one that waits
        rig.advance(64 * 5)
        rig.send(Record(osc1, 0, 95.0))  # nobody has decided about this one yet
        for slot in range(2):
            rig.stop(slot)
        block, base = rig.segment.play_block, rig.segment.newest
        decided = [lib.pe_journal_entry(rig.segment.pointer, k) for k in range(block, block + 8)]
        assert decided[0] and not decided[-1]
        for slot in range(2):
            rig.start(slot, slot)
            rig.take(slot, restarted(rig, patch, 2, 1, block, base))
        for i in range(40):
            rig.advance(64)
            rig.settle()
            place = block + i
            assert block_head(rig.segment, 0, place)[:2] == block_head(rig.segment, 1, place)[:2] == (place + 1, 2)
            assert block_data(rig.segment, 0, place) == block_data(rig.segment, 1, place) == expected[i], i
        entries = [lib.pe_journal_entry(rig.segment.pointer, k) for k in range(block + 40)]
        assert [e for e in decided if e] == entries[block : block + sum(map(bool, decided))]  # what stood still stands
        assert entries == sorted(entries)
        assert entries[-1] & ((1 << 40) - 1) == base
        assert rig.segment.applied(0) == rig.segment.applied(1) == base
        assert_replicas(rig)
        rig.send(Record(osc1, 1, 0.0, is_immediate=True))  # what is sent from now on counts
        rig.record()
        rig.advance(64 * 20)
        assert np.abs(rig.read_tap()[64 * 8 :]).max() < 1e-9  # the filter rings out


def test_a_restart_below_what_was_decided_obeys_the_decision_before_its_block() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(1)
        for _ in range(5):
            rig.send(Record(0, 0, 0.0, is_mark=True))
            rig.advance(64)
        rig.settle()
        newest = rig.segment.newest
        for slot in range(2):
            rig.stop(slot)
        for slot in range(2):
            rig.start(slot, slot)
            rig.take(slot, restarted(rig, patch, 2, 1, rig.segment.play_block, 0))  # 0: as if none were to be skipped
        rig.advance(64 * 10)
        rig.settle()
        entries = [lib.pe_journal_entry(rig.segment.pointer, k) for k in range(rig.segment.render_head(0))]
        assert entries == sorted(entries)
        assert rig.segment.applied(0) == newest


def test_a_restart_at_a_block_that_nobody_has_come_to_is_refused() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(1)
        ahead = rig.segment.render_head(1) + 5
        assert status_of(lambda: restarted(rig, patch, 2, 1, ahead, rig.segment.newest)) == lib.PE_STALE


# ---- parking --------------------------------------------------------------------------------------------


def test_a_parked_slot_renders_nothing_and_takes_no_plan_until_it_joins_again() -> None:
    with Rig() as rig:
        patch = voice()
        rig.record()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(0)
        rig.segment.set_keep(rig.segment.applied(0))
        standby = 1 - rig.segment.active_slot
        rig.workers[standby].park(60_000)
        rig.segment.set_alive(standby, False)
        rig.rendering.discard(standby)
        head, heartbeat = rig.segment.render_head(standby), rig.segment.heartbeat(standby)
        assert rig.segment.slot_generation(standby) == 0
        rig.send(Record(patch.nodes["osc1"].handle, 0, 300.0))
        rig.advance(64 * 30)
        assert rig.segment.render_head(standby) == head
        assert rig.segment.heartbeat(standby) > heartbeat  # it waits, it has not ended
        assert status_of(lambda: rig.workers[standby].arm(rig.plan(patch), 2, 0)) == _native.BUSY
        rig.workers[standby].park(60_000)  # once more does no harm
        rig.segment.request_checkpoint(standby, 1)
        rig.advance(640)
        assert not [e for e in rig.drain() if e.kind == "checkpoint" and e.source == standby and e.block >= head]
        rig.join(standby, [(1, patch, 0)])
        assert_replicas(rig)
        rig.switch(two_voices(patch), 100)  # and it turns to new plans again
        assert rig.segment.active_slot == standby
        assert rig.counters()["frames_underrun"] == 0


def test_a_slot_with_an_armed_plan_is_not_parked() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        standby = 1 - rig.segment.active_slot
        rig.workers[standby].arm(rig.plan(two_voices(patch)), 2, 0)
        assert status_of(lambda: rig.workers[standby].park(60_000)) == _native.BUSY
        assert status_of(lambda: rig.join(standby, [(1, patch, 0)])) == _native.BUSY
        rig.workers[standby].disarm()
        rig.workers[standby].park(60_000)
        rig.join(standby, [(1, patch, 0)])
        assert_replicas(rig)


def test_a_parked_slot_no_longer_holds_up_the_stream_once_it_is_not_alive() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        standby = 1 - rig.segment.active_slot
        rig.workers[standby].park(60_000)
        rig.rendering.discard(standby)
        for _ in range(4):
            rig.send(*[Record(0, 0, 0.0, is_mark=True)] * 4096)
            rig.advance(64)
        assert rig.segment.stream_space < rig.config.n_commands - 4 * 4096 + 1
        rig.segment.set_alive(standby, False)
        rig.advance(64)
        rig.settle()
        assert rig.segment.stream_space == rig.config.n_commands


# ---- records that are gone --------------------------------------------------------------------------------


def test_a_worker_whose_records_are_gone_says_so_and_stops() -> None:
    with Rig() as rig:
        rig.commit(voice())
        rig.send(Record(0, 0, 0.0, is_mark=True))
        rig.settle()
        newest, head = rig.segment.newest, rig.segment.render_head(0)
        write_word(rig.segment, record_at(rig.segment, newest), newest + rig.config.n_commands)  # the ring came round
        rig.drain()
        rig.rendering.clear()
        rig.clock.allow(rig.output.frames + 64 * 10)
        signal, stale = rig.segment.signal_value, set()
        while stale != {(0, head, 1), (1, head, 1)}:
            stale |= {(e.source, e.block, e.generation) for e in rig.drain() if e.kind == "stale"}
            signal = rig.segment.wait_signal(signal, 10)
        assert [rig.segment.render_head(slot) for slot in range(2)] == [head, head]
        assert [block_head(rig.segment, slot, head)[0] == head + 1 for slot in range(2)] == [False, False]
        rig.clock.allow(0)


def test_a_join_whose_records_are_gone_is_refused_and_nothing_changes() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        rig.settle()
        rig.checkpoint(0)
        seq = rig.send(Record(patch.nodes["osc1"].handle, 0, 300.0))
        rig.advance(640)
        before = edge(rig, 0)
        places = [place for seat in range(2) for place in checkpoint_places(rig.segment, seat)]
        newest = max(places, key=lambda place: place.block)
        if newest.seq >= seq:  # leave only those from before the record
            write_word(rig.segment, newest.at, 0)
        at = record_at(rig.segment, seq)
        kept = bytes(rig.segment._memory[at : at + 8])
        write_word(rig.segment, at, seq + rig.config.n_commands)
        join = rig.begin([(1, patch, 0)])
        assert status_of(lambda: rig.workers[1].join(join, 60_000)) == lib.PE_STALE
        rig.segment._memory[at : at + 8] = kept
        assert edge(rig, 0) == before == edge(rig, 1)
        assert_replicas(rig)


def test_the_keep_word_holds_records_for_whoever_starts_from_a_checkpoint() -> None:
    with Rig() as rig:
        patch = voice()
        rig.commit(patch)
        assert rig.segment.keep == NO_PIN
        rig.settle()
        at = rig.checkpoint(0).value
        rig.segment.set_keep(at)
        for _ in range(4):
            rig.send(*[Record(0, 0, 0.0, is_mark=True)] * 4096)
            rig.advance(64)
        rig.settle()
        assert rig.segment.stream_space == rig.config.n_commands - (rig.segment.newest - at)
        rig.join(1, [(1, patch, 0)])
        assert_replicas(rig)
        rig.segment.set_keep(NO_PIN)
        assert rig.segment.stream_space == rig.config.n_commands


def test_a_checkpoint_from_before_the_first_block_says_that_nothing_has_run() -> None:
    """A value set before a plan's first block does not ramp: neither in who started it nor in who joins from there."""
    patch = voice()
    osc1 = patch.nodes["osc1"].handle
    segment = _native.Segment.create(_native.Config(is_free_running=True, n_journal=1024, n_commands=8192))
    workers = [_native.Worker(segment, seat) for seat in range(2)]
    with Rig() as rig:  # only for its plans
        try:
            for worker in workers:
                worker.start(0)
            assert segment.send([Record(osc1, 1, 0.9)]) == 1
            segment.request_checkpoint(0, 0)
            workers[0].join(_native.Join(rig.plan(patch), 0), 60_000)
            assert segment.checkpoint(0) == (0, 0)
            join = _native.Join(rig.plan(patch), 0)
            join.load(segment, 0)
            workers[1].join(join, 60_000)
            signal = segment.signal_value
            while min(segment.render_head(seat) for seat in range(2)) < segment.effective_lead:
                signal = segment.wait_signal(signal, 10)
            assert block_head(segment, 0, 0) == block_head(segment, 1, 0)
            assert block_data(segment, 0, 1) == block_data(segment, 1, 1)
        finally:
            for worker in workers:
                worker.close()
            segment.close()


def test_a_worker_of_an_engine_without_a_patch_starts_from_a_checkpoint_and_not_from_the_first_block() -> None:
    """The journal of the first blocks is overwritten after 23 minutes."""
    with Rig(checkpoint_blocks=16) as rig:
        rig.segment.set_keeper(0, True)
        rig.advance(64 * 100)
        found = rig.segment.checkpoint(0)
        builder = Builder(rig.segment, 0)
        builder._worker = rig.workers[1]
        join = builder._chain({"stages": [Stage.of(0, Patch()).to_message()], "is_alone": False})
        assert found is not None and join.block == found[0] > 80

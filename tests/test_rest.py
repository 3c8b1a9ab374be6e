"""Rest: a patch that is silent until something is set is not rendered, and not one bit says so.

On the free-running clock, where all is exact; what rest saves is seen on the real-time one.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from live import assert_same, chain, stereo
from rig import Rig
from waiting import wait_until

from pyengine import Engine, Patch
from pyengine._native import NO_PIN, Inbox, Record, ffi, lib

RATE_HZ = 48000
BUDGET = int(lib.PE_COMMAND_BUDGET)
LONG = 4800  # frames: an envelope of `quiet_chain` has closed, and 20 ms more
Samples = npt.NDArray[np.float32]


def quiet_chain() -> Patch:
    """A voice with a short release, so that it soon rests."""
    return chain(3).set("env1", "release", 10.0).set("env1", "attack", 1.0).set("osc1", "freq", 333.0)


GATE, CUTOFF = (2, 4), (3, 0)  # (handle, parameter)


def seek(patch: Patch) -> None:
    """The numbers above are those of the patch."""
    assert patch.nodes["env1"].handle == GATE[0] and patch.nodes["filt1"].handle == CUTOFF[0]


def set_gate(value: float, frame: int = -1) -> Record:
    return Record(*GATE, value, frame)


def rest(rig: Rig) -> None:
    """Go on until both slots rest."""
    rig._until(lambda: all(rig.segment.slot_rests(slot) for slot in rig.rendering))


def rest_of_a_chain(rig: Rig) -> None:
    rig.commit(quiet_chain())
    rig.send(set_gate(0))
    rest(rig)


def awake(rig: Rig) -> None:
    """Go on until somebody renders again."""
    rig._until(lambda: not any(rig.segment.slot_rests(slot) for slot in rig.rendering))


def frame_of(rig: Rig, seq: int) -> int:
    """Return the first frame of the block that takes a record."""
    for block in range(rig.segment.play_block + 1):
        entry = int(lib.pe_journal_entry(rig.segment.pointer, block))
        if entry >> 40 and entry & ((1 << 40) - 1) >= seq:
            return block * rig.config.block_frames
    raise AssertionError(f"{seq} was not taken")


def events_of(rig: Rig, first: int, sent: list[tuple[int, Record]]) -> list[tuple[float, Any]]:
    names = {GATE: ("env1", "gate"), CUTOFF: ("filt1", "cutoff")}
    events = []
    for seq, record in sent:
        frame = record.frame if record.frame >= 0 else frame_of(rig, seq)
        id, name = names[record.handle, record.param]
        op = ("gate", id, None, record.value) if name == "gate" else ("mod", id, name, record.value)
        events.append(((frame - first) / RATE_HZ, op))
    return sorted(events, key=lambda event: event[0])


@pytest.mark.parametrize("block_frames", [16, 64, 100, 256])
@pytest.mark.parametrize("lead", [1, 2, 5])
@pytest.mark.parametrize("requests", [(), (64, 480, 1, 1000)], ids=["blocks", "any requests"])
def test_what_ends_a_rest_is_heard_to_the_sample(block_frames: int, lead: int, requests: tuple[int, ...]) -> None:
    rng = random.Random(block_frames + lead)
    patch = quiet_chain()
    seek(patch)
    with Rig(block_frames=block_frames, lead=lead, requests=requests, may_rest=True) as rig:
        rig.record()
        first = rig.commit(patch)
        sent = [(rig.send(r), r) for r in (set_gate(0),)]
        n_rests = 0
        for i in range(12):
            rest(rig)
            n_rests += 1
            rig.advance(rng.randrange(1, 5000))  # nobody renders, but as it is slept through
            at = rig.output.frames + (lead + len(requests) * 20 + 2) * block_frames + rng.randrange(600)
            records = [set_gate(1, at if i % 3 else -1), set_gate(0, at + 700)]
            if i % 5 == 0:
                records.append(Record(*CUTOFF, rng.uniform(200, 5000), at + 2000))
            if i % 4 == 0:
                records.insert(0, Record(*CUTOFF, rng.uniform(200, 5000)))
            sent += [(rig.send(record), record) for record in records]
        rest(rig)
        rig.advance(LONG)
        x = rig.read_tap()
        counters = rig.counters()
        assert counters["frames_underrun"] == counters["diverged_blocks"] == counters["declicks"] == 0
        late = [rig.segment.slot_counters(slot)["late_commands"] for slot in range(2)]
        events = events_of(rig, first, sent)
    assert late == [0, 0] and n_rests == 12
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))


def test_blocks_of_a_rest_are_neither_rendered_nor_published() -> None:
    with Rig(may_rest=True) as rig:
        rest_of_a_chain(rig)
        rig.advance(64 * 4)  # what was rendered ahead
        before, play = rig.counters(), rig.segment.play_block
        assert not rig.segment.has_block(play)
        rig.advance(64 * 50)
        after = rig.counters()
        assert after["blocks_played"] - before["blocks_played"] == 50
        assert after["compared_blocks"] == before["compared_blocks"] and after["frames_underrun"] == 0
        assert all(rig.segment.slot_counters(slot)["discarded_blocks"] == 0 for slot in range(2))


@pytest.mark.parametrize("victims", [("active",), ("standby",), ("active", "standby")])
def test_a_death_in_a_rest_is_not_heard(victims: tuple[str, ...]) -> None:
    """What a worker stood for stays true. One that is left wakes up."""
    patch = quiet_chain()
    with Rig(may_rest=True) as rig:
        rig.record()
        first = rig.commit(patch)
        sent = [(rig.send(set_gate(0)), set_gate(0))]
        rest(rig)
        active = rig.segment.active_slot
        for victim in victims:
            rig.stop(active if victim == "active" else 1 - active)
        rig.output.process(64 * 20)  # by hand: the free-running clock waits for who is alive
        assert rig.counters()["frames_underrun"] == 0
        seq = rig.segment.send([set_gate(1)])
        sent.append((seq, set_gate(1)))
        if len(victims) == 2:
            rig.output.process(64 * 20)
            assert rig.counters()["frames_underrun"] == 0  # nobody took it: it has not taken effect
            late = rig.segment.send([set_gate(0, rig.output.frames + 64)])
            assert late
            rig.output.process(64 * 20)
            return
        awake(rig)
        rig.advance(9600)
        assert rig.counters()["frames_underrun"] == 0
        x, events = rig.read_tap(), events_of(rig, first, sent)
        assert np.abs(x[-64:]).max() > 0.01
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))


def test_a_stamped_setting_that_nobody_is_there_to_render_is_missing_and_not_passed_over() -> None:
    with Rig(may_rest=True) as rig:
        rest_of_a_chain(rig)
        for slot in range(2):
            rig.stop(slot)
        at = (rig.segment.play_block + 10) * 64
        assert rig.segment.send([set_gate(1, at + 10)])
        rig.output.process(64 * 64)
        assert rig.segment.play_block * 64 == at  # silent up to the block in which it begins, to the sample
        assert rig.counters()["frames_underrun"] > 0


def test_a_joiner_comes_into_a_rest_and_out_of_it_with_the_same_bits() -> None:
    patch = quiet_chain()
    with Rig(may_rest=True, checkpoint_blocks=100) as rig:
        rig.record()
        first = rig.commit(patch)
        sent = [(rig.send(set_gate(0)), set_gate(0))]
        for turn in range(4):
            rest(rig)
            rig.advance(64 * 130 + turn)
            slot = turn % 2
            rig.segment.set_pin(slot, 0)
            rig.stop(slot)
            rig.start(
                slot, max({0, 1, 2} - {rig.seats[1 - slot]}) if turn % 2 else min({0, 1, 2} - {rig.seats[1 - slot]})
            )
            rig.advance(64 * 3)
            rig.join(slot, [(rig.generation, patch, 0)])
            rig.segment.set_pin(slot, NO_PIN)
            for value in (1, 0):
                sent.append((rig.send(set_gate(value)), set_gate(value)))
                awake(rig)
                rig.advance(1000)
        rest(rig)
        rig.advance(1000)
        x, events, counters = rig.read_tap(), events_of(rig, first, sent), rig.counters()
    assert counters["frames_underrun"] == counters["diverged_blocks"] == 0
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))


def test_a_commit_into_a_rest_swaps_at_its_block() -> None:
    patch, other = quiet_chain(), quiet_chain().set("osc1", "freq", 500.0)
    with Rig(may_rest=True) as rig:
        rig.record()
        rig.commit(patch)
        rig.send(set_gate(0))
        rest(rig)
        rig.advance(64 * 100)
        for _ in range(3):
            rig.commit(other, 480)
            rest(rig)
        rig.send(set_gate(1))
        awake(rig)
        rig.advance(9600)
        counters = rig.counters()
        assert np.abs(rig.read_tap()[-64:]).max() > 0.01
    assert counters["late_swaps"] == counters["declicks"] == counters["frames_underrun"] == 0


def test_a_clock_that_is_stopped_in_a_rest_leaves_the_present_to_the_next_one() -> None:
    """As when a device comes back: whoever calls the output from then on, a record is taken and heard."""
    with Rig("none", may_rest=True) as rig:
        wait_until(lambda: all(rig.segment.slot_rests(slot) for slot in range(2)))
        wait_until(lambda: rig.segment.clock_rests)
        rig.driver.close()
        assert not rig.segment.clock_rests
        seq = rig.segment.send([Record(0, 0, 0.0, is_mark=True), Record(99, 0, 1.0)])

        def is_taken() -> bool:
            rig.output.process(64)
            return min(rig.segment.applied(slot) for slot in range(2)) >= seq

        wait_until(is_taken)


def test_a_time_that_has_passed_is_put_where_somebody_renders_again() -> None:
    with Rig(may_rest=True) as rig:
        rest_of_a_chain(rig)
        rig.advance(64 * 40)
        inbox = Inbox(rig.segment, rig.output)
        play = rig.segment.play_block
        for frame in (0, play * 64, play * 64 + 90):
            seq = inbox.send([set_gate(1, frame)], False, 0)
            found = ffi.new("PeCommand *")
            assert lib.pe_stream_copy(rig.segment.pointer, seq, found, 1) == 1
            assert found.frame >= (play + rig.segment.effective_lead) * 64


def test_more_records_than_a_block_takes_end_a_rest_without_a_gap() -> None:
    """The callback looks as far as a decision can reach, however much comes before it looks."""
    with Rig(may_rest=True) as rig:
        rest_of_a_chain(rig)
        for slot in range(2):
            rig.stop(slot)  # nobody wakes: the callback is alone with them
        for _ in range(3):
            assert rig.segment.send([set_gate(0)] * BUDGET)
        rig.output.process(64 * 20)
        assert rig.counters()["frames_underrun"] == 0


def taken_at(rig: Rig, seq: int, first: int, end: int) -> list[bool]:
    """Say of some blocks whether a record was taken with them or before."""
    entries = [int(lib.pe_journal_entry(rig.segment.pointer, block)) for block in range(first, end)]
    assert all(entry >> 40 for entry in entries), "somebody decided"
    return [entry & ((1 << 40) - 1) >= seq for entry in entries]


@pytest.mark.parametrize(
    ("lead", "request_frames", "n_reached"),
    [(1, 256, 4), (2, 256, 4), (1, 100, 3), (2, 100, 3), (2, 64, 1), (4, 64, 1)],
)
def test_who_wakes_takes_nothing_into_a_block_that_the_next_request_reaches(
    lead: int, request_frames: int, n_reached: int
) -> None:
    """It may come at this moment, and take that block for silence; the last block beyond takes what has come."""
    with Rig(lead=lead, requests=(request_frames,), may_rest=True) as rig:
        rig.commit(quiet_chain())
        rig.advance(request_frames * 64)
        rig.send(set_gate(0))
        rest(rig)
        rig.advance(request_frames * 20)  # what was rendered ahead, and more
        seq = rig.send(set_gate(1))
        play = rig.segment.play_block
        end = play + rig.segment.effective_lead
        wait_until(lambda: all(rig.segment.render_head(slot) == end for slot in range(2)))
        assert taken_at(rig, seq, play, play + n_reached) == [False] * n_reached
        if end > play + n_reached:
            assert taken_at(rig, seq, end - 1, end) == [True]
        awake(rig)
        rig.advance(LONG)
        assert rig.counters()["frames_underrun"] == 0 and min(rig.segment.applied(slot) for slot in range(2)) == seq


def test_who_joins_where_the_dead_stand_for_silence_takes_nothing_into_the_due_block() -> None:
    patch = quiet_chain()
    with Rig(may_rest=True, checkpoint_blocks=100) as rig:
        rig.commit(patch)
        rig.send(set_gate(0))
        rest(rig)
        rig.advance(64 * 130)
        rig.segment.set_pin(0, 0)
        for slot in range(2):
            rig.stop(slot)
        rig.output.process(64)
        seq = rig.segment.send([set_gate(1)])
        rig.output.process(64)
        rig.start(0, 2)
        rig.join(0, [(rig.generation, patch, 0)])
        play = rig.segment.play_block
        wait_until(lambda: rig.segment.render_head(0) == play + 2)
        assert taken_at(rig, seq, play, play + 2) == [False, True]
        rig.read_tap()
        rig.record()
        rig.output.process(64 * 2)
        assert rig.counters()["frames_underrun"] == 0
        assert np.abs(rig.read_tap()).max() > 0


def test_who_is_late_while_another_stands_for_silence_takes_nothing_into_the_due_block() -> None:
    """It renders a patch of many nodes and is far behind; the other one has died, with the old patch at rest."""
    many = Patch()
    for i in range(4000):
        many = many.create(f"osc{i}", "simple_sine")
    with Rig(may_rest=True) as rig:
        rest_of_a_chain(rig)
        rig.switch(many)
        slot = rig.segment.active_slot
        rig._until(lambda: rig.segment.slot_rests(1 - slot))
        rig.stop(1 - slot)
        for _ in range(100):
            rig.output.process(64)
        seq = rig.segment.send([Record(99, 0, 1.0)])
        play = rig.segment.play_block
        wait_until(lambda: rig.segment.render_head(slot) == play + 2)
        assert taken_at(rig, seq, play, play + 1) == [False]
        assert rig.counters()["frames_underrun"] == 0


def test_more_records_than_a_schedule_holds_are_not_passed_over() -> None:
    """Those beyond take effect in the block that takes them, and that block is not silent."""
    with Rig(may_rest=True) as rig:
        rest_of_a_chain(rig)
        rig.advance(64 * 4)  # what was rendered ahead
        for slot in range(2):
            rig.stop(slot)
        play = rig.segment.play_block
        far = (play + 1000) * 64
        n = int(lib.PE_SCHEDULE_SIZE)
        assert rig.segment.send([set_gate(1, far)] * n)
        rig.output.process(64)
        assert rig.segment.play_block == play + 1 and rig.counters()["frames_underrun"] == 0
        assert rig.segment.send([set_gate(1, far)])
        rig.output.process(64)
        assert rig.segment.play_block == play + 1 and rig.counters()["frames_underrun"] == 64


def test_the_clock_and_the_workers_of_an_engine_at_rest_sleep_through_it(tmp_path: Path) -> None:
    """Each thread wakes some dozens of times a second, not once a block, until a gate opens."""
    if not Path("/proc/self/task").exists():
        pytest.skip("needs Linux: how often a thread slept is in /proc")
    with Engine("none", osc_port=0, recordings=tmp_path, probation_ms=0) as engine:
        engine.create("osc1", "simple_sine")
        engine.create("env1", "adsr")
        engine.connect("osc1", "env1")
        engine.commit()
        for _ in range(2):
            engine.gate("env1", 0)
            wait_until(lambda: all(slot["is_at_rest"] for slot in engine.status()["slots"]), 20)
            before, start = sleeps(engine), time.monotonic()
            until = engine.status()["play_block"] + 1500
            wait_until(lambda until=until: engine.status()["play_block"] > until, 60, 0.1)
            took = time.monotonic() - start
            assert all(slot["is_at_rest"] for slot in engine.status()["slots"])
            assert (
                max(after - n for n, after in zip(before, sleeps(engine), strict=True)) < 200 * took
            )  # 750 blocks a second
            engine.gate("env1", 1)
            wait_until(lambda: not any(slot["is_at_rest"] for slot in engine.status()["slots"]), 20)


def sleeps(engine: Engine) -> list[int]:
    """Return how often the clock and the render threads went to sleep so far."""
    found = []
    for pid in ["self", *(slot["pid"] for slot in engine.status()["slots"])]:
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().strip() in ("pe-clock", "pe-render"):
                lines = (task / "status").read_text().splitlines()
                found += [int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches")]
    assert len(found) == 3
    return found

"""Levels of nodes: right, of every node, measured by the worker that is not heard, and of no influence on any bit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from live import Live, Samples, assert_same

from pyengine.commands import Gate, SetParam

FOREVER = (1 << 62) - 1
N_VOICES = 40  # two banks and a half


def voices(live: Live, n: int = N_VOICES, *, prefix: str = "") -> None:
    """n equal voices that the plan puts into banks, and one node that stands by itself."""
    for i in range(n):
        osc, env, filt = f"{prefix}osc{i}", f"{prefix}env{i}", f"{prefix}filt{i}"
        live.client.create(osc, "simple_sine")
        live.client.create(env, "adsr")
        live.client.create(filt, "biquad_filter")
        live.client.connect(osc, env)
        live.client.connect(env, filt)
        live.client.set(osc, "freq", 100.0 + 7 * i)
        live.client.set(osc, "gain", 0.01)


def levels(live: Live) -> dict[str, tuple[float, float]]:
    """Return (peak, rms) by module."""
    supervisor = live.engine._supervisor
    assert supervisor is not None
    by_handle = {node.handle: node.id for node in supervisor.desk.committed.nodes.values()}
    return {by_handle[handle]: level for handle, level in supervisor.segment.levels().items() if handle in by_handle}


def watch(live: Live, until_block: int = FOREVER) -> None:
    assert live.engine._supervisor is not None
    live.engine._supervisor.segment.watch(until_block)


def metered(live: Live) -> list[int]:
    """Return the blocks that each slot has measured."""
    return [slot["counters"]["metered_blocks"] for slot in live.status()["slots"]]


@pytest.mark.parametrize("block_frames", [32, 64, 100, 1024])
def test_the_level_of_a_sine_is_its_gain_and_its_gain_through_the_root_of_two(
    tmp_path: Path, block_frames: int
) -> None:
    with Live(tmp_path, block_frames=block_frames, is_recorded=False) as live:
        live.client.create("osc1", "simple_sine")
        live.client.set("osc1", "gain", 0.5)
        live.client.set("osc1", "freq", 1000.0)
        live.commit()
        live.await_redundancy()
        watch(live)
        live.advance(48_000)
        peak, rms = levels(live)["osc1"]
    assert 0.497 < peak < 0.5015  # some sample of it lies within 0.5 % of the crest, and the peak is held that long
    assert rms == pytest.approx(0.5 / math.sqrt(2), rel=0.02)  # an average over a finite time ripples


def test_every_node_has_a_level_in_a_bank_and_outside(live: Live) -> None:
    voices(live)
    live.client.create("alone", "simple_sine")
    live.client.set("alone", "gain", 0.25)
    live.commit()
    live.await_redundancy()
    watch(live)
    live.advance(24_000)
    found = levels(live)
    assert len(found) == 3 * N_VOICES + 1
    assert found["alone"][0] == pytest.approx(0.25, rel=0.01)
    for i in range(N_VOICES):
        assert found[f"osc{i}"][0] == pytest.approx(0.01, rel=0.02)
        assert found[f"env{i}"][0] == pytest.approx(0.007, rel=0.02)  # at sustain


def script(live: Live, is_watched: bool) -> Samples:
    """Voices, settings within blocks, gates, a second patch, a death of each slot."""
    if is_watched:
        watch(live)
    voices(live, 20)
    first = live.commit(crossfade_ms=0)["frame"]
    live.await_redundancy()
    begin = first + 30_000  # the blocks that the commit and its join took are out by then
    assert live.engine.frames < begin
    for i in range(20):
        live.send_at(begin + 37 * i, SetParam(f"osc{i}", "freq", 300.0 + i), Gate(f"env{i}", i % 2))
        live.send_at(begin + 3000 + 41 * i, SetParam(f"filt{i}", "cutoff", 500.0 + 10 * i))
    end = begin + 12_000
    live.advance(begin + 6000 - live.engine.frames)
    live.kill(live.status()["active_slot"])
    live.await_redundancy()
    live.advance(max(0, end - live.engine.frames))
    status = live.status()
    assert status["states_diverged"] == status["counters"]["diverged_blocks"] == 0
    assert (sum(metered(live)) > 0) == is_watched
    return live.samples()[first:end]


def test_no_bit_of_the_sound_or_of_a_state_depends_on_who_watches(tmp_path: Path) -> None:
    takes = []
    for is_watched in (False, True):
        folder = tmp_path / str(is_watched)
        with Live(folder) as live:
            takes.append(script(live, is_watched))
    n = min(map(len, takes))
    assert n == 42_000
    assert_same(takes[0][:n], takes[1][:n])


def test_the_worker_that_is_heard_measures_nothing_while_there_is_another(live: Live) -> None:
    voices(live, 4)
    live.commit()
    live.await_redundancy()
    before = metered(live)
    watch(live)
    live.advance(6400)
    active = live.status()["active_slot"]
    after = metered(live)
    assert after[active] == before[active]
    assert after[1 - active] - before[1 - active] >= 90  # of 100 blocks; those rendered ahead were not asked for


def test_where_there_is_one_worker_it_measures(tmp_path: Path) -> None:
    with Live(tmp_path, standby="cold") as live:
        live.client.create("osc1", "simple_sine")
        live.commit()
        watch(live)
        live.advance(6400)
        assert metered(live)[live.status()["active_slot"]] > 90
        assert levels(live)["osc1"][0] == pytest.approx(0.2, rel=0.02)


def test_nothing_is_measured_when_the_time_that_was_asked_for_is_over(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit()
    live.await_redundancy()
    watch(live, live.status()["play_block"] + 20)
    live.advance(6400)
    n = sum(metered(live))
    assert 0 < n <= 21
    live.advance(6400)
    assert sum(metered(live)) == n


def test_the_level_of_a_node_that_falls_silent_falls_too(live: Live) -> None:
    voices(live, 20)
    live.commit()
    live.await_redundancy()
    watch(live)
    live.advance(24_000)
    loud = levels(live)["filt3"][0]
    live.client.gate("env3", 0)
    live.client.sync()
    live.advance(48_000)
    found = levels(live)
    assert found["filt3"][0] < loud * 10 ** (-16 / 20)  # a second at 24 dB, less the release
    assert found["filt4"][0] == pytest.approx(loud, rel=0.2)


def test_the_nodes_of_a_patch_on_probation_have_levels(tmp_path: Path) -> None:
    with Live(tmp_path, probation_ms=60_000) as live:
        watch(live)
        live.client.create("osc1", "simple_sine")
        live.commit()
        live.advance(4800)
        live.client.create("osc2", "simple_sine")
        live.client.set("osc2", "gain", 0.125)
        live.commit()
        live.advance(4800)
        assert "probation" in [slot["state"] for slot in live.status()["slots"]]
        assert levels(live)["osc2"][0] == pytest.approx(0.125, rel=0.02)


def test_whoever_watches_may_look_back_on_what_was_put_out(live: Live) -> None:
    live.client.create("osc1", "simple_sine")
    live.commit(crossfade_ms=0)
    live.await_redundancy()
    assert live.engine._supervisor is not None
    assert not any(live.engine._supervisor.segment.tail(4800)[0])
    watch(live)
    begin = live.engine.frames
    live.advance(40_000)
    data, n_fed = live.engine._supervisor.segment.tail(4800)
    x = live.samples()
    tail = np.frombuffer(data, np.float32).reshape(-1, 2)
    assert_same(tail, x[begin + n_fed - 4800 : begin + n_fed])
    assert n_fed == 40_000

"""What is recorded live is, bit for bit, what the replay of its log and pyengine.render make of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from live import RATE_HZ, Live, assert_same, chain, stereo

from pyengine import replay
from pyengine.commands import Command, Gate, SetParam
from pyengine.patch import Patch

AFTER = 6000  # frames from the first one until an event: the blocks of the commit and of its join are out by then

PARAMS = [("osc1", "freq", 20, 8000), ("osc1", "gain", 0, 1), ("filt1", "cutoff", 50, 9000), ("filt1", "q", 0.2, 9)]


def command_and_op(random: random.Random) -> tuple[Command, tuple[Any, ...]]:
    """Return a setting as a client sends it and as render() takes it. The value survives a 32-bit float."""
    if random.random() < 0.25:
        value = random.randint(0, 1)
        return Gate("env1", value), ("gate", "env1", None, value)
    id, name, low, high = random.choice(PARAMS)
    number = float(round(random.uniform(low * 64, high * 64))) / 64
    number = min(max(number, low), high)
    return SetParam(id, name, number), ("mod", id, name, number)


def build(live: Live, patch: Patch) -> int:
    """Build the patch over OSC, swap to it without a fade; return its first frame."""
    for node in patch.nodes.values():
        live.client.create(node.id, node.type)
    for cable in patch.cables:
        live.client.connect(*patch.cable_text(cable))
    frame = int(live.commit(crossfade_ms=0)["frame"])
    live.await_redundancy()  # from here on the paused clock stands still
    return frame


def schedule(
    live: Live, random: random.Random, frames: Sequence[int], first: int
) -> list[tuple[float, tuple[Any, ...]]]:
    """Send a time-tagged bundle for each frame; return the events that render() is to have."""
    events = []
    for frame in frames:
        pairs = [command_and_op(random) for _ in range(random.randint(1, 3))]
        live.send_at(frame, *(command for command, _ in pairs))
        events += [((frame - first) / RATE_HZ, op) for _, op in pairs]
    return events


@pytest.mark.parametrize("block_frames", [32, 64, 100, 128, 256, 1024])
@pytest.mark.parametrize("lead_blocks", [1, 2, 4, 8])
def test_patch_and_time_tagged_settings_sound_live_as_offline_and_as_replayed(
    tmp_path: Path, block_frames: int, lead_blocks: int
) -> None:
    rng = random.Random(block_frames * 10 + lead_blocks)
    path = tmp_path / "a.session"
    with Live(tmp_path, block_frames=block_frames, lead_blocks=lead_blocks, session=path) as live:
        patch = chain(3)
        first = build(live, patch)
        begin = live.engine.frames + 20 * block_frames
        frames = sorted(rng.sample(range(begin, begin + 12_000), 30))
        events = schedule(live, rng, frames, first)
        live.advance(20 * block_frames + 14_000)
        x = live.samples()
        status = live.status()
    assert status["commands_late"] == 0
    assert status["counters"]["frames_underrun"] == 0
    assert_same(x[first:], stereo(patch, len(x) - first, events=events))
    replayed, facts = replay(path)
    assert facts.warnings == []
    assert_same(replayed[: len(x)], x)


def test_of_100_time_tags_100_land_on_the_exact_sample(tmp_path: Path) -> None:
    """A gain of 0 and of 1 in turn, without a ramp in between but the module's own: its first frame shows."""
    rng = random.Random(7)
    with Live(tmp_path) as live:
        patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").connect("osc1", "env1")
        first = build(live, patch)
        live.client.set("osc1", "freq", 441.7)  # no sample of it is exactly zero
        for name in ("attack", "decay", "release"):
            live.client.set("env1", name, 0.0)
        live.client.sync()
        live.await_redundancy()
        frames = sorted(rng.sample(range(AFTER, 60_000, 41), 100))  # 41: any place inside a block
        frames = [first + frame for frame in frames]
        for n, frame in enumerate(frames):
            live.send_at(frame, Gate("env1", n % 2))
        live.advance(64_000)
        x = live.samples()[:, 0]
        late = live.status()["commands_late"]
    is_open = [bool(x[frame : frame + 8].any()) for frame in frames]
    before = [bool(x[frame - 8 : frame].any()) for frame in frames]
    assert late == 0
    assert is_open == [bool(n % 2) for n in range(100)]
    assert before[1:] == is_open[:-1]
    silent = x == 0
    edges = [at for at in range(frames[0], len(x)) if silent[at] != silent[at - 1]]
    assert edges == frames


def test_a_bundle_takes_effect_at_one_frame_though_its_settings_lie_far_apart(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        for n in range(200):
            live.client.create(f"osc{n}", "simple_sine")
            live.client.set(f"osc{n}", "gain", 0.001)
        first = live.commit(crossfade_ms=0)["frame"]
        live.advance(1000)
        live.client.send_bundle([SetParam(f"osc{n}", "freq", 880.0) for n in range(200)])
        live.client.sync()
        live.advance(4000)
        x = live.samples()[first:]
    patch = Patch().create("osc1", "simple_sine").set("osc1", "gain", 0.001)
    alone = stereo(patch, len(x))[:, 0]
    (changed,) = (abs(x[:, 0] - 200 * alone) > 1e-4).nonzero()
    at = (changed[0] // 64) * 64  # an untagged bundle begins with a block
    one = stereo(patch, len(x), events=[(at / RATE_HZ, ("mod", "osc1", "freq", 880.0))])
    assert abs(x - 200 * one).max() < 1e-5

"""What events cost: tracks that play, and notes on voices, beside the same modules with nobody to play them."""

from __future__ import annotations

import statistics
import time

import numpy as np
from figures import Figures, at_most
from references import RATE_HZ
from voices import BLOCK_FRAMES

from pyengine import _native
from pyengine.offline import render
from pyengine.patch import Patch
from pyengine.plan import Blueprint

N_TRACKS, N_FRAMES, N_RUNS = 16, 48000, 15
TARGETS = {"track_ns_per_block": at_most(100), "waiting_ns_per_block": at_most(50)}


def tracks(pattern: str | None) -> Patch:
    """Return envelopes, each with a track of its own on one clock; None: without clock and tracks."""
    patch = Patch()
    if pattern is not None:
        patch.create("clock1", "clock")
    for n in range(N_TRACKS):
        patch.create(f"env{n}", "adsr").gate(f"env{n}", 0).set(f"env{n}", "release", 10)
        if pattern is not None:
            patch.create(f"seq{n}", "seq").give(f"seq{n}", {"pattern": pattern, "targets": [f"env{n}"]})
    return patch


def chords(n_voices: int) -> Patch:
    """Return voices that play a chord of four notes eight times a second, the oldest stolen each time."""
    patch = Patch().create("clock1", "clock").create("poly", "voices").give("poly", {"voices": n_voices})
    patch.create("poly.osc", "simple_sine").create("poly.env", "adsr").connect("poly.osc", "poly.env")
    patch.connect("poly.freq", "poly.osc.freq").connect("poly.gate", "poly.env.gate")
    patch.create("seq1", "seq").set("poly.env", "release", 10_000)
    notes = " ".join("+".join(str(24 + (4 * chord + n) * 7 % 96) for n in range(4)) for chord in range(24))
    return patch.give("seq1", {"pattern": "x", "notes": notes, "targets": ["poly"]})


def block_ns(patch: Patch) -> float:
    """Return what a block takes, the median of several seconds of sound."""
    took = []
    for _ in range(N_RUNS):
        blueprint = Blueprint.of(patch)
        plan = blueprint.plan(sample_rate_hz=RATE_HZ, max_block_frames=BLOCK_FRAMES, n_channels=1)
        plan.set_all(blueprint.settings)
        run = _native.Replay(plan, 1)
        run.render(0, 4 * N_FRAMES)
        start = time.thread_time_ns()
        run.render(4 * N_FRAMES, N_FRAMES)
        took.append((time.thread_time_ns() - start) * BLOCK_FRAMES / N_FRAMES)
        run.close()
    return statistics.median(took)


def test_tracks(figures: Figures) -> None:
    """Sixteen tracks of sixteenths at 120 bpm, and sixteen that wait: beyond what their envelopes take at rest."""
    x = render(tracks("x"), frames=24_000)
    assert np.count_nonzero(np.diff((x[:, 0] > 0).astype(int)) > 0) >= 3, "the tracks do not play: not worth timing"
    rest, waiting, playing = (block_ns(tracks(pattern)) for pattern in (None, "." * 16, "x"))
    track, wait = (playing - rest) / N_TRACKS, (waiting - rest) / N_TRACKS
    figures(
        f"events   a track: {track:.0f} ns a block with eight hits a second (its envelope's share too), {wait:.0f} ns "
        f"between them; 16 envelopes alone {rest:.0f} ns",
        track_ns_per_block=track,
        waiting_ns_per_block=wait,
        envelopes_ns_per_block=rest,
    )
    figures.want(TARGETS)


def test_voices(figures: Figures) -> None:
    """Chords of four on 16 and on 64 voices, all of them sounding."""
    told = {}
    for n in (16, 64):
        patch = chords(n)
        assert np.abs(render(patch, frames=24_000)).max() > 0.1, "the voices are silent: not worth timing"
        told[n] = block_ns(patch)
    figures(
        f"events   32 notes a second: 16 voices {told[16] / 1e3:.2f} us a block, 64 voices {told[64] / 1e3:.2f} us",
        voices16_us_per_block=told[16] / 1e3,
        voices64_us_per_block=told[64] / 1e3,
    )

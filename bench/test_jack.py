"""The engine on a JACK server without a sound card (jackd -d dummy -r 48000 -p 64), blocks of 64 frames.

Commits until the first changed sample; blocks that are smaller or larger than the server's periods; commits whose
modules stay, in what is recorded; and a supervisor that is busy in Python, with the garbage collector at work, against
one that is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from figures import Figures, at_least, at_most
from jack_dummy import jack_server
from playing import Playing
from test_commits import three_modules

import pyengine
from pyengine.client import Client

RATE_HZ, BLOCK_FRAMES = 48000.0, 64
N_COMMITS, N_SWAPS = 400, 100
BUSY_S, TURNS = 5.0, 6  # 30 s busy and 30 s idle, in turn
COMMIT_TARGETS = {"heard_p99_ms": at_most(5), "missing_frames": at_most(0)}
STAY_TARGETS = {
    "continued_swaps": at_least(N_SWAPS),
    "worst_step_ratio": at_most(1.05),
    "missing_frames": at_most(0),
}
OTHER_BLOCKS, OTHER_S = (48, 256, 1024), 3.0
OTHER_TARGETS = {"other_blocks_missing_frames": at_most(0), "other_blocks_hedged": at_most(0)}
BUSY_TARGETS = {"busy_beyond_idle_frames": at_most(0)}
Samples = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with jack_server(tmp_path_factory.mktemp("jack"), BLOCK_FRAMES) as environment:
        yield environment


def playing_on(jack: dict[str, str], folder: Path, block_frames: int = BLOCK_FRAMES, **settings: Any) -> Playing:
    playing = Playing(folder, RATE_HZ, block_frames, folder / "compiled", "system", jack, **settings)
    assert playing.status["output_kind"] == "portaudio" and "JACK" in playing.status["output"], playing.status
    return playing


@pytest.mark.parametrize("lead", [1, 2], ids=["lead 1", "lead 2"])
def test_commits_on_jack(lead: int, jack: dict[str, str], tmp_path: Path, figures: Figures) -> None:
    """Three new modules a commit, through UDP, at any place within a block: sent to first changed sample put out."""
    ready_ms, heard_ms, late = [], [], 0
    with playing_on(jack, tmp_path, lead_blocks=lead) as playing, Client(port=playing.port) as client:
        three_modules(client, 1)
        client.commit()
        time.sleep(0.5)
        before = client.status()
        for i in range(N_COMMITS):
            three_modules(client, i)
            time.sleep(random.uniform(0.01, 0.02))
            sent_ns = time.monotonic_ns()
            report = client.commit()
            ready_ms.append(report["ready_ms"])
            heard_ms.append((playing.put_out_ns(report["frame"]) - sent_ns) / 1e6)
            late += report["late_blocks"] > 0
        after = client.status()
    assert after["largest_request_frames"] == BLOCK_FRAMES
    missing = after["counters"]["frames_underrun"] - before["counters"]["frames_underrun"]
    p50, p99 = np.percentile(heard_ms, [50, 99])
    ready50, ready99 = np.percentile(ready_ms, [50, 99])
    figures(
        f"jack     lead {lead}, {N_COMMITS} commits of three modules: ready {ready50:.2f} ms median {ready99:.2f} p99; "
        f"sent to first changed sample {p50:.2f} median {p99:.2f} p99 {max(heard_ms):.2f} worst; "
        f"missing frames {missing}, late swaps {late}",
        ready_median_ms=ready50,
        ready_p99_ms=ready99,
        heard_median_ms=p50,
        heard_p99_ms=p99,
        heard_worst_ms=max(heard_ms),
        missing_frames=missing,
        late_swaps=late,
    )
    figures.histogram("commit on JACK sent to first changed sample, ms", heard_ms)
    figures.want(COMMIT_TARGETS)


def test_blocks_that_are_not_as_long_as_a_period(jack: dict[str, str], tmp_path: Path, figures: Figures) -> None:
    """One request frees a block or none, another two: none is begun too late for the request that needs it."""
    missing, hedged, told = 0, 0, []
    for lead in (1, 2):
        for block_frames in OTHER_BLOCKS:
            with (
                playing_on(jack, tmp_path, block_frames, lead_blocks=lead) as playing,
                Client(port=playing.port) as client,
            ):
                three_modules(client, 1)
                client.commit()
                time.sleep(0.5)
                before = client.status()["counters"]
                time.sleep(OTHER_S)
                after = client.status()
            assert after["largest_request_frames"] == BLOCK_FRAMES
            n_missing = after["counters"]["frames_underrun"] - before["frames_underrun"]
            n_hedged = after["counters"]["hedged_blocks"] - before["hedged_blocks"]
            told.append(f"{block_frames} at lead {lead}: {n_missing}, {n_hedged}")
            missing, hedged = missing + n_missing, hedged + n_hedged
    figures(
        f"jack     blocks of other sizes than the period of {BLOCK_FRAMES}, {OTHER_S:g} s each, missing frames and "
        f"blocks taken from the other worker: {'; '.join(told)}",
        other_blocks_missing_frames=missing,
        other_blocks_hedged=hedged,
    )
    figures.want(OTHER_TARGETS)


# ---- what stays ------------------------------------------------------------------------------------------


def slow_tone(with_filter: bool) -> pyengine.Patch:
    """An envelope that moves for as long as the bench takes, so that a state that is lost is seen."""
    patch = pyengine.Patch().create("osc1", "simple_sine").create("env1", "adsr").connect("osc1", "env1")
    patch.set("env1", "attack", 4000.0).set("env1", "decay", 8000.0).set("env1", "sustain", 0.3)
    if with_filter:
        patch.create("filt1", "biquad_filter").connect("env1", "filt1").set("filt1", "cutoff", 3000.0)
    return patch


def swap(client: Client, with_filter: bool) -> dict[str, Any]:
    """Put the filter behind the envelope, or take it out; the oscillator and the envelope stay."""
    if with_filter:
        client.create("filt1", "biquad_filter")
        client.set("filt1", "cutoff", 3000.0)
        client.connect("env1", "filt1")
    else:
        client.delete("filt1")
    report: dict[str, Any] = client.commit()
    return report


def largest_step(samples: Samples, order: int) -> float:
    return float(np.abs(np.diff(samples, order)).max())


def step_ratio(heard: Samples, before: Samples, after: Samples, at: int) -> float:
    """Return the largest first or second difference within 10 ms of a swap, against the tones' own there."""
    around = slice(at - 480, at + 480)
    own = [max(largest_step(before[around], order), largest_step(after[around], order)) for order in (1, 2)]
    return max(largest_step(heard[around], order) / own[order - 1] for order in (1, 2))


def test_modules_that_stay(jack: dict[str, str], tmp_path: Path, figures: Figures) -> None:
    """A hundred commits that put a filter in and take it out, while the envelope moves; from the recording.

    continued: from 15 ms after a swap to the next one, what is heard is within 1e-5 of a render in which nothing was
    ever swapped: phase and envelope went on. step: the largest first or second difference within 10 ms of a swap,
    against that of the two renders there.
    """
    reports = []
    with playing_on(jack, tmp_path, crossfade_ms=5.0) as playing, Client(port=playing.port) as client:
        first = slow_tone(False)
        client.record_start("stay.wav")
        for node in first.nodes.values():
            client.create(node.id, node.type)
            for name, value in node.params.items():
                client.set(node.id, name, value)
        client.connect("osc1", "env1")
        start = client.commit(crossfade_ms=0)["frame"]
        before = client.status()["counters"]
        time.sleep(0.1)
        for n in range(N_SWAPS):
            reports.append(swap(client, n % 2 == 0))
            time.sleep(random.uniform(0.04, 0.06))
        after = client.status()["counters"]
        recording = client.record_stop()
    missing = after["frames_underrun"] - before["frames_underrun"]
    heard = soundfile.read(tmp_path / "stay.wav", dtype="float64", always_2d=True)[0][:, 0]
    heard = heard[start - int(recording["first_frame"]) :]
    swaps = [int(report["frame"]) - start for report in reports]
    renders = [
        pyengine.render(slow_tone(with_filter), frames=len(heard))[:, 0].astype(float) for with_filter in (False, True)
    ]
    errors, steps = [], []
    for n, (at, end) in enumerate(zip(swaps, [*swaps[1:], swaps[-1] + 1440], strict=True)):
        is_with = n % 2 == 0
        errors.append(float(np.abs(heard[at + 720 : end] - renders[is_with][at + 720 : end]).max()))
        steps.append(step_ratio(heard, renders[not is_with], renders[is_with], at))
    n_continued = sum(error < 1e-5 for error in errors)
    figures(
        f"jack     {N_SWAPS} commits whose modules stay: phase and envelope continued in {n_continued} (worst error "
        f"{max(errors):.2g}), largest step at a swap {max(steps):.3f} x the tones' own, missing frames {missing}",
        continued_swaps=n_continued,
        worst_error=max(errors),
        worst_step_ratio=max(steps),
        missing_frames=missing,
    )
    figures.want(STAY_TARGETS)


# ---- a busy supervisor --------------------------------------------------------------------------------------


def test_busy_supervisor(jack: dict[str, str], tmp_path: Path, figures: Figures) -> None:
    """Python and gc.collect() without an end in the process that has the sound card: 5 s busy, 5 s idle, in turn."""
    missing = {"idle": 0, "busy": 0}
    worst_us = {"idle": 0.0, "busy": 0.0}
    with playing_on(jack, tmp_path) as playing, Client(port=playing.port, timeout_s=20.0) as client:
        three_modules(client, 0)
        client.commit()
        time.sleep(1.0)
        for _ in range(TURNS):
            for what in ("idle", "busy"):
                before = client.status()["counters"]["frames_underrun"]
                if what == "busy":
                    playing.newest("busy")
                time.sleep(BUSY_S)
                if what == "busy":
                    playing.newest("idle")
                counters = client.status()["counters"]
                missing[what] += counters["frames_underrun"] - before
                worst_us[what] = max(worst_us[what], counters["worst_callback_ns"] / 1e3)
    figures(
        f"jack     {TURNS * BUSY_S:.0f} s with a busy supervisor: missing frames {missing['busy']}; idle, as long: "
        f"{missing['idle']}; worst callback {worst_us['busy']:.0f} us",
        busy_missing_frames=missing["busy"],
        idle_missing_frames=missing["idle"],
        busy_beyond_idle_frames=max(0, missing["busy"] - missing["idle"]),
        worst_callback_us=worst_us["busy"],
    )
    figures.want(BUSY_TARGETS)

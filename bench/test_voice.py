"""The voice: a sine through an envelope through a low-pass, for 1 to 4096 of them, all different, all summed.

Each instruction set that the machine has renders in a process of its own (PYENGINE_ISA), in turn, over and over; the
figures are the medians, in CPU time of the rendering thread. Blocks of 64 frames; what is rendered is compared with
float64 first.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable

import numpy as np
import pytest
from figures import Figures, at_most
from machine import has_cpu_flag, isa_names
from references import RATE_HZ
from voices import BLOCK_FRAMES, Bank, check, costs_in_child, frames_for, voices_patch

from pyengine import _native

COUNTS = [1, 4, 16, 64, 256, 1024, 4096]
ROUNDS = 3
MOST_NS = at_most(0.8)  # on AVX-512, from 64 voices on
IDLE_TARGETS = {"at_rest_over_sounding_ratio": at_most(0.1)}
STRAIGHT_TARGET = at_most(1.2)  # what one of 4096 voices may cost, against one of 64
Costs = dict[str, dict[int, float]]


@pytest.fixture(scope="module")
def costs() -> Costs:
    """Return instruction set -> number of voices -> ns per voice-sample."""
    sets = isa_names() or ["default"]
    environments = {isa: dict(os.environ) if isa == "default" else {**os.environ, "PYENGINE_ISA": isa} for isa in sets}
    rounds = [
        {isa: costs_in_child(COUNTS, environment) for isa, environment in environments.items()} for _ in range(ROUNDS)
    ]
    return {isa: {n: statistics.median(r[isa][n] for r in rounds) for n in COUNTS} for isa in sets}


def with_avx512(costs: Costs) -> Iterable[str]:
    """The names under which AVX-512 was used."""
    return [isa for isa in costs if isa == "avx512" or (isa == "default" and has_cpu_flag("avx512f"))]


@pytest.mark.parametrize("n", COUNTS)
def test_voices(n: int, costs: Costs, figures: Figures) -> None:
    """One voice of n, for one sample."""
    for isa, found in costs.items():
        share = 100 * found[n] * n * BLOCK_FRAMES / (1e9 * BLOCK_FRAMES / RATE_HZ)
        figures(
            f"voice    {n:4} voices, {isa:8} {found[n]:8.3f} ns per voice-sample, {share:.2f} % of one core",
            **{f"{isa}_ns_per_voice_sample": found[n], f"{isa}_core_percent": share},
        )
    if n >= 64:
        figures.want({f"{isa}_ns_per_voice_sample": MOST_NS for isa in with_avx512(costs)})


def test_straight_line(costs: Costs, figures: Figures) -> None:
    """A block costs a fixed part and so much per voice: the line with the smallest relative deviations."""
    n = np.array(COUNTS, float)
    for isa, found in costs.items():
        block_ns = np.array([found[k] for k in COUNTS]) * n * BLOCK_FRAMES
        columns = np.stack([np.ones_like(n), n], axis=1) / block_ns[:, None]
        (fixed_ns, voice_ns), *_ = np.linalg.lstsq(columns, np.ones_like(n), rcond=None)
        deviation = 100 * np.abs((fixed_ns + voice_ns * n) / block_ns - 1)
        ratio = found[4096] / found[64]
        figures(
            f"voice    {isa:8} {voice_ns / BLOCK_FRAMES:.3f} ns per voice-sample and {fixed_ns:.0f} ns per block; "
            f"off by {deviation.max():.0f} % at most; one of 4096 costs {ratio:.2f} x one of 64",
            **{
                f"{isa}_slope_ns_per_voice_sample": float(voice_ns / BLOCK_FRAMES),
                f"{isa}_fixed_ns": float(fixed_ns),
                f"{isa}_largest_deviation_percent": float(deviation.max()),
                f"{isa}_4096_over_64_ratio": ratio,
            },
        )
        figures.want({f"{isa}_4096_over_64_ratio": STRAIGHT_TARGET})


@pytest.mark.parametrize("n", [64, 1024])
def test_idle_voices(n: int, figures: Figures) -> None:
    """Voices that have sounded, with the gate closed and the envelope at rest, against sounding ones; in turn."""
    silent = voices_patch(n)
    for i in range(n):
        silent.gate(f"env{i}", 0)
    sounding_ns, never_ns, rested_ns = [], [], []
    with Bank(voices_patch(n)) as sounding, Bank(silent) as never, Bank(voices_patch(n)) as rested:
        check(sounding, n)
        check(rested, n)
        gate = silent.gate_param("env0").index
        envelopes = [node.handle for node in silent.nodes.values() if node.type == "adsr"]
        closing = [_native.Record(handle, gate, 0.0, frame=0) for handle in envelopes]
        rested.render(2 * round(RATE_HZ), closing)  # the release is 200 ms, and the filters ring out
        assert np.abs(rested.render(4800)).max() < 1e-12 and not never.render(4800).any()
        for _ in range(5):
            sounding_ns.append(sounding.block_ns(frames_for(n), 3) / (n * BLOCK_FRAMES))
            rested_ns.append(rested.block_ns(frames_for(n), 3) / (n * BLOCK_FRAMES))
            never_ns.append(never.block_ns(frames_for(n), 3) / (n * BLOCK_FRAMES))
    sound, rest, fresh = (statistics.median(values) for values in (sounding_ns, rested_ns, never_ns))
    figures(
        f"voice    {n:4} voices: sounding {sound:.3f} ns per voice-sample, at rest {rest:.3f}, never heard {fresh:.3f}",
        sounding_ns_per_voice_sample=sound,
        at_rest_ns_per_voice_sample=rest,
        never_heard_ns_per_voice_sample=fresh,
        at_rest_over_sounding_ratio=rest / sound,
    )
    figures.want(IDLE_TARGETS)

"""Every module alone, beside numpy or scipy doing the same job.

A plan of N_NODES equal modules, rendered offline in blocks of 64 frames, divided by N_NODES: the plan's share is in
it. numpy and scipy get the whole second in one call, their best case, and do what the module does when nothing
moves. `moving`: a parameter is on its ramp all the while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from figures import Figures
from references import (
    RATE_HZ,
    compressor,
    delay,
    driven,
    envelope,
    hihat,
    kick,
    lfo,
    limiter,
    lowpass_sections,
    noise,
    pan,
    pluck,
    reverb,
    saw,
    sine,
    snare,
    state_variable,
)
from scipy import signal

from pyengine import _native
from pyengine.patch import Patch
from pyengine.plan import address, new_plan, prime
from pyengine.samples import encode
from pyengine.specs import registry

BLOCK_FRAMES, N_FRAMES, N_NODES = 64, 48000, 32
Samples = npt.NDArray[np.float32]
_HASH = 64 * "0"


@dataclass(frozen=True)
class Row:
    """reference: the same job in numpy or scipy. source: feeds the inputs. moving: (param, a value, another), None for
    a module without parameters.

    output: the one that is listened to, through a filter that passes it unchanged; by default all are heard.
    settings: made before the first frame, such as a gate that strikes. sample: what it plays.
    """

    reference: Callable[[], npt.NDArray[Any]]
    name: str
    source: str | None
    tolerance: float
    moving: tuple[str, float, float] | None
    output: str = ""
    settings: tuple[tuple[str, float], ...] = ()
    sample: npt.NDArray[Any] | None = None


_SLEW = 1 - np.exp(-1 / 480)  # slew's part of what is left, by default
_SINE, _SECTIONS, _STATE_VARIABLE = sine(N_FRAMES), lowpass_sections(), state_variable()
ROWS = {
    "simple_sine": Row(lambda: sine(N_FRAMES), "numpy.sin", None, 1e-6, ("freq", 440.0, 880.0)),
    "feedback": Row(  # its source is heard too, once
        lambda: np.concatenate([np.zeros(64), _SINE[:-64]]) + _SINE / N_NODES,
        "numpy copy",
        "simple_sine",
        1e-6,
        None,
    ),
    "adsr": Row(lambda: envelope(N_FRAMES), "numpy.interp", None, 1e-6, ("sustain", 0.7, 0.2)),
    "biquad_filter": Row(
        lambda: signal.sosfilt(_SECTIONS, _SINE),
        "scipy.signal.sosfilt",
        "simple_sine",
        2e-6,
        ("cutoff", 2000.0, 4000.0),
    ),
    "gain": Row(lambda: _SINE * np.float32(1.0), "numpy.multiply", "simple_sine", 1e-6, ("gain", 1.0, 0.5)),
    "mixer": Row(lambda: _SINE * np.float32(1.0), "numpy.multiply", "simple_sine", 1e-6, ("gain", 1.0, 0.5)),
    "pan": Row(lambda: pan(_SINE).sum(axis=0), "numpy.multiply, twice", "simple_sine", 1e-6, ("position", 0.0, 1.0)),
    "noise": Row(lambda: noise(N_FRAMES), "numpy, SplitMix64", None, 1e-6, ("gain", 0.2, 0.5)),
    "slew": Row(
        lambda: signal.lfilter([_SLEW], [1, _SLEW - 1], _SINE),
        "scipy.signal.lfilter",
        "simple_sine",
        1e-6,
        ("rise", 10.0, 20.0),
    ),
    "sample_hold": Row(
        lambda: np.repeat(_SINE[::8], 8),
        "numpy.repeat",
        "simple_sine",
        1e-6,
        ("rate", 6000.0, 3000.0),
        settings=(("rate", 6000.0),),
    ),
    "drive": Row(lambda: driven(_SINE), "numpy.tanh, resample_poly", "simple_sine", 2e-3, ("drive", 12.0, 20.0)),
    "osc": Row(lambda: saw(N_FRAMES), "numpy, harmonics added up", None, 0.1, ("freq", 440.0, 880.0)),
    "lfo": Row(lambda: lfo(N_FRAMES), "numpy.sin", None, 1e-6, ("depth", 1.0, 0.5)),
    "svf": Row(
        lambda: signal.lfilter(*_STATE_VARIABLE, _SINE),
        "scipy.signal.lfilter",
        "simple_sine",
        2e-6,
        ("shift", 0.0, 1.0),
        "low",
    ),
    "kick": Row(
        lambda: kick(N_FRAMES),
        "numpy.sin and exp",
        None,
        2e-5,
        ("freq", 50.0, 60.0),
        settings=(("decay", 20000.0), ("click", 0.0), ("gate", 1.0)),
    ),
    "limiter": Row(
        lambda: limiter(_SINE),
        "scipy.ndimage's filters, mono",
        "simple_sine",
        1e-5,
        ("ceiling", -20.0, -19.0),
        "left",
        (("ceiling", -20.0),),
    ),
    "delay": Row(lambda: delay(_SINE), "numpy, and scipy.signal.lfilter", "simple_sine", 1e-6, ("feedback", 0.4, 0.5)),
    "pluck": Row(
        lambda: pluck(N_FRAMES), "numpy.convolve", None, 2e-6, ("decay", 4000.0, 2000.0), settings=(("gate", 1.0),)
    ),
    "reverb": Row(
        lambda: reverb(_SINE),
        "numpy, and scipy.signal.lfilter",
        "simple_sine",
        2e-6,
        ("damping", 0.3, 0.4),
        "left",
        (("modulation", 0.0),),
    ),
    "sampler": Row(
        lambda: np.interp(np.arange(N_FRAMES) * 2 ** (-5 / 12), np.arange(N_FRAMES), _SINE),
        "numpy.interp, linear",
        None,
        1e-3,  # the reference has it: a line between samples
        ("pitch", -5.0, -6.0),
        "left",
        (("pitch", -5.0), ("loop", 1.0), ("gate", 1.0)),
        _SINE,
    ),
    "compressor": Row(
        lambda: compressor(_SINE),
        "numpy, scipy.signal.lfilter",
        "simple_sine",
        1e-3,
        ("threshold", -30.0, -20.0),
        "left",
        (("threshold", -30.0), ("release", 5000.0)),
    ),
    "snare": Row(
        lambda: snare(N_FRAMES),
        "numpy.sin, twice, and exp",
        None,
        2e-5,
        ("freq", 180.0, 200.0),
        settings=(("decay", 20000.0), ("tone_decay", 20000.0), ("noise", 0.0), ("gate", 1.0)),
    ),
    "hihat": Row(
        lambda: hihat(N_FRAMES),
        "numpy.where, scipy.signal.lfilter",
        None,
        2e-5,
        ("freq", 205.3, 220.0),
        settings=(("decay", 20000.0), ("noise", 0.0), ("gate", 1.0)),
    ),
}


@contextmanager
def bank(name: str, row: Row, is_moving: bool) -> Iterator[Callable[[], Samples]]:
    """Yield a function that renders the next second of N_NODES equal modules, summed."""
    patch = Patch()
    if row.source:
        patch.create("source", row.source)
    for i in range(N_NODES):
        patch.create(f"m{i}", name)
        if row.sample is not None:
            patch.give(f"m{i}", {"file": "sine.wav", "sha256": _HASH})
        if row.source:
            patch.connect("source", f"m{i}")
    if row.output:
        patch.create("sink", "biquad_filter")
        for i in range(N_NODES):
            patch.connect(f"m{i}.{row.output}", "sink")
    records = []
    if is_moving and row.moving:
        param, *values = row.moving
        for frame in range(0, N_FRAMES, 240):  # every 5 ms: no ramp comes to its end
            value = values[frame // 240 % 2]
            at = [address(patch, ("mod", f"m{i}", param, value)) for i in range(N_NODES)]
            records += [_native.Record(handle, index, number, frame=frame) for handle, index, number in at]
    commands = _native.commands(records)
    out = np.zeros((N_FRAMES, 1), np.float32)
    data = {} if row.sample is None else {_HASH: _native.Data(encode(row.sample[:, None]))}
    with new_plan(patch, sample_rate_hz=RATE_HZ, max_block_frames=BLOCK_FRAMES, n_channels=1, samples=data) as plan:
        ops = [("mod", f"m{i}", param, value) for i in range(N_NODES) for param, value in row.settings]
        prime(plan, patch, [*ops, ("mod", "sink", "mode", "peak")] if row.output else ops, RATE_HZ)

        def render() -> Samples:
            plan.render(commands, len(records), N_FRAMES, BLOCK_FRAMES, out)
            return out[:, 0]

        yield render


def per_sample_ns(benchmark: Any, n: int) -> tuple[float, float]:
    """Return (median, worst) over the rounds, in ns per sample of one module."""
    stats = benchmark.stats.stats
    return 1e9 * stats.median / n, 1e9 * stats.max / n


def show(figures: Figures, name: str, ns: tuple[float, float]) -> None:
    us = ns[0] * BLOCK_FRAMES / 1e3
    share = 100 * us / (1e6 * BLOCK_FRAMES / RATE_HZ)
    per_sample = f"{ns[0]:7.2f} ns per sample (worst {ns[1]:7.2f})"
    figures(
        f"modules  {name:38} {us:8.3f} us per block  {per_sample}  {share:.3f} % of the period",
        ns_per_sample=ns[0],
        worst_ns_per_sample=ns[1],
        us_per_block=us,
        period_percent=share,
    )


KINDS = [
    (m.name, kind)
    for m in registry().modules
    for kind in (["steady", "moving"] if m.params else ["steady"])
    if not m.events  # those: test_seq.py
]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=[f"{name}-{kind}" for name, kind in KINDS])
def test_module(name: str, kind: str, benchmark: Any, figures: Figures) -> None:
    """Per sample of one module. moving: a parameter is on its ramp all the while."""
    assert name in ROWS, f"{name} has no row here: give it one in bench/test_modules.py"
    row = ROWS[name]
    with bank(name, row, kind == "moving") as render:
        if kind == "steady":
            error = np.abs(render() / N_NODES - row.reference()).max()
            assert error < row.tolerance, f"{name} is off by {error:g}: not worth timing"
        else:
            assert np.isfinite(render()).all()
        benchmark.pedantic(render, rounds=15, warmup_rounds=2)
    show(figures, f"{name}, {kind}", per_sample_ns(benchmark, N_FRAMES * N_NODES))


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if ("gate", 1.0) in row.settings])
def test_at_rest(name: str, benchmark: Any, figures: Figures) -> None:
    """Per sample of a module that is struck, while nothing strikes it."""
    with bank(name, replace(ROWS[name], settings=()), False) as render:
        assert not np.any(render())
        benchmark.pedantic(render, rounds=15, warmup_rounds=2)
    show(figures, f"{name}, at rest", per_sample_ns(benchmark, N_FRAMES * N_NODES))


@pytest.mark.parametrize(
    ("name", "kind", "pitch"),
    [(f"sampler {p:+} semitones", "steady", p) for p in (7, 12, 36)],
    ids=["+7", "+12", "+36"],
)
def test_sampler_pitched_up(name: str, kind: str, pitch: int, benchmark: Any, figures: Figures) -> None:
    """Per sample of a sampler that reads through its low-pass, by so many semitones."""
    settings = (("pitch", float(pitch)), ("loop", 1.0), ("gate", 1.0))
    with bank("sampler", replace(ROWS["sampler"], settings=settings), False) as render:
        n = 4800  # the loop's end is not reached
        wanted = 0.2 * np.sin(2 * np.pi * 440.0 * 2 ** (pitch / 12) * np.arange(n) / RATE_HZ)
        error = np.abs(render()[:n] / N_NODES - wanted)[480:].max()  # behind the start, which it is faded in at
        assert error < 2e-3, f"the sampler is off by {error:g} at {pitch:+} semitones: not worth timing"
        benchmark.pedantic(render, rounds=15, warmup_rounds=2)
    show(figures, f"{name}, {kind}", per_sample_ns(benchmark, N_FRAMES * N_NODES))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_reference(name: str, benchmark: Any, figures: Figures) -> None:
    """numpy or scipy doing the job of the module, a second in one call."""
    benchmark.pedantic(ROWS[name].reference, rounds=30, warmup_rounds=2)
    show(figures, f"  {ROWS[name].name}, for {name}", per_sample_ns(benchmark, N_FRAMES))

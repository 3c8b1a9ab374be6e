"""The main job, shown: the four scenarios through a real UDP client, recorded, measured and drawn.

Every figure but the engine's own times is taken from the recording.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine.client import Client
from pyengine.commands import Commit, SetParam
from pyengine.engine import Engine
from pyengine.errors import EngineError
from pyengine.offline import render
from pyengine.patch import Patch

SOUND_S = 0.6  # of each step
SETTLED_S = 0.35  # after a swap envelopes are at sustain and filters settled
WINDOW_S = 0.010  # on either side of a swap: 20 ms around it
MAX_RATIO = 1.1
MIN_RMS = 0.001
PITCH_CENTS = 5.0
Samples = npt.NDArray[np.float64]
Say = Callable[[str], None]


@dataclass
class Step:
    """One commit of a scenario, and what was found of it in the recording."""

    name: str
    freq_hz: float  # of the tone after it
    report: dict[str, Any]
    missing_frames: int
    alone: Samples | None  # with a new envelope: the patch offline, as its attack is louder than what follows
    is_silent: bool = False  # meant to be
    first_change_ms: float = math.nan
    step_ratio: float = math.nan
    curve_ratio: float = math.nan
    rms_before: float = math.nan
    rms_after: float = math.nan
    faults: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        figures = ("first_change_ms", "step_ratio", "curve_ratio", "rms_before", "rms_after")
        found = {name: getattr(self, name) for name in figures}
        return {
            "name": self.name,
            "faults": self.faults,
            "ready_ms": self.report["ready_ms"],
            "missing_frames": self.missing_frames,
            **{name: value if math.isfinite(value) else None for name, value in found.items()},
        }


@dataclass
class Report:
    """What a run of the demo found."""

    steps: list[Step]
    wav: Path
    picture: Path | None
    faults: list[str]

    @property
    def is_good(self) -> bool:
        return not self.faults and not any(step.faults for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Return what was found as plain data, for JSON; a figure that there is not is None."""
        return {
            "is_good": self.is_good,
            "steps": [step.as_dict() for step in self.steps],
            "faults": self.faults,
            "sound": str(self.wav),
            "picture": None if self.picture is None else str(self.picture),
        }


class _Player:
    """Plays through OSC and lets time go by, on whichever clock."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self.client = client
        self.steps: list[Step] = []

    def wait(self, seconds: float) -> None:
        if self.engine.options.device == "free":
            self.engine.advance(seconds)
        else:
            time.sleep(seconds)

    def commit(
        self, name: str, freq_hz: float = 440.0, *, behind: SetParam | None = None, is_silent: bool = False
    ) -> None:
        """Commit, with a command sent right behind it where one is given, and let it sound."""
        before = self.engine.status()["counters"]["frames_underrun"]
        replies = self.client.send_all([Commit()] if behind is None else [Commit(), behind])
        report = json.loads(str(replies[0].args[0]))
        self.wait(SOUND_S)
        missing = self.engine.status()["counters"]["frames_underrun"] - before
        rate = self.engine.options.sample_rate_hz
        patch = Patch.from_json(self.client.dump()["committed"])
        alone = None
        if any(patch.spec(id).gate_param for id in report["new"]):
            alone = render(patch, SOUND_S, sample_rate=rate)[:, 0].astype(float)
        self.steps.append(Step(name, freq_hz, report, missing, alone, is_silent))


def _scenarios(player: _Player) -> None:
    c = player.client

    c.create("osc1", "simple_sine")
    player.commit("1 osc")

    c.clear()
    c.create("osc1", "simple_sine")
    c.create("env1", "adsr")
    c.connect("osc1", "env1")
    player.commit("2 osc-env")

    c.clear()
    for id, kind in (("osc1", "simple_sine"), ("env1", "adsr"), ("filt1", "biquad_filter")):
        c.create(id, kind)
    c.connect("osc1", "env1")
    c.connect("env1", "filt1")
    player.commit("3 osc-env-filt")

    c.clear()
    c.create("osc1", "simple_sine")
    player.commit("4a osc")
    c.create("env1", "adsr")
    c.connect("osc1", "env1")
    player.commit("4b +env")
    c.create("filt1", "biquad_filter")
    c.connect("env1", "filt1")
    player.commit("4c +filt")

    c.clear()
    c.create("osc1", "simple_sine")
    c.set("osc1", "freq", 660.0)
    player.commit("set before", 660.0)

    c.clear()
    c.create("osc1", "simple_sine")
    player.commit("0 ms behind", 880.0, behind=SetParam("osc1", "freq", 880.0))

    c.clear()
    c.create("osc1", "simple_sine")
    c.create("env1", "adsr")
    c.gate("env1", 0)
    c.connect("osc1", "env1")
    player.commit("gate closed", is_silent=True)


def play(device: str, folder: Path, say: Say) -> Report:
    """Run the demo; write demo.wav and demo.png into folder; say a table. Raises EngineError."""
    folder.mkdir(parents=True, exist_ok=True)
    wav = folder / "demo.wav"
    wav.unlink(missing_ok=True)
    with Engine(device, osc_port=0, recordings=folder) as engine:
        say(f"output: {engine.status()['output']}")
        port = engine.osc_port
        assert port is not None
        with Client(port=port) as client:
            player = _Player(engine, client)
            client.record_start(wav.name)
            player.wait(0.1)
            _scenarios(player)
            recording = client.record_stop()
        status = engine.status()
    samples = _read(wav)
    for before, step in zip([None, *player.steps], player.steps, strict=False):
        _measure(step, before, samples, int(recording["first_frame"]), float(status["sample_rate"]))
    faults = [f"{recording['lost_frames']} frames are missing in the recording"] if recording["lost_frames"] else []
    picture = _draw(
        folder / "demo.png", samples, player.steps, int(recording["first_frame"]), status["sample_rate"], say
    )
    report = Report(player.steps, wav, picture, faults)
    _tell(report, status, say)
    return report


def _read(path: Path) -> Samples:
    import soundfile

    samples, _ = soundfile.read(path, dtype="float64", always_2d=True)
    if not np.array_equal(samples[:, 0], samples[:, -1]):
        raise EngineError(f"{path}: the channels of a mono patch differ")
    left: Samples = samples[:, 0]
    return left


# ---- measuring ------------------------------------------------------------------------------------------


def _measure(step: Step, before: Step | None, samples: Samples, first: int, rate: float) -> None:
    swap = int(step.report["frame"]) - first
    width = round(WINDOW_S * rate)
    settled = swap + round(SETTLED_S * rate)
    after = samples[settled : settled + round(0.2 * rate)]
    steady = samples[max(0, swap - round(0.1 * rate)) : swap]
    around = samples[swap - width - 1 : swap + width]
    received = int(step.report["received_frame"]) - first
    step.rms_before, step.rms_after = _rms(steady), _rms(after)
    changed = _first_change(samples, received, swap + width, before.freq_hz if before else 0.0, rate)
    step.first_change_ms = 1e3 * (changed - received) / rate
    own = after if step.alone is None else step.alone
    step.step_ratio = _ratio(around, steady, own, 1)
    step.curve_ratio = _ratio(around, steady, own, 2)
    _judge(step, samples, swap, changed, after, rate)


def _judge(step: Step, samples: Samples, swap: int, changed: int, after: Samples, rate: float) -> None:
    block = int(step.report["late_blocks"])
    if step.missing_frames:
        step.faults.append(f"{step.missing_frames} frames missing")
    if block:
        step.faults.append(f"{block} blocks late")
    if step.is_silent:
        if step.rms_after > 0.0:
            step.faults.append("not silent although its gate was closed")
        return
    if changed - swap > round(0.002 * rate):
        step.faults.append(f"first change {changed - swap} frames after the swap")
    for ratio, what in ((step.step_ratio, "step"), (step.curve_ratio, "curve")):
        if ratio > MAX_RATIO:
            step.faults.append(f"{what} at the swap {ratio:.2f} x the tone's own")
    windows = samples[swap : swap + round(0.1 * rate)].reshape(-1, round(0.01 * rate))
    if min(_rms(w) for w in windows) < MIN_RMS:
        step.faults.append("silence after the swap")
    found_hz = _pitch(after, rate)
    if abs(1200 * math.log2(found_hz / step.freq_hz)) > PITCH_CENTS:
        step.faults.append(f"{found_hz:.2f} Hz instead of {step.freq_hz:g} Hz")


def _rms(x: Samples) -> float:
    return float(np.sqrt(np.mean(x * x))) if len(x) else 0.0


def _ratio(around: Samples, before: Samples, after: Samples, order: int) -> float:
    """Return the largest difference around a swap over that of the signals on either side by themselves."""
    own = max((float(np.abs(np.diff(x, order)).max(initial=0.0)) for x in (before, after)), default=0.0)
    return float(np.abs(np.diff(around, order)).max(initial=0.0)) / own if own else 0.0


def _first_change(samples: Samples, start: int, end: int, freq_hz: float, rate: float) -> int:
    """Return the first frame that a steady tone of freq_hz (0: silence) does not foretell from the two before."""
    c = 2 * math.cos(2 * math.pi * freq_hz / rate)
    x = samples[start - 2 : end]
    surprise = np.abs(x[2:] - (c * x[1:-1] - x[:-2])) if freq_hz else np.abs(x[2:])
    found = np.flatnonzero(surprise > (3e-7 if freq_hz else 0.0))
    return start + int(found[0]) if len(found) else end


def _pitch(x: Samples, rate: float) -> float:
    """Return the frequency of a tone from its rising zero crossings, interpolated."""
    up = np.flatnonzero((x[:-1] < 0) & (x[1:] >= 0))
    if len(up) < 3:
        return 1e-9
    at = up - x[up] / (x[up + 1] - x[up])
    return float(rate * (len(at) - 1) / (at[-1] - at[0]))


# ---- telling ----------------------------------------------------------------------------------------------


def _tell(report: Report, status: dict[str, Any], say: Say) -> None:
    say("")
    say("commit            prime  first change  missing  step    curve   RMS      RMS")
    say("                     ms            ms   frames  ratio   ratio   before   after")
    for s in report.steps:
        verdict = "ok" if not s.faults else "FAILED: " + "; ".join(s.faults)
        say(
            f"{s.name:<15} {s.report['ready_ms']:7.2f} {s.first_change_ms:13.2f} {s.missing_frames:8d} "
            f"{s.step_ratio:6.2f} {s.curve_ratio:7.2f} {s.rms_before:8.4f} {s.rms_after:7.4f}  {verdict}"
        )
    counters = status["counters"]
    say("")
    say(
        f"{counters['frames_delivered']} frames, {counters['frames_underrun']} missing, {counters['swaps']} swaps, "
        f"{counters['late_swaps']} late, worst callback {counters['worst_callback_ns'] / 1e3:.0f} us"
    )
    say("step, curve: largest first and second difference within 20 ms of the swap, against the tones' own")
    for fault in report.faults:
        say(f"FAILED: {fault}")
    say(f"sound:   {report.wav}")
    if report.picture:
        say(f"picture: {report.picture}")


def _draw(path: Path, samples: Samples, steps: list[Step], first: int, rate: float, say: Say) -> Path | None:
    """Draw waveform, spectrogram and the 40 ms around each swap; None where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        say("no picture: matplotlib is missing; pip install 'pyengine[plot]'")
        return None
    figure = Figure(figsize=(15, 10), layout="constrained")
    FigureCanvasAgg(figure)
    rows: Any = figure.subfigures(3, 1, height_ratios=[2, 3, 3])
    wave = rows[0].subplots()
    wave.plot(np.arange(len(samples)) / rate, samples, linewidth=0.3)
    wave.set(xlim=(0, len(samples) / rate), ylabel="sample")
    spectrum = rows[1].subplots()
    floor = 1e-9 * np.random.default_rng(0).standard_normal(len(samples))  # silence has no logarithm
    spectrum.specgram(samples + floor, NFFT=4096, noverlap=3072, Fs=rate, vmin=-160, vmax=-20)
    spectrum.set(ylim=(0, 4000), xlabel="s", ylabel="Hz")
    for step in steps:
        at_s = (step.report["frame"] - first) / rate
        wave.axvline(at_s, color="red", linewidth=0.6)
        wave.text(at_s, wave.get_ylim()[1], f" {step.name}", fontsize=8, verticalalignment="top")
    around = rows[2].subplots(1, len(steps), sharey=True)
    for axes, step in zip(around, steps, strict=True):
        swap = step.report["frame"] - first
        half = round(0.02 * rate)
        part = samples[max(0, swap - half) : swap + half]
        axes.plot((np.arange(len(part)) - half) / rate * 1e3, part, linewidth=0.8)
        axes.axvline(0, color="red", linewidth=0.6)
        axes.set_title(step.name, fontsize=9)
        axes.set_xlabel("ms from the swap", fontsize=8)
    figure.savefig(path, dpi=90)
    return path

"""A picture of a sound: its wave, its spectrogram, its loudness, with what begins and what clicks marked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pyengine.ears.description import Description
from pyengine.ears.loudness import HOP_S, MOMENTARY_HOPS, SHORT_TERM_HOPS, SILENCE_LUFS, loudness
from pyengine.ears.sound import Mono, Sound, as_sound, hann, power_of_two, windows
from pyengine.errors import EngineError, shown

COLUMNS, ROWS = 900, 240  # of the spectrogram
LOWEST_HZ = 30.0
RANGE_DB = 80.0
WINDOW_S = 0.085
_WAVE, _ONSET, _CLICK, _NOTE, _GAP = "#27587b", "#2a9d4a", "#d62728", "#ffffff", "#f4a261"


def draw(samples: Any, sample_rate_hz: float, description: Description, path: Path, *, title: str = "") -> None:
    """Write a PNG of a sound that was described; `path` must not exist.

    Raises EngineError where matplotlib is missing or the file cannot be written, CommandError for what is no sound.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineError("a picture needs matplotlib; pip install 'pyengine[plot]'") from error
    sound = as_sound(samples, sample_rate_hz)
    figure = Figure(figsize=(13, 9), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    wave, spectrum, loud = figure.subplots(3, 1, sharex=True, height_ratios=[2, 4, 1.6])
    _draw_wave(wave, sound)
    image = _draw_spectrum(spectrum, sound, description)
    _draw_loudness(loud, sound)
    _mark(wave, spectrum, loud, description)
    figure.colorbar(image, ax=spectrum, label="dB below the loudest", pad=0.01)
    wave.set_xlim(0, max(description.duration_s, 1e-6))
    wave.set_title(title, loc="left", fontsize=10)
    loud.set_xlabel("s")
    _write(canvas, path)


def _write(canvas: Any, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise EngineError(f"cannot write the picture {shown(str(path))}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            canvas.print_png(file)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise EngineError(f"cannot write the picture {shown(str(path))}: {error.strerror or error}") from error


def _draw_wave(axes: Any, sound: Sound) -> None:
    """Draw the least and the largest sample of each column, one channel above the other."""
    n_shown = min(sound.n_channels, 4)
    for c in range(n_shown):
        x = sound.channel(c)
        step = max(1, len(x) // (2 * COLUMNS))
        whole = x[: len(x) // step * step].reshape(-1, step)
        at = np.arange(len(whole)) * step / sound.rate_hz
        axes.fill_between(at, whole.min(axis=1) - 2.2 * c, whole.max(axis=1) - 2.2 * c, color=_WAVE, linewidth=0.6)
        axes.axhline(-2.2 * c, color="0.7", linewidth=0.5)
    reach = max(sound.peak, 1e-3) * 1.05 if n_shown == 1 else 1.1
    axes.set_ylim(-2.2 * (n_shown - 1) - reach, reach)
    names = {1: "sample", 2: "left above right"}.get(sound.n_channels, f"{n_shown} of {sound.n_channels} channels")
    axes.set_ylabel(names)
    if n_shown > 1:
        axes.set_yticks([-2.2 * c for c in range(n_shown)], ["L", "R"] if n_shown == 2 else range(1, n_shown + 1))


def _draw_spectrum(axes: Any, sound: Sound, description: Description) -> Any:
    level, top_hz = spectrogram(sound)
    image = axes.imshow(
        level.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0,
        extent=(0, max(description.duration_s, 1e-6), 0, 1),
    )
    octaves = np.log2(top_hz / LOWEST_HZ)
    ticks = [hz for hz in (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000) if hz < top_hz]
    axes.set_yticks([np.log2(hz / LOWEST_HZ) / octaves for hz in ticks], [f"{hz:g}" for hz in ticks])
    axes.set_ylabel("Hz")
    for note in description.notes["list"]:
        if note["hz"] > LOWEST_HZ:
            height = np.log2(note["hz"] / LOWEST_HZ) / octaves
            axes.plot([note["begin_s"], note["end_s"]], [height] * 2, color=_NOTE, linewidth=1, linestyle=":")
            axes.annotate(note["note"], (note["begin_s"], height), color=_NOTE, fontsize=8, va="bottom")
    return image


def spectrogram(sound: Sound) -> tuple[Mono, float]:
    """Return (columns, rows) of dB below the loudest point, and the frequency of the highest row. The rows are equal
    steps of pitch from LOWEST_HZ on; each is the loudest of the bins that it covers.
    """
    size = power_of_two(WINDOW_S * sound.rate_hz)
    top_hz = sound.rate_hz / 2
    edges = LOWEST_HZ * (top_hz / LOWEST_HZ) ** (np.arange(ROWS + 1) / ROWS) * size / sound.rate_hz
    centres = np.sqrt(edges[:-1] * edges[1:])
    first = np.clip(np.floor(edges[:-1] + 0.5).astype(int), 0, size // 2)
    is_wide = np.diff(edges) > 1.0
    window, parts = hann(size), []
    for rows in windows(sound.main, size, max(1, sound.n_frames // COLUMNS)):
        power = np.abs(np.fft.rfft(rows * window, axis=1)) ** 2
        wide = np.maximum.reduceat(power, first, axis=1)
        low = np.minimum(centres.astype(int), size // 2 - 1)
        share = np.clip(centres - low, 0, 1)
        between = power[:, low] * (1 - share) + power[:, low + 1] * share
        parts.append(np.where(is_wide, wide, between))
    power = np.concatenate(parts)
    level: Mono = 10 * np.log10(np.maximum(power, 1e-20) / max(float(power.max()), 1e-20))
    return level, top_hz


def _draw_loudness(axes: Any, sound: Sound) -> None:
    found = loudness(sound)
    for levels, hops, name, width in (
        (found.momentary_lufs, MOMENTARY_HOPS, "momentary (0.4 s)", 1.0),
        (found.short_term_lufs, SHORT_TERM_HOPS, "short-term (3 s)", 2.0),
    ):
        if len(levels):
            at = (np.arange(len(levels)) + hops / 2) * HOP_S
            axes.plot(at, np.maximum(levels, SILENCE_LUFS), linewidth=width, label=name)
    if found.integrated_lufs is not None:
        axes.axhline(found.integrated_lufs, color="0.4", linewidth=1, linestyle="--", label="integrated")
    if found.momentary_max_lufs is None:
        axes.text(0.5, 0.5, found.reason, transform=axes.transAxes, ha="center", va="center", color="0.4")
    else:
        low = max(SILENCE_LUFS, found.momentary_max_lufs - 45, float(found.momentary_lufs.min()) - 3)
        axes.set_ylim(min(low, found.momentary_max_lufs - 12), found.momentary_max_lufs + 3)
        axes.legend(loc="lower left", fontsize=8, ncols=3)
    axes.set_ylabel("LUFS")
    axes.grid(color="0.9")


def _mark(wave: Any, spectrum: Any, loud: Any, description: Description) -> None:
    """Mark onsets (green), clicks (red) and dropouts (orange)."""
    top = wave.get_ylim()[1]
    for at in description.onsets["times_s"]:
        wave.axvline(at, color=_ONSET, linewidth=0.8, alpha=0.8)
        loud.axvline(at, color=_ONSET, linewidth=0.6, alpha=0.5)
    for gap in description.dropouts["list"]:
        wave.axvspan(gap["at_s"], gap["at_s"] + gap["ms"] / 1e3, color=_GAP, alpha=0.8)
    for click in description.clicks["list"]:
        wave.axvline(click["at_s"], color=_CLICK, linewidth=1.2, linestyle="--")
        wave.annotate("click", (click["at_s"], top), color=_CLICK, fontsize=8, va="top")
        spectrum.axvline(click["at_s"], color=_CLICK, linewidth=0.8, linestyle="--", alpha=0.7)
    handles = [
        wave.plot([], [], color=_ONSET, linewidth=0.8, label=f"onsets ({description.onsets['n']})")[0],
        wave.plot([], [], color=_CLICK, linestyle="--", linewidth=1.2, label=f"clicks ({description.clicks['n']})")[0],
    ]
    wave.legend(handles=handles, loc="upper right", fontsize=8, ncols=2, framealpha=0.8)

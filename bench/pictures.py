"""The pictures of the page of results: each is drawn where a run has its figures, and left out where it has not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from figures import UNITS, name_and_unit, number_text
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from results import Bench, Results

VOICE_UNIT = "_ns_per_voice_sample"
COLOURS = ["#1f6fb4", "#d9722b", "#2e8b57", "#b03a48", "#7a5aa6", "#8a6d3b", "#4a4a4a", "#c457a0"]
GREY = "#8c8c8c"
Picture = tuple[Path, str]
Bars = list[tuple[str, float, str]]
"""(label, value, colour)."""


def draw_all(results: Results, folder: Path) -> list[Picture]:
    """Draw what there are figures for into a folder; return (file, caption) of each."""
    drawers: list[Callable[[Results, Path], Iterator[Picture]]] = [
        _draw_voices,
        _draw_peers,
        _draw_modules,
        _draw_ring,
        _draw_histograms,
    ]
    return [picture for drawer in drawers for picture in drawer(results, folder)]


def _canvas(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_bars(path: Path, bars: Bars, label: str, *, is_log: bool = False, line_at: float | None = None) -> None:
    """Horizontal bars with their numbers at the end."""
    figure, axes = _canvas(9, 1.0 + 0.34 * len(bars))
    places = range(len(bars))
    axes.barh(places, [value for _, value, _ in bars], color=[colour for *_, colour in bars], height=0.68)
    axes.set_yticks(places, [name for name, *_ in bars])
    axes.invert_yaxis()
    for place, (_, value, _) in zip(places, bars, strict=True):
        text = number_text(value) if value < 1e6 else EngFormatter(places=1, sep=" ")(value)
        axes.annotate(text, (value, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlabel(label)
    axes.grid(axis="x", color="#e4e4e4")
    largest = max(value for _, value, _ in bars)
    if is_log:
        axes.set_xscale("log")
        smallest = min(value for _, value, _ in bars)
        ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)]
        ticks = [t for t in ticks if smallest / 2 <= t <= largest * 1.5]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xlim(left=min(0.5, smallest / 1.5))
        axes.minorticks_off()
    axes.set_xlim(right=largest * (1.6 if is_log else 1.12))
    if not is_log and largest >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    if line_at is not None:
        axes.axvline(line_at, color="#333333", linewidth=1, linestyle="--")
    _save(figure, path)


# ---- voices -----------------------------------------------------------------------------------------------


def voice_points(benches: Iterable[Bench]) -> dict[str, dict[int, float]]:
    """Return system -> number of voices -> ns per voice-sample.

    From figures called SYSTEM_ns_per_voice_sample where the number is a parameter of the bench (n, voices or
    n_voices) or a figure called voices, or SYSTEM_64_voices_ns_per_voice_sample. A bench may name in a note whom it
    means by `peer`.
    """
    points: dict[str, dict[int, float]] = {}
    for bench in benches:
        given = next((bench.params[p] for p in ("n_voices", "voices", "n") if p in bench.params), None)
        given = given if "voices" not in bench.figures else int(bench.figures["voices"])
        for name, value in bench.figures.items():
            if not name.endswith(VOICE_UNIT):
                continue
            system = name.removesuffix(VOICE_UNIT)
            system = bench.notes.get("peer", system) if system == "peer" else system
            found = re.fullmatch(r"(.*?)_?(\d+)_voices?", system)
            if found:
                points.setdefault(found[1], {})[int(found[2])] = value
            elif isinstance(given, (int, str)) and str(given).isdigit():
                points.setdefault(system, {})[int(given)] = value
    return points


def is_of_peers(bench: Bench) -> bool:
    return "peers" in Path(bench.file).parts


def _draw_voices(results: Results, folder: Path) -> Iterator[Picture]:
    ours = voice_points(bench for bench in results.of_file("test_voice") if bench.function == "test_voices")
    peers = voice_points(bench for bench in results.benches if is_of_peers(bench))
    peers.pop("pyengine", None)  # the same as ours, in each of their runs
    if not ours:
        return
    figure, axes = _canvas(9, 5.2)
    for number, (system, points) in enumerate(ours.items()):
        n = sorted(points)
        name = "pyengine" if system == "default" else f"pyengine, {system}"
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(n, [points[k] for k in n], marker="o", color=colour, linewidth=2, label=name)
    for number, (system, points) in enumerate(peers.items()):
        n, marker = sorted(points), "sDv^P*Xh"[number % 8]
        colour = COLOURS[(number + len(ours)) % len(COLOURS)]
        values = [points[k] for k in n]
        axes.plot(n, values, marker=marker, color=colour, linewidth=1, linestyle=":", label=system.replace("_", " "))
    axes.set(xscale="log", yscale="log", xlabel="voices", ylabel="ns per voice-sample, one core")
    counts = sorted({k for points in ours.values() for k in points})
    axes.set_xticks(counts, [str(k) for k in counts])
    axes.minorticks_off()
    every = [v for points in [*ours.values(), *peers.values()] for v in points.values()]
    ticks = [t for decade in (0.1, 1, 10, 100, 1000) for t in (decade, 2 * decade, 5 * decade)]
    low, high = min(every) / 2, max(every) * 2
    ticks = [t for t in ticks if low <= t <= high]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_ylim(low, high)
    axes.grid(color="#e4e4e4")
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = folder / "voices.png"
    _save(figure, path)
    yield path, "What a voice (sine, envelope, low-pass) costs per sample, against the number of voices"


# ---- peers, modules, ring -----------------------------------------------------------------------------------


def _peer_ratios(bench: Bench) -> Iterator[tuple[str, float]]:
    """Yield (label, how many times what pyengine takes): figures called ..._to_pyengine or ..._over_pyengine_ratio."""
    n = bench.figures.get("voices", bench.params.get("n_voices"))
    for name, value in bench.figures.items():
        found = re.fullmatch(r"(.+?)_(?:to|over)_pyengine(?:_ratio)?", name)
        if found and value > 0:
            who = bench.notes.get("peer", found[1]) if found[1] == "peer" else found[1].replace("_", " ")
            yield (
                (
                    f"{who}, {n:g} voice{'s' * (n != 1)}"
                    if isinstance(n, (int, float))
                    else f"{who} {bench.param}".strip()
                ),
                value,
            )


def _draw_peers(results: Results, folder: Path) -> Iterator[Picture]:
    """Longest first within each number of voices."""
    rows = [(bench, *row) for bench in results.benches if is_of_peers(bench) for row in _peer_ratios(bench)]
    rows.sort(key=lambda row: (float(row[0].figures.get("voices", 0)), -row[2]))
    bars = [(label, value, COLOURS[0] if value >= 1 else COLOURS[3]) for _, label, value in rows]
    if bars:
        path = folder / "peers.png"
        _draw_bars(path, bars, "times what pyengine takes, in one run", is_log=True, line_at=1.0)
        yield path, "What the peers take for the same voices, as a multiple of what pyengine takes (the line: as much)"


def _draw_modules(results: Results, folder: Path) -> Iterator[Picture]:
    bars: Bars = []
    for bench in results.of_file("test_modules"):
        if "ns_per_sample" in bench.figures:
            is_reference = bench.function == "test_reference"
            kind = "numpy or scipy" if is_reference else bench.params.get("kind", "at rest")
            bars.append(
                (
                    f"{bench.params['name']}, {kind}",
                    bench.figures["ns_per_sample"],
                    GREY if is_reference else COLOURS[0],
                )
            )
    if bars:
        path = folder / "modules.png"
        order = ["steady", "moving", "at rest", "numpy or scipy"]
        bars.sort(key=lambda bar: (bar[0].rpartition(", ")[0], order.index(bar[0].rpartition(", ")[2])))
        _draw_bars(path, bars, "ns per sample")
        yield path, "Every module alone (moving: while a parameter ramps), beside numpy or scipy doing its job"


def _draw_ring(results: Results, folder: Path) -> Iterator[Picture]:
    """A picture for each bench of a file named after the ring: its figures of one unit, a bar each."""
    rows = [b for b in results.benches if "ring" in Path(b.file).stem and b.figures]
    units: dict[str, Bars] = {}
    for bench in rows:
        for name, value in bench.figures.items():
            what, unit = name_and_unit(name)
            label = ", ".join(
                filter(None, [bench.title if not bench.param else bench.param, what if what != unit else ""])
            )
            is_ours = "pyengine" in label or "pe_ring" in label
            units.setdefault(unit, []).append((label, value, COLOURS[0] if is_ours else GREY))
    for unit, bars in units.items():
        if not unit.startswith(("ns", "messages", "a second", "x")) or len(bars) > 40:
            continue
        end = re.sub(r"\W+", "-", unit).strip("-")
        path = folder / f"ring-{end}.png"
        _draw_bars(path, bars, "ratio" if unit == "x" else unit, line_at=1.0 if unit == "x" else None)
        yield path, f"The rings: {'ratios' if unit == 'x' else unit}"


# ---- histograms ---------------------------------------------------------------------------------------------


def _draw_histograms(results: Results, folder: Path) -> Iterator[Picture]:
    """A picture for each name of a histogram in a file; the benches that have it, a line each."""
    found: dict[tuple[str, str, str], list[tuple[str, dict[str, list[float]]]]] = {}
    for bench in results.benches:
        for name, histogram in bench.histograms.items():
            is_unit = not name or name in UNITS.values()
            label = ", ".join(filter(None, [bench.title if is_unit else "", name]))
            key = (bench.file, bench.function if is_unit else "", label)
            found.setdefault(key, []).append((bench.param or bench.title, histogram))
    for (_, _, name), rows in found.items():
        figure, axes = _canvas(9, 3.6)
        for number, (label, histogram) in enumerate(rows):
            total, edges = sum(histogram["counts"]) or 1, histogram["edges"]
            widths = [end - start for start, end in zip(edges, edges[1:], strict=False)]
            shares = [100 * count / total / width for count, width in zip(histogram["counts"], widths, strict=True)]
            colour = COLOURS[number % len(COLOURS)]
            axes.stairs(shares, edges, color=colour, linewidth=1.6, label=label)
            axes.stairs(shares, edges, color=colour, fill=True, alpha=0.15)
        axes.set(xlabel=name, ylabel=f"% per {name.rpartition(', ')[2] if ', ' in name else 'unit'}")
        axes.set_ylim(bottom=0)
        axes.grid(color="#e4e4e4")
        if len(rows) > 1:
            axes.legend(frameon=False, fontsize=9)
        path = folder / (re.sub(r"\W+", "-", f"histogram-{name}").strip("-").lower() + ".png")
        _save(figure, path)
        yield path, f"How it is spread: {name}; what lies far off is in the last bin"

"""What a bench found, in the form that bench/report.py makes the page of.

A bench takes the fixture `figures`, tells each finding as a line for the terminal with its numbers, and says what
must be reached:

    TARGETS = {"ready_p99_ms": at_most(20)}                     # data, beside the bench

    def test_commits(figures):
        ...
        figures(f"commits: ready {p99:.2f} ms p99", ready_p99_ms=p99)
        figures.want(TARGETS)                                    # the verdict is computed, here and on the page

The unit is the end of a figure's name (UNITS). It all lies in `benchmark.extra_info`, and with it in the JSON of
--benchmark-json, under three keys that a bench may also fill by hand:

    "figures":   {name: number}
    "targets":   {name of a figure: {"at_most": number} or {"at_least": number}}
    "histogram": {name: {"edges": [n + 1 numbers], "counts": [n numbers]}}, or one such pair alone
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

UNITS = {  # the longest end that fits is the unit
    "ns_per_voice_sample": "ns per voice-sample",
    "ns_per_node_block": "ns per node and block",
    "ns_per_node_sample": "ns per node-sample",
    "ns_per_sample": "ns per sample",
    "us_per_block": "µs per block",
    "us_per_s": "µs a second",
    "messages_per_s": "messages a second",
    "percent": "%",
    "x_real_time": "x real time",
    "per_s": "a second",
    "ratio": "x",
    "bytes": "bytes",
    "frames": "frames",
    "blocks": "blocks",
    "kb": "kB",
    "mb": "MB",
    "hz": "Hz",
    "db": "dB",
    "ns": "ns",
    "us": "µs",
    "ms": "ms",
    "s": "s",
}
Target = dict[str, float]


def at_most(limit: float) -> Target:
    return {"at_most": float(limit)}


def at_least(limit: float) -> Target:
    return {"at_least": float(limit)}


def is_reached(value: float, target: Target) -> bool:
    """Say whether a figure meets its target. Raises ValueError for a target that asks for nothing."""
    if not target.keys() & {"at_most", "at_least"}:
        raise ValueError(f"the target {target} asks for nothing; give at_most or at_least")
    return target.get("at_least", -math.inf) <= value <= target.get("at_most", math.inf)


def required(target: Target) -> str:
    """Return what a target asks for, in words."""
    words = {"at_most": "at most", "at_least": "at least"}
    return " and ".join(f"{words[name]} {number_text(target[name])}" for name in words if name in target)


def name_and_unit(name: str) -> tuple[str, str]:
    """Split 'ready_p99_ms' into ('ready p99', 'ms'); the unit is '' where the name has none."""
    for end, unit in UNITS.items():
        if name == end:
            return unit, ""
        if name.endswith("_" + end):
            return name[: -len(end) - 1].replace("_", " "), unit
    return name.replace("_", " "), ""


def number_text(value: float) -> str:
    """Return a number with the digits that mean something: four at most."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15 or abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return text if float(text) else f"{value:.2g}"


class Figures:
    """The figures of one bench; call it with a line to tell and the numbers in it."""

    def __init__(self, extra_info: dict[str, Any], tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._figures: dict[str, float] = extra_info.setdefault("figures", {})
        self._targets: dict[str, Target] = extra_info.setdefault("targets", {})
        self._histograms: dict[str, Any] = extra_info.setdefault("histogram", {})

    def __call__(self, line: str, **numbers: float) -> None:
        """Tell a line and store its numbers. Raises ValueError for a number that is none, or is stored already."""
        for name, value in numbers.items():
            if name in self._figures:
                raise ValueError(f"the figure {name} is there already; a bench has one of a name")
            if not math.isfinite(value):
                raise ValueError(f"the figure {name} is {value}; store what was measured")
            self._figures[name] = float(value)
        if line:
            self._tell(line)

    def want(self, targets: Mapping[str, Target]) -> None:
        """Say what some of the figures must reach, and tell whether they do."""
        for name, target in targets.items():
            if name not in self._figures:
                raise ValueError(f"no figure {name} to be {required(target)}; store it first")
            self._targets[name] = target
            verdict = "reached" if is_reached(self._figures[name], target) else "NOT REACHED"
            what, unit = name_and_unit(name)
            value = number_text(self._figures[name])
            self._tell(f"         required: {what} {required(target)} {unit}: {value}, {verdict}")

    def histogram(self, name: str, values: Sequence[float], n_bins: int = 60) -> None:
        """Store how values are spread. What lies three times as far from the median as the 95th percentile, or further,
        is in the last bin: a single one far off would squeeze all the others into the first.
        """
        found = np.asarray(values, float)
        middle, high = np.percentile(found, [50, 95])
        top = max(min(found.max(), middle + 3 * (high - middle)), found.min() + 1e-9)
        counts, edges = np.histogram(np.minimum(found, top), n_bins, (found.min(), top))
        self._histograms[name] = {"edges": edges.tolist(), "counts": counts.tolist()}

"""What `pyengine top` shows: lines of text, coloured or not. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

FLOOR_DB = -60.0
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_COLOURS = {
    "good": "32",
    "warn": "33",
    "bad": "31;1",
    "dim": "2",
    "bold": "1",
    "blue": "34;1",
    "violet": "35",
    "cyan": "36",
}
_STATES = {
    "active": "good",
    "replica": "blue",
    "priming": "warn",
    "ready": "warn",
    "probation": "violet",
    "joining": "cyan",
    "parked": "dim",
    "dead": "bad",
}


class Screen:
    """How to write: in colour or not, with block characters or with '#'."""

    def __init__(self, wide: int, high: int, *, is_coloured: bool = True, is_plain: bool = False) -> None:
        self.wide = max(40, wide)
        self.high = max(8, high)
        self.is_coloured = is_coloured
        self.is_plain = is_plain

    def paint(self, text: str, kind: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self.is_coloured and kind else text

    def bar(self, level: float, peak: float, cells: int) -> str:
        """Return a meter from FLOOR_DB to 0 dB: level filled, peak as a mark."""
        filled = _share(level) * cells
        whole = int(filled)
        if self.is_plain:
            text = "#" * whole + "." * (cells - whole)
        else:
            text = ("█" * whole + _EIGHTHS[int(8 * (filled - whole))])[:cells].ljust(cells)
        mark = min(cells - 1, int(_share(peak) * cells))
        if peak > 10 ** (FLOOR_DB / 20) and mark >= whole:
            text = text[:mark] + "|" + text[mark + 1 :]
        return self.paint(text, "bad" if peak > 1 else "warn" if peak > 0.5 else "good")


def db_text(level: float) -> str:
    """Return a level in dB, 6 characters wide."""
    return f"{20 * math.log10(level):6.1f}" if level > 1e-6 else "  -inf"


def draw(status: Mapping[str, Any], levels: Mapping[str, Any], screen: Screen) -> list[str]:
    """Return the lines of one picture, at most screen.high of them. status, levels: as the engine tells them."""
    head = [
        *_head(status, screen),
        "",
        *(_slot(status, number, screen) for number in range(len(status["slots"]))),
        "",
        *(_channel(name, level, screen) for name, level in zip("LR345678", levels["output"], strict=False)),
        "",
        *_counters(status, screen),
        "",
    ]
    room = screen.high - len(head) - 2
    return (head + _modules(levels["levels"], int(levels["n_levels"]), room, screen))[: screen.high]


def _head(s: Mapping[str, Any], screen: Screen) -> list[str]:
    redundant = ("redundant", "good") if s["is_redundant"] else ("one renderer", "warn")
    commit = s["commit"] if s["commit"] != "none" else "edits pending" if s["has_pending_edits"] else "idle"
    parts = [
        screen.paint("pyengine", "bold"),
        f"gen {s['generation']}",
        f"up {_time(s['uptime_s'])}",
        screen.paint(*redundant),
        screen.paint(commit, "dim" if commit == "idle" else "warn"),
    ]
    return ["  ".join(parts), screen.paint(f"{s['output']}"[: screen.wide], "dim")]


def _slot(s: Mapping[str, Any], number: int, screen: Screen) -> str:
    slot = s["slots"][number]
    is_heard = s["active_slot"] == number
    ahead = max(0, slot["render_head"] - s["play_block"])
    state = screen.paint(f"{slot['state']:<10}", _STATES.get(slot["state"], ""))
    worst_us = slot["counters"]["worst_render_ns"] / 1e3
    rest = f"pid {slot['pid'] or '-':<8} gen {slot['generation']:<5} ahead {ahead:<3} worst {worst_us:.0f} us"
    return f"slot {number} {screen.paint('>' if is_heard else ' ', 'good')} {state} {rest}"


def _channel(name: str, level: Mapping[str, float], screen: Screen) -> str:
    cells = max(10, min(60, screen.wide - 32))
    bar = screen.bar(level["rms"], level["peak"], cells)
    return f"out {name}  {bar} {db_text(level['rms'])} dB  peak {db_text(level['peak'])}"


def _counters(s: Mapping[str, Any], screen: Screen) -> list[str]:
    c = s["counters"]
    rows = [
        ("frames", c["frames_requested"], ""),
        ("underrun", c["frames_underrun"], "bad"),
        ("no block", c["none_reads"], "bad"),
        ("swaps", c["swaps"], ""),
        ("late", c["late_swaps"], "warn"),
        ("hedged", c["hedged_blocks"], "warn"),
        ("fail-overs", c["fallbacks"], "warn"),
        ("deaths", s["worker_deaths"], "warn"),
        ("diverged", c["diverged_blocks"] + s["states_diverged"], "bad"),
        ("refused", sum(s["commits_refused"].values()) + s.get("osc", {}).get("refused", 0), "warn"),
        ("worst us", round(c["worst_callback_ns"] / 1e3), ""),
    ]
    lines, line, n = [], "", 0
    for name, value, kind in rows:
        text = f"{name} {value}"
        if n + len(text) + 3 > screen.wide and line:
            lines.append(line)
            line, n = "", 0
        painted = f"{screen.paint(name, 'dim')} {screen.paint(str(value), kind if value else '')}"
        line, n = (f"{line}   {painted}" if line else painted), n + len(text) + 3
    return [*lines, line]


def _modules(rows: Sequence[Mapping[str, Any]], n_all: int, room: int, screen: Screen) -> list[str]:
    wide = min(24, max([4, *(len(row["id"]) for row in rows[: max(0, room)])]))
    types = min(16, max([4, *(len(row["type"]) for row in rows[: max(0, room)])]))
    cells = max(8, min(50, screen.wide - wide - types - 22))
    lines = [screen.paint(f"{'module':<{wide}} {'type':<{types}} {'level':<{cells}}     dB    peak", "dim")]
    shown = rows[: max(0, room)] if n_all <= room else rows[: max(0, room - 1)]
    for row in shown:
        bar = screen.bar(row["rms"], row["peak"], cells)
        names = f"{row['id'][:wide]:<{wide}} {row['type'][:types]:<{types}}"
        lines.append(f"{names} {bar} {db_text(row['rms'])}  {db_text(row['peak'])}")
    if n_all == 0:
        lines.append(screen.paint("nothing plays", "dim"))
    elif len(shown) < n_all:
        lines.append(screen.paint(f"and {n_all - len(shown)} more", "dim"))
    return lines


def _share(level: float) -> float:
    return min(1.0, max(0.0, 1 - 20 * math.log10(level) / FLOOR_DB)) if level > 1e-6 else 0.0


def _time(seconds: float) -> str:
    s = int(seconds)
    return f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}" if s >= 3600 else f"{s // 60}:{s % 60:02}"

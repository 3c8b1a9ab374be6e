"""pyengine bench: what this machine does, measured in some seconds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pyengine.cli.shared import EXIT_OK, add_command, print_result

EXAMPLES = """
pyengine bench
pyengine bench --json > here.json
PYENGINE_ISA=sse2 pyengine bench       with another instruction set
"""
ABOUT = """Times voices (a sine, an envelope and a low-pass each), offline renders, and commits in a real engine. What
is rendered is compared with float64 first. Figures are medians, the range of the rounds beside them. `make bench` in
the source measures much more."""


def add(commands: Any) -> None:
    add_command(commands, "bench", bench, "measure this machine in some seconds", examples=EXAMPLES, about=ABOUT)


def bench(arguments: argparse.Namespace) -> int:
    """Measure and print a page."""
    from pyengine.measure import all_of_it

    is_told = sys.stderr.isatty() and not arguments.json
    found = all_of_it(_say if is_told else _be_silent)
    print_result(arguments, found, "\n".join(_page(found)))
    return EXIT_OK


def _say(text: str) -> None:
    print(f"\r{text:<30}\r", end="", file=sys.stderr, flush=True)


def _be_silent(_: str) -> None:
    pass


def _page(found: Mapping[str, Any]) -> list[str]:
    machine, offline, engine = found["machine"], found["offline"], found["engine"]
    kind = ", virtual" if machine["is_virtual"] else ""
    lines = [
        f"{machine['processor']}, {machine['processors']} processors{kind}, load {machine['load']:.2f}; "
        f"{machine['system']}, Python {machine['python']}, {machine['instruction_set']}",
        f"{machine['sample_rate']:g} Hz, blocks of {machine['block_frames']} frames",
        "",
        "voices (sine, envelope, low-pass)   ns per voice-sample   rounds          of one core",
    ]
    for row in found["voices"]:
        spread = f"{row['lowest']:.2f} to {row['highest']:.2f}"
        figures = f"{row['ns_per_voice_sample']:19.2f}   {spread:<15} {row['core_percent']:.2f} %"
        lines.append(f"{row['voices']:6} voices                       {figures}")
    lines += [
        "",
        f"offline render of one voice, 1 s    {offline['times_real_time']:.0f} times real time "
        f"({offline['lowest']:.0f} to {offline['highest']:.0f})",
        f"start of an engine                  {engine['start_s']:.2f} s",
        f"commit of three modules             ready in {engine['ready_ms']:.1f} ms (worst of {engine['commits']}: "
        f"{engine['ready_worst_ms']:.1f}), heard after {engine['heard_ms']:.1f} ms ({engine['heard_worst_ms']:.1f})",
        f"callback                            worst of {engine['callbacks']}: {engine['worst_callback_us']:.0f} us "
        f"of {engine['block_us']:.0f}; {engine['frames_underrun']} of {engine['frames_requested']} frames missing",
    ]
    if not engine["is_realtime"]:
        lines.append("The clock had no real-time priority; `pyengine doctor` says how to get it.")
    if machine["load"] > 0.7 * (machine["processors"] or 1):
        lines.append("The machine was busy with other things; these figures are worse than it can do.")
    return lines

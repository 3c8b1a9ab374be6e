"""pyengine status: what a running engine is doing."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from pyengine.cli.shared import (
    EXIT_OK,
    UsageError,
    add_command,
    add_engine_address,
    print_line,
    print_result,
    running_engine,
)
from pyengine.errors import NoReplyError

EXAMPLES = """
pyengine status
pyengine status --json                 everything, for a program
pyengine status --watch                a line a second
pyengine status --watch --count 5 --interval 0.2
pyengine run & pyengine status --wait 10      go on once it answers
"""


def add(commands: Any) -> None:
    help = "tell what a running engine is doing"
    about = "With --watch and --json it prints one object a line."
    one = add_command(commands, "status", status, help, examples=EXAMPLES, about=about)
    add_engine_address(one)
    one.add_argument("--wait", type=float, default=0.0, metavar="S", help="wait so long for an engine that starts (0)")
    one.add_argument("--watch", action="store_true", help="go on, until Ctrl-C")
    one.add_argument("--interval", type=float, default=1.0, metavar="S", help="between two lines, 0.05 to 3600 (1)")
    one.add_argument("--count", type=int, metavar="N", help="end after so many lines")


def status(arguments: argparse.Namespace) -> int:
    """Print the status once, or go on."""
    if not 0.05 <= arguments.interval <= 3600:
        raise UsageError(f"--interval {arguments.interval:g} is outside 0.05..3600 s")
    if arguments.count is not None and arguments.count < 1:
        raise UsageError(f"--count {arguments.count} is less than 1")
    if not 0 <= arguments.wait <= 3600:
        raise UsageError(f"--wait {arguments.wait:g} is outside 0..3600 s")
    _await_engine(arguments)
    with running_engine(arguments) as client:
        if not arguments.watch:
            found = client.status()
            print_result(arguments, found, _page(found))
            return EXIT_OK
        number = 0
        while arguments.count is None or number < arguments.count:
            if number:
                time.sleep(arguments.interval)
            found = client.status()
            if not arguments.json and number % 20 == 0:
                print_line("     up s  generation  nodes  slots               underrun  deaths  worst us  refused")
            print_result(arguments, found, _line(found))
            number += 1
    return EXIT_OK


def _await_engine(arguments: argparse.Namespace) -> None:
    """Return when the engine answers, or --wait seconds are over."""
    end_s = time.monotonic() + arguments.wait
    while time.monotonic() < end_s:
        try:
            with running_engine(arguments) as client:
                client.sync()
            return
        except NoReplyError:
            time.sleep(0.05)  # not yet there; where there is no port at all the refusal comes at once


def _line(found: Mapping[str, Any]) -> str:
    counters = found["counters"]
    slots = "+".join(slot["state"] for slot in found["slots"])
    return (
        f"{found['uptime_s']:9.1f}  {found['generation']:10}  {found['nodes']:5}  {slots:<18}  "
        f"{counters['frames_underrun']:8}  {found['worker_deaths']:6}  {counters['worst_callback_ns'] / 1e3:8.0f}  "
        f"{sum(found['commits_refused'].values()):7}"
    )


def _page(found: Mapping[str, Any]) -> str:
    counters, osc = found["counters"], found.get("osc", {})
    recording, session = found["recording"], found["session"]
    n_frames = counters["frames_requested"]
    refused = ", ".join(f"{count} {reason}" for reason, count in found["commits_refused"].items() if count)
    edits = "edits pending" if found["has_pending_edits"] else "no edits pending"
    redundant = "a replica stands by" if found["is_redundant"] else "no replica stands by now"
    rows = [
        ("output", f"{found['output']}{'' if found['output_is_alive'] else ' (gone)'}"),
        (
            "sound",
            f"{found['sample_rate']:g} Hz, blocks of {found['block_frames']}, lead {found['effective_lead_blocks']}, "
            f"latency {found['latency_ms']:g} ms, {found['instruction_set']}",
        ),
        ("up", f"{found['uptime_s']:.1f} s, block {found['play_block']}"),
        ("patch", f"generation {found['generation']}, {found['nodes']} nodes, {edits}, {found['undo_depth']} to undo"),
        ("commits", f"{found['commits']} done, {refused or 'none'} refused; now: {found['commit']}"),
        ("slots", ", ".join(f"{n} {slot['state']}" for n, slot in enumerate(found["slots"])) + f"; {redundant}"),
        (
            "frames",
            f"{n_frames} asked for, {counters['frames_underrun']} missing; worst callback "
            f"{counters['worst_callback_ns'] / 1e3:.0f} us of {1e6 * found['block_frames'] / found['sample_rate']:.0f}",
        ),
        ("deaths", f"{found['worker_deaths']} of workers, {found['rollbacks']} commits rolled back"),
        (
            "recording",
            f"{recording['path']}, {recording['seconds']:.1f} s" if recording["is_recording"] else _ended(recording),
        ),
        ("session log", session["path"] if session["is_logging"] else _ended(session)),
    ]
    if osc:
        rows.append(("OSC", f"{osc['host']}:{osc['port']}, {osc['requests']} requests, {osc['refused']} refused"))
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


def _ended(found: Mapping[str, Any]) -> str:
    return f"no; {found['path']} ended early: {found['error']}" if found["error"] else "no"

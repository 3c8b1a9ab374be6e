"""pyengine doctor: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import argparse
from typing import Any

from pyengine.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    UsageError,
    add_command,
    add_device,
    print_line,
    print_result,
)

EXAMPLES = """
pyengine doctor
pyengine doctor --device none --seconds 1
pyengine doctor --strict --json        for a script: a warning counts as a failure
"""
ABOUT = """Compiles, renders, lists devices, and plays a tone too quiet to hear for some seconds while it counts what is
missing. Each line is ok, warn or fail, with what to do about it.

Exit code: 0, or 1 if a line says fail (with --strict: or warn)."""


def add(commands: Any) -> None:
    help = "tell what works on this machine, and what to do about what does not"
    one = add_command(commands, "doctor", doctor, help, examples=EXAMPLES, about=ABOUT, log_level="error")
    add_device(one)
    one.add_argument("--seconds", type=float, default=5.0, metavar="S", help="to play, 0.1 to 600 (5)")
    one.add_argument("--osc-port", type=int, default=5005, metavar="N", help="port to look at (5005)")
    one.add_argument("--strict", action="store_true", help="a warning is a failure")


def doctor(arguments: argparse.Namespace) -> int:
    """Make the checks, print each as it is made."""
    from pyengine.doctor import FAIL, OK, WARN, checks

    if not 0.1 <= arguments.seconds <= 600:
        raise UsageError(f"--seconds {arguments.seconds:g} is outside 0.1..600")
    if not 0 < arguments.osc_port < 65536:
        raise UsageError(f"--osc-port {arguments.osc_port} is outside 1..65535")
    if arguments.device == "free":
        raise UsageError("--device free has no time of its own, so there is nothing to measure; give none or a device")
    made = []
    for check in checks(arguments.device, arguments.seconds, arguments.osc_port):
        made.append(check)
        if not arguments.json:
            advice = f"\n{'':22}-> {check.advice}" if check.advice else ""
            print_line(f"{check.state:<5} {check.name:<15} {check.found}{advice}")
    counts = {state: sum(check.state == state for check in made) for state in (OK, WARN, FAIL)}
    is_good = not counts[FAIL] and not (arguments.strict and counts[WARN])
    facts = {"is_good": is_good, **counts, "checks": [check.as_dict() for check in made]}
    summary = f"{counts[OK]} ok, {counts[WARN]} warnings, {counts[FAIL]} failures"
    print_result(arguments, facts, summary)
    return EXIT_OK if is_good else EXIT_FAILED

"""pyengine demo: the four scenarios, played, recorded and measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyengine.cli.shared import EXIT_FAILED, EXIT_OK, add_command, add_device, print_result

EXAMPLES = """
pyengine demo                          on the default device, files in demo-output
pyengine demo --device free --output out
"""


def add(commands: Any) -> None:
    help = "play the four scenarios through OSC, record, measure, draw"
    one = add_command(commands, "demo", demo, help, examples=EXAMPLES)
    add_device(one)
    one.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="for WAV and picture")


def demo(arguments: argparse.Namespace) -> int:
    """Play and measure the scenarios; EXIT_FAILED if one fails."""
    from pyengine.demo import play

    report = play(arguments.device, arguments.output, say=_be_silent if arguments.json else print)
    if arguments.json:
        print_result(arguments, report.as_dict(), "")
    return EXIT_OK if report.is_good else EXIT_FAILED


def _be_silent(_: str) -> None:
    pass

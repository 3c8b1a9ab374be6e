"""The command line: arguments, logging, exit codes. Nothing else in the package prints.

A command is a file of this package with `add(commands)`, named in COMMANDS; shared.py has what they share.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import pyengine
from pyengine.cli.shared import EXIT_DAMAGED as EXIT_DAMAGED
from pyengine.cli.shared import EXIT_ENGINE as EXIT_ENGINE
from pyengine.cli.shared import EXIT_FAILED as EXIT_FAILED
from pyengine.cli.shared import EXIT_INTERRUPTED as EXIT_INTERRUPTED
from pyengine.cli.shared import EXIT_NO_ANSWER as EXIT_NO_ANSWER
from pyengine.cli.shared import EXIT_OK as EXIT_OK
from pyengine.cli.shared import EXIT_TEXT, CommandParser, exit_code, print_error
from pyengine.cli.shared import EXIT_USAGE as EXIT_USAGE
from pyengine.errors import EngineError

# One module a line, in the order of the help.
COMMANDS = (
    "run",
    "demo",
    "replay",
    "render",
    "midi",
    "listen",
    "send",
    "status",
    "top",
    "modules",
    "patch",
    "bench",
    "doctor",
    "completion",
)

EXAMPLES = """examples:
  pyengine demo                          play the four scenarios, record and measure them
  pyengine run                           default device, or the real-time clock without one
  pyengine run --device none --osc-port 5005
  pyengine run --session evening.session; pyengine replay evening.session -o evening.wav
  oscsend localhost 5005 /patch/create ss osc1 simple_sine
  oscsend localhost 5005 /patch/commit

pyengine COMMAND --help has the options of a command, with examples.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, one of shared.EXIT_... ."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    try:
        arguments = parser().parse_args(words)
        as_json = arguments.json
        logging.basicConfig(
            level=arguments.log_level.upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        code = int(arguments.command(arguments))
        sys.stdout.flush()
        return code
    except EngineError as error:
        print_error(error, as_json=as_json)
        return exit_code(error)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush complains
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = CommandParser(
        prog="pyengine",
        description="A headless modular synthesizer: change the patch in the middle of a note.",
        epilog=f"{EXAMPLES}\n{EXIT_TEXT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"pyengine {pyengine.__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"pyengine.cli.{name}").add(commands)
    return whole

"""What commands share: exit codes, the options of every command, results and errors as text or JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pyengine.errors import CommandError, EngineError, NoReplyError, PatchError
from pyengine.specs import nearest_name

if TYPE_CHECKING:
    from pyengine.client import Client

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_ENGINE, EXIT_DAMAGED, EXIT_NO_ANSWER = range(6)
EXIT_INTERRUPTED = 130

EXIT_TEXT = """exit codes:
  0    done
  1    a check failed: a scenario of `demo`, a line of `doctor`
  2    usage: an option or an argument is wrong
  3    refused: by the engine, or a file cannot be read or written
  4    a session log is damaged; what could be read was rendered
  5    no answer: nothing listens there, or not in time
  130  interrupted (Ctrl-C)

With --json every command prints one JSON object on stdout, {"error": {...}} where it fails.
"""

Run = Callable[[argparse.Namespace], int]


class UsageError(CommandError):
    """The command line is wrong. usage: how the command is called."""

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


class CommandParser(argparse.ArgumentParser):
    """Raises UsageError where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage())

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is left over where the options are known that it may have meant."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            option = next((word.partition("=")[0] for word in left if word.startswith("-")), "")
            options = {name.lstrip("-"): name for name in self._option_string_actions if name.startswith("--")}
            nearest = nearest_name(option.lstrip("-"), options)
            hint = f"; did you mean {options[nearest]}?" if nearest else ""
            self.error(f"unrecognized arguments: {' '.join(left)}{hint}")
        return found, left

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            nearest = nearest_name(str(value), names)
            hint = f"did you mean {nearest!r}? " if nearest else ""
            what = "there is no command" if isinstance(action, argparse._SubParsersAction) else "there is no choice"
            raise argparse.ArgumentError(action, f"{what} {value!r}; {hint}valid: {', '.join(names)}")


def add_command(
    commands: Any, name: str, run: Run, help: str, *, examples: str, about: str = "", log_level: str = "warning"
) -> argparse.ArgumentParser:
    """Add a command with the options that all have, and return its parser.

    commands: what add_subparsers() gave. help: one line for the list of commands. about: more, for its own page.
    examples: lines to type. run: takes the arguments, prints through print_result(), returns an exit code.
    """
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    one: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}." + (f"\n\n{about.strip()}" if about else ""),
        epilog=f"examples:\n{lines}\n\n`pyengine --help` lists the exit codes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.set_defaults(command=run)
    one.add_argument("--json", action="store_true", help="print one JSON object, and nothing else, on stdout")
    levels = ("debug", "info", "warning", "error")
    one.add_argument("--log-level", choices=levels, default=log_level, metavar="LEVEL", help=_levels(levels, log_level))
    return one


def complete(action: argparse.Action, kind: str) -> None:
    """Say what a shell may complete an argument with: 'modules' (types) or 'addresses'."""
    action.__dict__["completes"] = kind


def completes(action: argparse.Action) -> str:
    """Return what complete() has said of an argument, '' where it said nothing."""
    return str(action.__dict__.get("completes", ""))


def add_device(one: argparse.ArgumentParser) -> None:
    """Add --device: what an engine of the command's own plays on."""
    help = (
        "an output device (name, part of it, or number), 'none' for the real-time clock, 'free' for the "
        "free-running one; default: the default device if there is one"
    )
    one.add_argument("--device", default="auto", metavar="NAME|none|free", help=help)


def add_engine_address(one: argparse.ArgumentParser) -> None:
    """Add --host, --port, --tcp and --timeout: where a running engine listens."""
    one.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where the engine runs (127.0.0.1)")
    one.add_argument("--port", type=int, default=5005, metavar="N", help="its OSC port (5005)")
    one.add_argument("--tcp", action="store_true", help="--port is its TCP port (run --osc-tcp-port): long answers")
    one.add_argument("--timeout", type=float, default=2.0, metavar="S", help="seconds to wait for an answer (2)")


@contextmanager
def running_engine(arguments: argparse.Namespace) -> Iterator[Client]:
    """Connect to the engine that add_engine_address() speaks of. What it refuses is no fault of the command line."""
    from pyengine.client import Client  # here, so that the help of all commands comes at once

    if not 0 < arguments.timeout <= 3600:
        raise UsageError(f"--timeout {arguments.timeout:g} is outside 0..3600 s")
    if not 0 < arguments.port < 65536:
        raise UsageError(f"--port {arguments.port} is outside 1..65535")
    transport = "tcp" if arguments.tcp else "udp"
    with Client(arguments.host, arguments.port, timeout_s=arguments.timeout, transport=transport) as client:
        yield client


def check_rate(arguments: argparse.Namespace) -> None:
    """Raise UsageError unless --rate is a rate."""
    if not 1000 <= arguments.rate <= 768000:
        raise UsageError(f"--rate {arguments.rate:g} is outside 1000..768000 Hz")


def can_print(text: str) -> bool:
    """Return whether stdout has all the characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def terminal_columns() -> int:
    """Return how many columns a line may have: the terminal's, and plenty where there is none."""
    return shutil.get_terminal_size((160, 24)).columns


def print_line(text: str) -> None:
    """Print a line for people, of which a program is told nothing."""
    print(text, flush=True)


def print_result(arguments: argparse.Namespace, data: Mapping[str, Any], text: str) -> None:
    """Print what a command found: data as one JSON object with --json, else the text."""
    print(json.dumps(data) if arguments.json else text, flush=True)


def print_warnings(arguments: argparse.Namespace, texts: Iterable[str]) -> None:
    """Print what the result has as its `warnings`; with --json it is read there."""
    for text in () if arguments.json else texts:
        print_warning(text)


def print_warning(text: str) -> None:
    print(f"pyengine: warning: {text}", file=sys.stderr)


def print_error(error: EngineError, *, as_json: bool) -> None:
    """Print why a command failed: on stderr, and with JSON as an object on stdout."""
    usage = error.usage if isinstance(error, UsageError) else ""
    faults = error.faults if isinstance(error, PatchError) else ()
    if len(faults) > 1 and all(fault.file for fault in faults):
        lines = [*map(str, faults), f"pyengine: {len(faults)} faults"]  # as compilers do: editors jump to them
    else:
        lines = [f"{usage}pyengine: {error}"]
    print("\n".join(lines), file=sys.stderr)
    if as_json:
        print(json.dumps({"error": error_dict(error)}), flush=True)


def error_dict(error: EngineError) -> dict[str, Any]:
    """Return an error as plain data: kind, message, exit code, and the faults of a patch one by one."""
    data: dict[str, Any] = {"kind": type(error).__name__, "message": str(error), "exit": exit_code(error)}
    if isinstance(error, PatchError):
        data["faults"] = [fault.as_dict() for fault in error.faults]
    return data


def exit_code(error: EngineError) -> int:
    """Return the code that a command ends with for an error."""
    if isinstance(error, CommandError):
        return EXIT_USAGE
    return EXIT_NO_ANSWER if isinstance(error, NoReplyError) else EXIT_ENGINE


def _levels(levels: tuple[str, ...], default: str) -> str:
    return f"of the log on stderr: {', '.join(levels)} ({default})"

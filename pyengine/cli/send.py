"""pyengine send: one OSC message to a running engine, and its answer."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pyengine.cli.shared import (
    EXIT_ENGINE,
    EXIT_OK,
    UsageError,
    add_command,
    add_engine_address,
    complete,
    print_error,
    print_result,
    print_warnings,
    running_engine,
)
from pyengine.errors import EngineError

EXAMPLES = """
pyengine send /patch/create osc1 simple_sine
pyengine send /patch/commit
pyengine send /mod/osc1/freq 220
pyengine send /engine/status --json
pyengine send --types f /mod/osc1/freq 220           send 220 as a float, and not as a whole number
printf '/mod/osc1/freq 330\\n/gate/env1 0\\n' | pyengine send -
printf '/patch/create osc2 osc\\n/patch/commit\\n' | pyengine send --stop -   no commit without all of its edits
"""
ABOUT = """An argument is sent as a string where the address takes a string, else as a number if it looks like one;
--types says it outright, a letter for each. `send -` reads messages from stdin, one a line, words quoted as in a shell,
and prints an answer for each; with --json, one object a line. It goes on after a refusal, unless --stop is given, and
ends where none answers.

Exit code: 0 done, 3 refused (in `send -`: one of them), 5 no answer."""


def add(commands: Any) -> None:
    help = "send an OSC message to a running engine, and print its answer"
    one = add_command(commands, "send", send, help, examples=EXAMPLES, about=ABOUT)
    address = "such as /mod/osc1/freq; - reads messages from stdin"
    complete(one.add_argument("address", metavar="ADDRESS", help=address), "addresses")
    one.add_argument("args", nargs="*", metavar="ARG", help="numbers and strings")
    types = "of the arguments, a letter each: i whole number, f number, s string, T true, F false, N nothing"
    one.add_argument("--types", metavar="LETTERS", help=types)
    one.add_argument("--stop", action="store_true", help="`send -` ends at the first line that is refused")
    add_engine_address(one)


def send(arguments: argparse.Namespace) -> int:
    """Send one message, or those on stdin; EXIT_ENGINE if the engine refuses one."""
    with running_engine(arguments) as client:
        if arguments.address != "-" and arguments.stop:
            raise UsageError("--stop is for `send -`, which reads the messages from stdin")
        if arguments.address != "-":
            _send_one(arguments, client, [arguments.address, *arguments.args], arguments.types)
            return EXIT_OK
        if arguments.args or arguments.types is not None:
            raise UsageError("`send -` takes the messages from stdin, and neither arguments nor --types")
        return _send_lines(arguments, client, sys.stdin)


def _send_lines(arguments: argparse.Namespace, client: Any, lines: Iterable[str]) -> int:
    code = EXIT_OK
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"line {number} of stdin cannot be read: {error}; quote it as in a shell") from error
        if not words:
            continue
        try:
            _send_one(arguments, client, words, None)
        except Refused as error:
            print_error(Refused(f"line {number}: {error}"), as_json=arguments.json)
            code = EXIT_ENGINE
            if arguments.stop:
                break
    return code


class Refused(EngineError):
    """The engine answered /fail."""


def _send_one(arguments: argparse.Namespace, client: Any, words: Sequence[str], types: str | None) -> None:
    address, *texts = words
    values = _typed(texts, types) if types is not None else _guessed(address, texts)
    timeout_s = arguments.timeout + _own_timeout_s(address, texts)
    reply = client.ask(address, *values, timeout_s=timeout_s)
    said = [_data(arg) for arg in reply.args]
    if not reply.ok:
        raise Refused(f"{reply.address}: {' '.join(map(str, reply.args)) or 'refused without a reason'}")
    shown = [json.dumps(arg, indent=2) if isinstance(arg, dict) else str(arg) for arg in said]
    print_result(
        arguments,
        {"done": reply.address, "reply": said[0] if len(said) == 1 else said},
        " ".join(["done", reply.address, *shown]),
    )
    if isinstance(said[0] if said else None, dict):
        print_warnings(arguments, said[0].get("warnings", ()))


def _data(arg: Any) -> Any:
    """Return what an argument of an answer says: the object where it is JSON."""
    if isinstance(arg, str) and arg.startswith("{"):
        try:
            return json.loads(arg)
        except ValueError:
            return arg
    return arg


def _own_timeout_s(address: str, texts: Sequence[str]) -> float:
    """Return the time-out, in seconds, that the message itself gives the engine."""
    pairs = dict(zip(texts[::2], texts[1::2], strict=False))
    try:
        return float(pairs["timeout"]) / 1000 if address.startswith("/patch/") and "timeout" in pairs else 0.0
    except ValueError:
        return 0.0  # the engine will say what is wrong


def _guessed(address: str, texts: Sequence[str]) -> list[Any]:
    from pyengine.addresses import find

    found = find(address)
    wanted = found[0].behind if found is not None else ()
    is_text = [argument.kind == "string" for argument in wanted]
    if wanted and wanted[-1].is_many:
        is_text += is_text[-1:] * len(texts)
    is_text += [False] * len(texts)
    return [text if as_text else _number(text) for text, as_text in zip(texts, is_text, strict=False)]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            if "_" not in text:  # which Python takes, and nobody means
                return kind(text)
        except ValueError:
            pass
    return text


def _bare(value: Any) -> Callable[[str], Any]:
    return lambda _: value


_KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys("ih", int),
    **dict.fromkeys("fd", float),
    "s": str,
    "T": _bare(True),
    "F": _bare(False),
    "N": _bare(None),
}


def _typed(texts: Sequence[str], types: str) -> list[Any]:
    """Return the arguments that --types speaks of; T, F and N take no text, as they carry no data."""
    unknown = [letter for letter in types if letter not in _KINDS]
    if unknown:
        raise UsageError(f"--types {types}: {unknown[0]!r} is unknown; letters: {' '.join(_KINDS)}")
    n_texts = sum(letter not in "TFN" for letter in types)
    if n_texts != len(texts):
        raise UsageError(f"--types {types} speaks of {n_texts} arguments, and {len(texts)} are given")
    left, values = iter(texts), []
    for letter in types:
        text = "" if letter in "TFN" else next(left)
        try:
            values.append(_KINDS[letter](text))
        except ValueError:
            raise UsageError(
                f"{text!r} is no {'whole ' if letter in 'ih' else ''}number, as --types {types} says"
            ) from None
    return values

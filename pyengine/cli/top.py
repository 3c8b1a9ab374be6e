"""pyengine top: a running engine as text, ten times a second."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyengine.cli.shared import (
    EXIT_OK,
    UsageError,
    add_command,
    add_engine_address,
    can_print,
    print_result,
    running_engine,
)

MEASURED_S = 0.6  # of sound, until what is told of levels is true
WAIT_S = 2.0  # for it: a paused clock never plays it

EXAMPLES = """
pyengine top
pyengine top --once                    one picture, for a pipe
pyengine top --once --json             slots, counters and all levels, for a program
pyengine top --json --interval 1       one object a line
"""


def add(commands: Any) -> None:
    help = "watch a running engine: slots, counters, levels"
    about = "q or Ctrl-C ends it. In a module's row: a bar for its RMS level, | for its peak, in dB of full scale."
    one = add_command(commands, "top", top, help, examples=EXAMPLES, about=about)
    add_engine_address(one)
    one.add_argument("--once", action="store_true", help="show it once, with all modules")
    one.add_argument(
        "--interval", type=float, default=0.1, metavar="S", help="between two pictures, 0.05 to 3600 (0.1)"
    )


def top(arguments: argparse.Namespace) -> int:
    """Show what plays until it is told to end."""
    if not 0.05 <= arguments.interval <= 3600:
        raise UsageError(f"--interval {arguments.interval:g} is outside 0.05..3600 s")
    is_terminal = sys.stdout.isatty()
    if not (is_terminal or arguments.once or arguments.json):
        raise UsageError("stdout is no terminal; give --once for one picture, or --json")
    with running_engine(arguments) as client:
        _await_levels(client)
        if arguments.once:
            _show(arguments, client, is_coloured=is_terminal)
        elif arguments.json:
            while True:
                _show(arguments, client, is_coloured=False)
                time.sleep(arguments.interval)
        else:
            _watch(arguments, client)
    return EXIT_OK


def _await_levels(client: Any) -> None:
    """Have levels measured, and wait until they mean something."""
    until = time.monotonic() + WAIT_S
    while client.levels()["measured_s"] < MEASURED_S and time.monotonic() < until:
        time.sleep(0.02)


def _show(arguments: argparse.Namespace, client: Any, *, is_coloured: bool) -> None:
    from pyengine.eyes.terminal import Screen, draw

    status, levels = client.status(), client.levels()
    rows = levels["levels"]
    following = levels["next"]
    while following >= 0:
        more = client.levels(following)
        rows += more["levels"]
        following = more["next"]
    data = {"status": status, "levels": rows, "output": levels["output"], "measured_s": levels["measured_s"]}
    screen = Screen(shutil.get_terminal_size().columns, 1 << 20, is_coloured=is_coloured, is_plain=not can_print("█▏"))
    print_result(arguments, data, "\n".join(draw(status, levels, screen)))


def _watch(arguments: argparse.Namespace, client: Any) -> None:
    from pyengine.eyes.terminal import Screen, draw

    is_plain = not can_print("█▏")
    with _whole_terminal() as is_ended:
        due = time.monotonic()
        while True:
            size = shutil.get_terminal_size()
            screen = Screen(size.columns, size.lines - 1, is_plain=is_plain)
            lines = draw(client.status(), client.levels(), screen)
            sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in lines) + "\x1b[J")
            sys.stdout.flush()
            due = max(due + arguments.interval, time.monotonic())
            if is_ended(due - time.monotonic()):
                return


@contextmanager
def _whole_terminal() -> Iterator[Any]:
    """Take the terminal over, and give it back as it was. Yields a wait that is True when q was pressed."""
    import select
    import termios
    import tty

    fd = sys.stdin.fileno() if sys.stdin.isatty() else -1
    before = termios.tcgetattr(fd) if fd >= 0 else []

    def is_ended(seconds: float) -> bool:
        if fd < 0:
            time.sleep(max(0.0, seconds))
            return False
        ready, _, _ = select.select([fd], [], [], max(0.0, seconds))
        return bool(ready) and os.read(fd, 64)[:1] in (b"q", b"Q", b"\x03", b"")

    sys.stdout.write("\x1b[?1049h\x1b[?25l\x1b[2J")
    try:
        if fd >= 0:
            tty.setcbreak(fd)
        yield is_ended
    finally:
        if fd >= 0:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()

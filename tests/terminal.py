"""A command at a terminal of its own, as a user has it: read what it says, press Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# In a process of its own, as no process with threads may fork a terminal. It ends with whoever has started it, and the
# terminal with it: signals mean there what they mean, though the tests may have been started with nohup, or before a &.
SPAWN = """
import os, pty, signal, sys

for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)

def read(fd):
    return os.read(fd, 1024) or (fd == 0 and os._exit(1)) or b""

sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], stdin_read=read)) % 256)
"""
CTRL_C = b"\x03"


class Terminal:
    """A command that runs at a pseudo terminal; `text` is what it has said so far. It does not outlive the block."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.command = " ".join(command)
        self.text = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", SPAWN, *command],
            cwd=folder,
            env=dict(environment) | {"TERM": "xterm"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()  # nothing where it has ended; the terminal goes, and with it what runs at it
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def await_text(self, pattern: str, timeout_s: float = 60.0) -> None:
        """Read until it has said what the pattern finds."""
        until = time.monotonic() + timeout_s
        while not re.search(pattern, self.text):
            assert self._read(until), f"$ {self.command}\nended without {pattern!r}:\n{self.text}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        assert self._process.stdin is not None
        self._process.stdin.write(CTRL_C)
        self._process.stdin.flush()

    def hang_up(self) -> None:
        """Let go of the terminal, as the end of this process would."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self, timeout_s: float = 120.0) -> int:
        """Read to the end; return the exit code."""
        until = time.monotonic() + timeout_s
        while self._read(until):
            pass
        return self._process.wait()

    def _read(self, until: float) -> bool:
        """Read some; False at the end."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"$ {self.command}\nsays nothing more and does not end:\n{self.text}"
        data = os.read(fd, 1 << 16)
        self.text += data.decode("utf-8", "replace")
        return bool(data)

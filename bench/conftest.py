"""Conditions and a table of figures at the end of each run of `pytest bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]  # the benches import control.py and machine.py, and torture.py
RATE_HZ, BLOCK_FRAMES = 48000.0, 64
_lines: list[str] = []


@pytest.fixture
def tell() -> Callable[[str], None]:
    """Add a line to the table printed at the end."""
    return _lines.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from machine import describe

    terminalreporter.section("figures")
    for line in [*describe(RATE_HZ, BLOCK_FRAMES), f"command:  pytest {' '.join(sys.argv[1:])}", "", *_lines]:
        terminalreporter.write_line(line)

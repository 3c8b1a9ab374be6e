from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import ports
import pytest
import torture
from live import Live
from modules import test_modules_path

from pyengine import _native, specs


def _forget_registry() -> None:
    _native._registry.cache_clear()
    specs.registry.cache_clear()


@pytest.fixture
def more_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module types of tests/c/test_modules.c, here and in the workers that are started meanwhile."""
    monkeypatch.setenv(_native.MODULES_VARIABLE, test_modules_path())
    _forget_registry()
    yield
    monkeypatch.undo()
    _forget_registry()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as live:
        yield live


@pytest.fixture
def tested(more_modules: None, tmp_path: Path) -> Iterator[Live]:
    """A live engine that has the test modules too."""
    with Live(tmp_path) as live:
        yield live


@pytest.fixture
def default_ports() -> Iterator[None]:
    """The ports that a user types, for this test alone among all that run on this machine."""
    with ports.alone() as taken:
        if taken:
            pytest.skip(f"port {taken} is in use on this machine")
        yield


_lines: list[str] = []


@pytest.fixture
def tell() -> Callable[[str], None]:
    """Add a line to what `make torture` prints at the end."""
    return _lines.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if torture.LONG and _lines:
        terminalreporter.section(f"what was done, seed {torture.SEED}")
        for line in _lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def no_action_fails(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """A fault in the engine's loop is logged and survived: in a test it counts, wherever it happens."""
    yield
    if request.path.name != "test_loop.py":
        failed = [record for record in caplog.get_records("call") if "loop failed" in record.getMessage()]
        assert not failed, failed[0].exc_text or failed[0].exc_info

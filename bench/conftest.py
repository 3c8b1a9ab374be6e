"""What every bench has: the fixture `figures`, a table at the end, and the conditions in the JSON of a run.

See figures.py for what a bench stores, and report.py for the page that is made of it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]  # the benches import control.py and machine.py, and torture.py
RATE_HZ, BLOCK_FRAMES = 48000.0, 64
_lines: list[str] = []
_not_run: list[dict[str, str]] = []


@pytest.fixture
def tell() -> Callable[[str], None]:
    """Add a line to the table printed at the end."""
    return _lines.append


@pytest.fixture
def figures(benchmark: Any, tell: Callable[[str], None]) -> Any:
    """Tell lines with numbers, which the page shows."""
    from figures import Figures

    return Figures(benchmark.extra_info, tell)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A bench that measures by itself takes `figures` without `benchmark`: it is then timed as a whole, once."""
    names = list(inspect.signature(pyfuncitem.obj).parameters)
    if "figures" not in names or "benchmark" in names:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pyfuncitem.funcargs["benchmark"].pedantic(pyfuncitem.obj, kwargs=arguments, rounds=1)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """What a bench stored before it was skipped or failed does not count; it may have no times at all."""
    outcome: Any = yield
    benchmark = getattr(item, "funcargs", {}).get("benchmark")
    if outcome.excinfo is not None and benchmark is not None:
        benchmark.has_error = True


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


@pytest.hookimpl(trylast=True)
def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _not_run.append({"bench": report.nodeid, "outcome": "skipped", "why": why.removeprefix("Skipped: ")})
    elif report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message if crash else str(report.longrepr).strip()
        first_line = (why.splitlines() or ["without a word"])[0]
        _not_run.append({"bench": report.nodeid, "outcome": "failed", "why": first_line})


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    from machine import conditions

    output_json["pyengine"] = {
        "conditions": conditions(RATE_HZ, BLOCK_FRAMES),
        "command": f"pytest {' '.join(sys.argv[1:])}",
        "not_run": _not_run,
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from machine import describe

    terminalreporter.section("figures")
    for line in [*describe(RATE_HZ, BLOCK_FRAMES), f"command:  pytest {' '.join(sys.argv[1:])}", "", *_lines]:
        terminalreporter.write_line(line)

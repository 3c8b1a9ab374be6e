"""`pyengine top` and /engine/levels: what they tell, and that the terminal is given back as it was."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from pyengine import Engine
from pyengine.cli import main
from pyengine.eyes.terminal import Screen, db_text, draw

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine("none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000, probation_ms=0) as engine:
        engine.create("osc1", "simple_sine")
        engine.create("filt1", "biquad_filter")
        engine.connect("osc1", "filt1")
        engine.commit()
        wait_until(lambda: engine.status()["is_redundant"])
        yield engine


def rows(n: int, level: float = 0.1) -> dict[str, Any]:
    levels = [{"id": f"osc{i}", "type": "simple_sine", "peak": level, "rms": level / 2} for i in range(n)]
    return {"levels": levels, "n_levels": n, "output": [{"peak": 0.5, "rms": 0.25}] * 2}


def test_levels_are_measured_when_somebody_asks_and_for_a_second_after(engine: Engine) -> None:
    assert engine.levels()["measured_s"] == 0
    wait_until(lambda: engine.levels()["measured_s"] > 0.5)
    told = engine.levels()
    assert [(row["id"], row["type"]) for row in told["levels"]] == [("osc1", "simple_sine"), ("filt1", "biquad_filter")]
    assert told["levels"][0]["peak"] == pytest.approx(0.2, rel=0.03)
    assert told["levels"][0]["rms"] == pytest.approx(0.1414, rel=0.05)
    assert len(told["output"]) == 2 and told["output"][0]["peak"] == pytest.approx(0.2, rel=0.05)
    assert (told["n_levels"], told["first"], told["next"]) == (2, 0, -1)
    segment = engine._running.segment
    wait_until(lambda: segment.play_block > segment.watched_until)
    assert engine.levels()["measured_s"] == 0


def test_levels_of_many_modules_come_in_pages(tmp_path: Path) -> None:
    with Engine("free", recordings=tmp_path, prime_timeout_ms=20_000, probation_ms=0) as engine:
        for n in range(900):
            engine.create(f"oscillator{n}", "simple_sine")
        engine.commit()
        found, first, pages = [], 0, 0
        while first >= 0:
            page = engine.levels(first)
            found += [row["id"] for row in page["levels"]]
            first, pages = page["next"], pages + 1
        assert found == [f"oscillator{n}" for n in range(900)] and pages > 1
        assert page["n_levels"] == 900


@pytest.mark.parametrize(("wide", "high"), [(40, 8), (80, 24), (100, 60), (200, 50)])
@pytest.mark.parametrize("n", [0, 1, 5, 300])
def test_a_picture_fits_its_screen(engine: Engine, wide: int, high: int, n: int) -> None:
    lines = draw(engine.status(), rows(n), Screen(wide, high))
    assert len(lines) <= high
    if wide >= 80:
        assert max(len(COLOUR.sub("", line)) for line in lines) <= wide


def test_a_picture_says_which_slot_is_heard_what_died_and_how_many_modules_are_left_out(engine: Engine) -> None:
    status = engine.status()
    status["active_slot"], status["worker_deaths"] = 1, 3
    lines = draw(status, rows(300), Screen(100, 30, is_coloured=False))
    text = "\n".join(lines)
    assert "slot 1 >" in text and "slot 0  " in text
    assert "deaths 3" in text and "\x1b" not in text
    shown = sum(line.startswith("osc") for line in lines)
    assert lines[-1] == f"and {300 - shown} more"


def test_a_bar_is_as_long_as_its_level_is_loud() -> None:
    plain = Screen(80, 24, is_coloured=False, is_plain=True)
    assert plain.bar(0.0, 0.0, 10) == ".........."
    assert plain.bar(1.0, 1.0, 10) == "##########"
    assert plain.bar(10 ** (-30 / 20), 10 ** (-30 / 20), 10) == "#####|...."
    assert plain.bar(10 ** (-30 / 20), 10 ** (-12 / 20), 10) == "#####...|."
    assert (db_text(1.0), db_text(0.5), db_text(0.0)) == ("   0.0", "  -6.0", "  -inf")


def test_once_with_json_tells_slots_counters_and_levels(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--json", "--port", str(engine.osc_port), "--timeout", "20"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [slot["state"] for slot in told["status"]["slots"]].count("active") == 1
    assert told["status"]["counters"]["diverged_blocks"] == 0
    assert [row["id"] for row in told["levels"]] == ["osc1", "filt1"]
    assert told["levels"][0]["peak"] == pytest.approx(0.2, rel=0.05)
    assert told["measured_s"] > 0.5


def test_once_prints_a_picture_without_colours_into_a_pipe(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--port", str(engine.osc_port), "--timeout", "20"]) == 0
    text = capsys.readouterr().out
    assert "active" in text and "osc1" in text and "\x1b" not in text


def test_without_a_terminal_it_says_what_to_give(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--port", str(engine.osc_port)]) == 2
    assert "give --once" in capsys.readouterr().err
    assert main(["top", "--once", "--interval", "0"]) == 2
    assert "0.05..3600" in capsys.readouterr().err


def test_in_a_terminal_it_draws_again_and_again_and_q_gives_the_terminal_back(engine: Engine) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120)) if hasattr(termios, "tcsetwinsize") else None
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "pyengine", "top", "--port", str(engine.osc_port), "--timeout", "20"]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    try:
        seen = b""
        while seen.count(b"\x1b[H") < 4:
            seen += os.read(ours, 65536)
        assert b"osc1" in seen and b"active" in seen and seen.startswith(b"\x1b[?1049h")
        os.write(ours, b"q")
        while b"\x1b[?1049l" not in seen:
            seen += os.read(ours, 65536)
        assert process.wait(20) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)

"""pyengine send and status: what a running engine is asked from a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import answer, pyengine
from waiting import wait_until

from pyengine import Engine, recording


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("recordings")
    with Engine("none", osc_port=0, recordings=folder, prime_timeout_ms=20_000) as engine:
        engine.create("osc1", "simple_sine")
        engine.create("env1", "adsr")
        engine.connect("osc1", "env1")
        engine.commit()
        yield str(engine.osc_port)


def test_a_message_is_sent_and_its_answer_printed(port: str) -> None:
    done = pyengine("send", "/mod/osc1/freq", "220", "--port", port)
    assert (done.returncode, done.stdout) == (0, "done /mod/osc1/freq 220.0\n")
    assert answer("send", "/mod/osc1/freq", "330.5", "--port", port) == {"done": "/mod/osc1/freq", "reply": 330.5}
    assert answer("send", "/gate/env1", "off", "--port", port)["reply"] == 0
    status = answer("send", "/engine/status", "--port", port)["reply"]
    assert status["nodes"] == 2


def test_a_refusal_is_told_with_the_reason_and_an_exit_code_of_its_own(port: str) -> None:
    done = pyengine("send", "/mod/osc1/frq", "220", "--port", port)
    assert done.returncode == 3 and done.stdout == "" and "did you mean 'freq'" in done.stderr
    error = answer("send", "/ptch/commit", "--port", port, code=3)["error"]
    assert "did you mean '/patch/commit'" in error["message"]


def test_no_answer_has_an_exit_code_of_its_own() -> None:
    assert "nothing listens" in answer("send", "/engine/sync", "--port", "9", code=5)["error"]["message"]


def test_what_looks_like_a_number_is_a_string_where_the_address_takes_one(port: str) -> None:
    assert pyengine("send", "/patch/create", "303", "simple_sine", "--port", port).returncode == 0
    assert pyengine("send", "/patch/delete", "303", "--port", port).returncode == 0
    assert pyengine("send", "/patch/create", "1e3", "simple_sine", "--types", "ss", "--port", port).returncode == 0
    assert pyengine("send", "/patch/abort", "--port", port).returncode == 0
    refused = pyengine("send", "--types", "is", "/patch/create", "303", "simple_sine", "--port", port)
    assert "must be a string" in refused.stderr


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["/x", "1", "--types", "q"], "'q' is unknown"),
        (["/x", "1", "--types", "ii"], "speaks of 2 arguments, and 1 are given"),
        (["/x", "1.5", "--types", "i"], "no whole number"),
        (["x"], "no OSC address"),
        (["/x" * 200], "the longest taken has 255"),
        (["/x", "--port", "70000"], "outside 1..65535"),
        (["/x", "--timeout", "0"], "outside 0..3600"),
        (["-", "1"], "from stdin"),
        (["/engine/sync", "--stop"], "from stdin"),
    ],
)
def test_what_cannot_be_sent_is_a_fault_of_the_command_line(words: list[str], fragment: str) -> None:
    done = pyengine("send", *words)
    assert done.returncode == 2 and fragment in done.stderr


def test_lines_of_stdin_are_sent_one_by_one_past_a_refusal(port: str) -> None:
    text = "# a comment\n/mod/osc1/freq 440\n\n/mod/osc1/frq 1\n/gate/env1 'on'\n"
    done = pyengine("send", "-", "--port", port, "--json", stdin=text)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert [line.get("reply", "refused") for line in said] == [440.0, "refused", 1]
    assert pyengine("send", "-", "--port", port, stdin="/engine/sync\n").returncode == 0
    text = "/engine/sync\n\n/mod/osc1/frequenzy 1\n/engine/sync\n"
    for more, n_done in (([], 2), (["--stop"], 1)):
        done = pyengine("send", "-", "--port", port, *more, stdin=text)
        assert done.returncode == 3 and done.stdout.count("done") == n_done
        assert done.stderr.startswith("pyengine: line 3: /mod/osc1/frequenzy: ")
    assert "cannot be read" in pyengine("send", "-", "--port", port, stdin="/x 'open\n").stderr


def test_the_time_that_a_commit_is_given_is_waited_for(port: str) -> None:
    done = pyengine("send", "/patch/commit", "timeout", "30000", "--timeout", "1", "--port", port)
    assert done.returncode == 0 and '"generation"' in done.stdout


def test_status_tells_what_plays(port: str) -> None:
    text = pyengine("status", "--port", port).stdout
    assert "2 nodes" in text and "active" in text and "real-time clock" in text
    assert answer("status", "--port", port)["osc"]["port"] == int(port)


def test_status_tells_why_a_recording_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_WAV_BYTES", 80_000)
    with Engine("none", osc_port=0, recordings=tmp_path) as engine:
        engine.record_start("a")
        wait_until(lambda: not engine.record_status()["is_recording"])
        text = pyengine("status", "--port", str(engine.osc_port)).stdout
    assert "no; a.wav ended early: a WAV file holds no more than 4 GB" in text


def test_status_watched_prints_a_line_each_time(port: str) -> None:
    words = ["status", "--watch", "--count", "3", "--interval", "0.05", "--port", port]
    text = pyengine(*words).stdout.splitlines()
    assert len(text) == 4 and "generation" in text[0]
    seen = [json.loads(line)["frames"] for line in pyengine(*words, "--json").stdout.splitlines()]
    assert len(seen) == 3 and seen == sorted(seen)
    assert pyengine("status", "--interval", "0").returncode == 2


def test_modules_are_listed_without_an_engine() -> None:
    assert "simple_sine" in pyengine("modules").stdout
    page = pyengine("modules", "biquad_filter", "--rate", "44100").stdout
    assert "10..22040 Hz (Nyquist - 10 at 44100 Hz)" in page and "2000 Hz" in page
    assert answer("modules", "adsr")["params"][0]["unit"] == "ms"
    assert "did you mean 'adsr'" in answer("modules", "adsl", code=2)["error"]["message"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "pyengine", "modules", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_what_is_asked_is_not_left_in_the_folder(port: str, tmp_path: Path) -> None:
    pyengine("status", "--port", port, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []

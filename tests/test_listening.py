"""What an engine says of its own sound, over OSC, from Python and from the shell."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Live
from waiting import wait_until

import pyengine
from pyengine import cli, commands, listening
from pyengine.errors import CommandError, EngineError, RecordingError

GAIN = 10 ** (-12 / 20)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as live:
        yield live


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """An engine that tests share which it refuses everything."""
    with Live(tmp_path_factory.mktemp("played")) as live:
        live.advance(480)
        yield live


def play_a_tone(live: Live, hz: float = 440.0) -> None:
    live.client.create("osc1", "simple_sine")
    live.client.set("osc1", "freq", hz)
    live.client.set("osc1", "gain", GAIN)
    live.commit()


def children(word: str) -> list[int]:
    """Return the processes that this one started and whose command line holds a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if word in line and int(parent) == os.getpid():
            found.append(int(folder.name))
    return found


def test_an_engine_describes_the_tone_that_it_plays(live: Live) -> None:
    play_a_tone(live)
    live.advance(96_000)
    found = live.client.listen(1.0)
    assert found["frames"] == 48_000
    assert found["first_frame"] == live.engine.frames - 48_000
    assert abs(1200 * math.log2(found["pitch"]["hz"] / 440)) < 1
    assert found["level"]["peak_dbfs"] == pytest.approx(-12.0, abs=0.02)
    assert found["stereo"]["correlation"] == 1.0
    assert (found["clicks"]["n"], found["onsets"]["n"], found["dropouts"]["n"]) == (0, 0, 0)
    assert "A4" in found["summary"]


def test_what_is_described_is_bit_for_bit_what_was_recorded(live: Live) -> None:
    play_a_tone(live)
    live.advance(48_000)
    live.client.set("osc1", "freq", 659.255)
    live.advance(48_000)
    heard = live.client.listen(1.5)
    first, end = heard["first_frame"], heard["first_frame"] + heard["frames"]
    samples = live.samples()[first:end]
    expected = pyengine.describe(samples, 48000, is_preceded_by_silence=False).as_dict()
    same = {name: value for name, value in heard.items() if name in expected}
    assert same == json.loads(json.dumps(expected))
    assert [note["note"] for note in heard["notes"]["list"]] == ["A4", "E5"]


def test_from_the_first_frame_on_what_sounds_begins(live: Live) -> None:
    live.advance(4800)
    play_a_tone(live)
    live.advance(24_000)
    found = live.client.listen(10.0)
    assert (found["first_frame"], found["frames"]) == (0, live.engine.frames)
    assert found["onsets"]["n"] == 1


def test_the_shell_asks_a_running_engine_in_real_time(tmp_path: Path, capsys: Any) -> None:
    with pyengine.Engine("none", osc_port=0, recordings=tmp_path, prime_timeout_ms=20_000) as engine:
        engine.create("osc1", "simple_sine")
        engine.set("osc1", "freq", 330.0)
        engine.commit()
        begin = engine.frames
        wait_until(lambda: engine.frames > begin + 50_000, 20)
        words = ["listen", "--seconds", "1", "--port", str(engine.osc_port), "--picture", "sub/now.png"]
        assert cli.main([*words, "--json"]) == cli.EXIT_OK
        found = json.loads(capsys.readouterr().out)
        assert found["pitch"]["hz"] == pytest.approx(330, rel=1e-3) or found["dropouts"]["n"] > 0
        assert found["picture"] == "sub/now.png"
        assert Path(found["picture_path"]) == (tmp_path / "sub/now.png").resolve()
        assert (tmp_path / "sub/now.png").read_bytes().startswith(b"\x89PNG")
        assert cli.main(words) == cli.EXIT_USAGE  # that picture exists
        assert "now-2.png' is free" in capsys.readouterr().err
        assert cli.main(words[:-2]) == cli.EXIT_OK
        assert capsys.readouterr().out.startswith("1 s, stereo, 48000 Hz.")


def test_from_python_it_is_the_same(live: Live) -> None:
    play_a_tone(live, 220.0)
    live.advance(48_000)
    found = live.engine.listen(0.5, "a.png")
    assert found == live.client.listen(0.5) | {"picture": "a.png", "picture_path": str(live.folder.resolve() / "a.png")}


@pytest.mark.parametrize(
    ("seconds", "picture", "text", "kind"),
    [
        (31.0, "", "0..30, which is kept", CommandError),
        (601.0, "", "0..600", CommandError),
        (0.0, "", "outside", CommandError),
        (-1.0, "", "outside", CommandError),
        (math.nan, "", "outside", CommandError),
        (1.0, "a.jpg", "must end in .png", EngineError),
        (1.0, "../a.png", "leads out", EngineError),
        (1.0, "/tmp/a.png", "leads out", EngineError),
        (1.0, "a\n.png", "character", EngineError),
    ],
)
def test_what_cannot_be_listened_to_is_refused_with_the_reason(
    seconds: float, picture: str, text: str, kind: type[Exception], played: Live
) -> None:
    with pytest.raises(kind, match=text.replace("..", r".*\.\.")):
        played.client.listen(seconds, picture)
    if math.isfinite(seconds) and seconds <= 600:
        with pytest.raises((CommandError, RecordingError)):
            played.engine.listen(seconds, picture)


@pytest.mark.parametrize("seconds", [True, "1", None])
def test_seconds_that_are_no_number_are_refused_in_python(seconds: Any, played: Live) -> None:
    with pytest.raises(CommandError, match="not a number"):
        played.engine.listen(seconds)


def test_before_anything_was_put_out_there_is_nothing_to_hear(tmp_path: Path) -> None:
    with Live(tmp_path, is_recorded=False) as live, pytest.raises(CommandError, match="nothing has been put out"):
        live.client.listen(1.0)


def test_an_engine_that_keeps_nothing_says_how_to_keep_something(tmp_path: Path) -> None:
    with Live(tmp_path, history_s=0) as live:
        live.advance(480)
        with pytest.raises(CommandError, match="--history S"):
            live.client.listen(1.0)
    with pytest.raises(CommandError, match=r"history_s=601 is outside 0\.\.600"):
        pyengine.Engine("free", history_s=601)


def test_more_than_can_be_kept_is_cut_to_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_BYTES", 4 * 2 * 4800)
    with Live(tmp_path) as live:
        live.advance(48_000)
        assert live.client.listen(0.1)["frames"] == 4800
        with pytest.raises(CommandError, match=r"\.\.0\.1, which is kept"):
            live.client.listen(0.2)


def test_no_more_than_two_are_listened_to_at_once_and_all_are_answered(live: Live) -> None:
    play_a_tone(live)
    live.advance(48_000)
    futures = [live.engine.submit(commands.EngineListen(1.0)) for _ in range(6)]
    answers: list[Any] = []
    for future in futures:
        try:
            answers.append(future.result(60))
        except CommandError as error:
            answers.append(error)
    refused = [answer for answer in answers if isinstance(answer, CommandError)]
    assert len(refused) == 4
    assert "2 are listening already" in str(refused[0])
    assert live.client.listen(0.5)["frames"] == 24_000


def test_the_loop_goes_on_while_it_listens(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that describes is stopped; commands are answered, and commits made, as at any other time."""
    monkeypatch.setattr(
        listening,
        "_BOOT",
        "import sys, time; {path!r}; {arguments!r}; print('ready', file=sys.stderr); time.sleep(600)",
    )
    play_a_tone(live)
    live.advance(4800)
    answers: list[Any] = []
    future = live.engine.submit(commands.EngineListen(0.1))
    future.add_done_callback(answers.append)
    wait_until(lambda: children("time.sleep(600)"))
    live.client.set("osc1", "freq", 500.0)
    live.client.create("osc2", "simple_sine")
    live.commit()
    assert answers == []
    live.engine.close()
    wait_until(lambda: answers)
    assert isinstance(future.exception(), EngineError)
    wait_until(lambda: not children("time.sleep(600)"))


def test_a_describer_that_fails_or_takes_too_long_is_an_error_and_leaves_nothing(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.advance(4800)
    boot = listening._BOOT
    monkeypatch.setattr(listening, "_BOOT", "{path!r}; {arguments!r}; raise MemoryError('no room')")
    with pytest.raises(EngineError, match="no room"):
        live.client.listen(0.05)
    monkeypatch.setattr(listening, "_BOOT", "import time; {path!r}; {arguments!r}; time.sleep(600)")
    monkeypatch.setattr(listening, "TIMEOUT_S", 0.3)
    with pytest.raises(EngineError, match=r"within 0\.3 s"):
        live.client.listen(0.05)
    assert not children("time.sleep(600)")
    monkeypatch.setattr(listening, "_BOOT", boot)
    monkeypatch.setattr(listening, "TIMEOUT_S", 60)
    assert live.client.listen(0.05)["frames"] == 2400


def test_a_describer_ends_with_its_engine() -> None:
    """It is not told: the lifeline breaks."""
    theirs, ours = os.pipe()
    code = f"import threading, time; from pyengine.ears import worker; worker._end_with({theirs}); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], pass_fds=(theirs,))
    os.close(theirs)
    assert process.poll() is None
    os.close(ours)
    assert process.wait(30) == 1


def test_the_answer_fits_a_datagram_however_much_there_is_to_tell() -> None:
    rng = np.random.default_rng(1)
    x = np.zeros((48_000 * 30, 2), np.float32)
    for place in range(0, len(x), 6000):
        x[place, 0] = rng.uniform(0.3, 0.9)
        x[place + 300 : place + 1300, 1] = np.sin(np.arange(1000) * rng.uniform(0.02, 0.5)) * np.hanning(1000)
    found = pyengine.describe(x, 48000)
    assert found.onsets["n"] > 200
    assert len(found.as_json()) < 20_000


def test_listening_is_listed_with_its_arguments(live: Live) -> None:
    rows = json.loads(str(live.client.send(commands.EngineCommands("/engine/listen")).args[0]))["commands"]
    assert [argument["name"] for argument in rows[0]["arguments"]] == ["SECONDS", "PICTURE"]
    named = {field["name"] for field in rows[0]["reply_fields"]}
    live.advance(4800)
    assert set(live.client.listen(0.05)) == named


def test_an_engine_that_only_runs_starts_no_thread_for_it(live: Live) -> None:
    live.advance(4800)
    assert not [thread for thread in threading.enumerate() if thread.name == "pe-listen"]
    assert children("ears.worker") == []
    live.client.listen(0.05)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "pe-listen"])
    assert children("ears.worker") == []

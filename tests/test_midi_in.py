"""MIDI from a port, a real one: that of a JACK server without a sound card, with a keyboard at the other end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mido
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from keyboard import Keyboard, jack_server
from live import RATE_HZ, frequency_hz
from test_seq_live import anew
from test_voices import levels, synth
from waiting import wait_until

from pyengine import Engine, Patch
from pyengine.commands import AllOff, SetParam
from pyengine.errors import CommandError
from pyengine.midi import MidiError, command_of
from pyengine.midi_in import launch
from pyengine.midi_in.decoder import Decoder, PortClock
from pyengine.midi_in.launch import ALLOWANCE_S
from pyengine.midi_in.player import Player
from pyengine.midi_in.ports import Port, choose, none_found
from pyengine.playing import note_hz

ATTEMPTS = 20
PERIOD_S = 64 / RATE_HZ


# ---- bytes, times, names: pure


def test_running_status_and_what_comes_between_is_decoded() -> None:
    stream = [0x90, 60, 0xF8, 100, 62, 0xFE, 90, 60, 0, 0xF0, 1, 0x7F, 2, 0xF7, 64, 64, 0xC1, 5, 0xE0, 0, 64, 1, 2]
    assert list(Decoder().feed(stream)) == [
        (0x90, 60, 100),
        (0x90, 62, 90),
        (0x90, 60, 0),  # what follows system exclusive has no status
        (0xC1, 5, 0),
        (0xE0, 0, 64),
        (0xE0, 1, 2),
    ]


@given(st.lists(st.tuples(st.sampled_from(range(0x80, 0xF0)), st.integers(0, 127), st.integers(0, 127))), st.data())
def test_messages_are_decoded_as_by_mido_however_they_are_cut(rows: list[tuple[int, int, int]], data: Any) -> None:
    stream = b"".join(bytes(row[: 2 if row[0] & 0xF0 in (0xC0, 0xD0) else 3]) for row in rows)
    parser = mido.Parser()
    parser.feed(stream)
    wanted = [tuple((*message.bytes(), 0)[:3]) for message in parser]
    at = data.draw(st.integers(0, len(stream)))
    decoder = Decoder()
    assert [*decoder.feed(stream[:at]), *decoder.feed(stream[at:])] == wanted


@given(st.binary(max_size=100))
def test_any_bytes_are_taken(data: bytes) -> None:
    for status, first, second in Decoder().feed(data):
        assert 0x80 <= status < 0xF0 and first < 128 and second < 128


@given(st.lists(st.tuples(st.floats(0.0001, 1.0), st.floats(0.0, 0.05)), min_size=30, max_size=60))
def test_how_late_a_message_is_found_is_not_heard(rows: list[tuple[float, float]]) -> None:
    clock = PortClock()
    true_s = 100.0
    errors = []
    for number, (since_s, late_s) in enumerate(rows):
        true_s += since_s
        found_s = true_s + (0.001 if number % 10 == 0 else 0.001 + late_s)
        told = clock.arrival(since_s if number else 0.0, found_s)
        assert told <= found_s
        errors.append(told - true_s)
    assert max(abs(error - 0.001) for error in errors) < 0.0101  # by the first, which was in time; 1e-4 a second since


def test_a_clock_that_jumps_is_followed() -> None:
    clock = PortClock()
    assert clock.arrival(0.0, 10.0) == 10.0
    assert clock.arrival(1.0, 20.0) == 20.0  # the machine slept
    assert clock.arrival(1.0, 20.5) == 20.5  # sooner than the port's clock says


def test_a_port_is_chosen_by_name_or_part_of_it() -> None:
    ports = [Port("ALSA", 2, 0, "Through 14:0"), Port("ALSA", 2, 1, "My Keys 20:0"), Port("Jack", 3, 0, "keys")]
    for wanted, name in {
        "": "Through 14:0",
        "keys": "keys",
        "KEYS": "My Keys 20:0",
        "My Keys": "My Keys 20:0",
        "rough": "Through 14:0",
    }.items():
        assert choose(wanted, ports) == next(port for port in ports if port.name == name)
    assert choose("harp", ports) is None
    assert choose("", []) is None
    text = str(none_found("harp", ports, []))
    assert "'harp'" in text and all(repr(port.name) in text for port in ports)
    assert "no sequencer" in str(none_found("", [], ["ALSA has no sequencer"]))


# ---- who plays what: pure


def test_messages_become_commands_and_what_cannot_be_played_is_told_once() -> None:
    patch = levels(2)
    player = Player()
    assert player.commands(patch, (0x94, 60, 127)) == [
        SetParam("poly", "velocity", 1.0),
        SetParam("poly", "note_on", 60.0),
    ]
    assert player.commands(patch, (0x94, 60, 0)) == [SetParam("poly", "note_off", 60.0)]
    assert player.commands(patch, (0x84, 60, 99)) == [SetParam("poly", "note_off", 60.0)]
    assert player.commands(patch, (0xB0, 64, 127)) == [SetParam("poly", "sustain", 1.0)]
    assert player.commands(patch, (0xE0, 0, 0)) == [SetParam("poly", "bend", -2.0)]
    assert player.commands(patch, (0xB0, 74, 1)) == player.commands(patch, (0xC0, 1, 0)) == []
    assert set(player.silence(patch)) == {
        SetParam("poly", "all_off", 0.0),
        SetParam("poly", "sustain", 0.0),
        SetParam("poly", "bend", 0.0),
    }
    assert player.faults() == []
    empty = Patch()
    for _ in range(3):
        assert player.commands(empty, (0x90, 60, 100)) == []
    (fault,) = player.faults()
    assert "no voices to play MIDI on" in fault and AllOff not in player.silence(empty)
    assert player.commands(levels(1), (0x90, 60, 100)) != []


def test_a_wheel_bends_as_far_as_it_is_told_to() -> None:
    assert Player(bend_semitones=12).commands(levels(1), (0xE0, 0, 0)) == [SetParam("poly", "bend", -12.0)]
    with pytest.raises(CommandError, match="0..48"):
        Player(bend_semitones=49)


# ---- a real port


class Playing:
    """An engine that plays a patch, with a keyboard at its MIDI input, recorded from its first sound on."""

    def __init__(self, folder: Path, environment: dict[str, str], patch: Patch, **midi: Any) -> None:
        self.keys = Keyboard(environment)
        self.engine = Engine("none", recordings=folder, prime_timeout_ms=20_000, probation_ms=0)
        self.folder, self.n_takes = folder, 0
        try:
            for command in (*anew(patch).build, *anew(patch).settings):
                self.engine.do(command)
            self.engine.commit(crossfade_ms=0, allow_silence=True)
            wait_until(lambda: self.engine.status()["is_redundant"], 30)
            self.port = self.engine.open_midi("KEYS", **midi)
        except BaseException:
            self.close()
            raise

    def midi(self) -> dict[str, Any]:
        told: dict[str, Any] = self.engine.status()["midi"]
        return told

    def record(self) -> None:
        self.n_takes += 1
        self.engine.record_start(f"take{self.n_takes}.wav")

    def samples(self) -> tuple[npt.NDArray[np.float32], int]:
        """End the recording; return it, and the number of its first frame."""
        report = self.engine.record_stop()
        assert report["lost_frames"] == 0
        samples, _ = soundfile.read(self.folder / report["name"], dtype="float32", always_2d=True)
        return samples[:, 0], report["first_frame"]

    def play(self, messages: list[list[int]], n_messages: int, gap_s: float = 0.0) -> None:
        """Send messages until n_messages of them have come; wait until all that they say has been rendered and heard.

        A JACK server that the machine has held up drops what was to be passed on in that period: then they are sent
        again. None of these tests minds.
        """
        for _ in range(ATTEMPTS):
            wanted = self.midi()["messages"] + n_messages
            self.keys.play(messages, gap_s)
            with contextlib.suppress(AssertionError):
                wait_until(lambda wanted=wanted: self.midi()["messages"] >= wanted, 5)  # type: ignore[misc]
                break
        else:
            pytest.fail(f"in none of {ATTEMPTS} times did {n_messages} messages come: {self.midi()}")
        self.settle()

    def settle(self) -> None:
        """Wait until all that came has been rendered and heard."""
        wait_until(lambda: not self.midi()["waiting"], 30)
        self.engine.sync()
        until = self.engine.frames + RATE_HZ // 5
        wait_until(lambda: self.engine.frames >= until, 30)

    def close(self) -> None:
        self.engine.close()
        self.keys.close()


class Times:
    """When frames were put out, noted all the while: the clock may be held up, and then goes on by another line."""

    def __init__(self, engine: Engine) -> None:
        supervisor: Any = engine._supervisor
        self._audio, self._pairs, self._is_over = supervisor._audio, [], threading.Event()
        self._thread = threading.Thread(target=self._note)

    def _note(self) -> None:
        while not self._is_over.wait(0.003):
            self._pairs.append(self._audio.time())

    def __enter__(self) -> Times:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def unix_s(self, frame: int) -> float:
        """Return when a frame was put out, by the requests within 50 ms of it."""
        near = [at_ns / 1e9 + (frame - f) / RATE_HZ for f, at_ns in self._pairs if abs(f - frame) < RATE_HZ // 20]
        return float(np.median(near)) + time.time() - time.monotonic() if near else float("inf")


@pytest.fixture
def jack(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Start a JACK server, with the period in frames that the test asks for, and reach it from here."""
    period = getattr(request, "param", 512)
    with jack_server(tmp_path, f"pyengine-midi-{os.getpid()}", period) as (environment, _):
        for name in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER"):
            monkeypatch.setenv(name, environment[name])
        yield environment


def onsets(x: npt.NDArray[np.float32]) -> list[int]:
    """Return the frames at which a sound begins after 10 ms of silence."""
    loud = np.flatnonzero(x)
    return [int(frame) for frame in loud[np.diff(loud, prepend=-RATE_HZ) > RATE_HZ // 100]]


@pytest.mark.parametrize("jack", [64], indirect=True, ids=["64"])
def test_notes_of_a_port_sound_at_their_pitch_and_a_constant_time_after_they_came(
    jack: dict[str, str], tmp_path: Path
) -> None:
    notes = [60, 64, 67, 72, 69, 57, 81, 62, 65, 71]
    messages = [m for note in notes for m in ([0x90, note, 100], [0x90, note, 0])]  # an end as velocity 0
    playing = Playing(tmp_path, jack, synth(2, attack=0, release=0, decay=0, sustain=1))
    try:
        assert playing.port == playing.keys.port
        wanted_s = playing.engine.status()["latency_ms"] / 1e3 + ALLOWANCE_S
        late_s = [float("inf")] * len(notes)  # in the best of the runs: JACK may hand a note on late
        for _ in range(ATTEMPTS):
            before, n_before = playing.engine.status(), playing.midi()["messages"]
            with Times(playing.engine) as times:
                playing.record()
                sent_s = playing.keys.play(messages, gap_s=0.05)[::2]
                until = playing.engine.frames + RATE_HZ // 2
                wait_until(lambda until=until: playing.engine.frames >= until, 30)  # type: ignore[misc]
                playing.settle()
                x, first_frame = playing.samples()
            after = playing.engine.status()
            assert (playing.midi()["lost"], playing.midi()["refused"]) == (0, 0)
            is_whole = after["counters"]["frames_underrun"] == before["counters"]["frames_underrun"]
            if not is_whole or playing.midi()["messages"] - n_before != len(messages):
                continue  # the machine was held up: a silence in the middle, or a period of JACK's that was dropped
            frames = onsets(x)
            if len(frames) != len(notes) or not all(x[f + 1872 : f + 1920].any() for f in frames):
                continue  # JACK, held up, has handed on an end together with its beginning, or soon after it
            for frame, note in zip(frames, notes, strict=True):
                assert frequency_hz(x[frame + 960 : frame + 1920]) == pytest.approx(note_hz(note), rel=1e-3)
            now_s = [times.unix_s(first_frame + f) - at_s for f, at_s in zip(frames, sent_s, strict=True)]
            late_s = [min(pair) for pair in zip(late_s, now_s, strict=True)]
            # JACK's own way from port to port takes one or two periods
            if wanted_s - PERIOD_S < min(late_s) and max(late_s) < min(
                min(late_s) + 2 * PERIOD_S, wanted_s + 4 * PERIOD_S
            ):
                return
        pytest.fail(f"in none of {ATTEMPTS} runs did the machine keep up: {[round(1e3 * t, 2) for t in late_s]} ms")
    finally:
        playing.close()


def test_chords_the_pedal_the_wheel_and_controllers_are_played(jack: dict[str, str], tmp_path: Path) -> None:
    patch = synth(4, attack=0, release=0, decay=0, sustain=1).create("filt1", "biquad_filter")
    patch.connect("poly.env", "filt1")
    cc = ["74=filt1.cutoff", "2:7=filt1.q=1..5", "pressure=filt1.cutoff=100..200"]
    playing = Playing(tmp_path, jack, patch, cc=cc, bend_semitones=12)

    def value(id: str, param: str) -> float:
        nodes = {row["id"]: row["params"] for row in playing.engine.dump()["committed"]["nodes"]}
        return float(nodes[id][param])

    try:
        playing.record()
        chord = [[0x90, 69, 100], [0xF8], [0x90, 73, 90], [0xFE], [0xF0, 1, 2, 0xF7], [0x90, 76, 80]]
        playing.play([[0xB0, 64, 127], *chord, [0x90, 69, 0], [0x80, 73, 64], [0x90, 76, 0]], 7)
        ends = [[0xB0, 64, 0], [0xE0, 127, 127], [0xD0, 127], [0xB0, 74, 127], [0xB1, 7, 127], [0xB0, 7, 0]]
        playing.play(ends, len(ends))
        x, _ = playing.samples()
        (begin,) = onsets(x)
        # the three, held by the pedal though all of them have ended: their second strongest partials are far below
        spectrum = np.abs(np.fft.rfft(x[begin + 2400 : begin + 7200] * np.hanning(4800)))
        peaks = sorted(int(10 * k) for k in np.argsort(spectrum)[-9:])
        assert {min((440, 554.37, 659.26), key=lambda f: abs(f - hz)) for hz in peaks} == {440, 554.37, 659.26}
        assert not x[-RATE_HZ // 20 :].any() or np.abs(x[-RATE_HZ // 20 :]).max() < 1e-3  # the pedal is up
        assert value("poly", "bend") == pytest.approx(12, rel=1e-3)
        assert value("filt1", "cutoff") == pytest.approx(RATE_HZ / 2 - 10)
        assert value("filt1", "q") == 5
        playing.play([[0xB0, 121, 0], [0xB0, 74, 0], [0xD0, 0]], 3)
        assert (value("poly", "bend"), value("filt1", "cutoff")) == (0, 100)
        assert playing.midi()["refused"] == 0
    finally:
        playing.close()


def test_a_flood_of_messages_loses_none_of_them(jack: dict[str, str], tmp_path: Path) -> None:
    playing = Playing(tmp_path, jack, levels(4).create("osc1", "simple_sine"), cc=["1=osc1.freq=100..227"])
    try:
        flood = [[0xB0, 1, n % 128] for n in range(498)] + [[0x90, 60, 127], [0xB0, 1, 127]]
        for _ in range(ATTEMPTS):
            before = playing.midi()["messages"]
            with contextlib.suppress(AssertionError):
                for turn in range(1, 41):  # no more at once than JACK takes in a period: what is beyond it drops itself
                    playing.keys.play(flood)
                    wanted = before + turn * len(flood)
                    wait_until(lambda wanted=wanted: playing.midi()["messages"] >= wanted, 5)  # type: ignore[misc]
                break
        else:
            pytest.fail(f"in none of {ATTEMPTS} times did JACK pass all of them on: {playing.midi()}")
        playing.settle()
        assert (playing.midi()["lost"], playing.midi()["refused"]) == (0, 0)
        nodes = {row["id"]: row["params"] for row in playing.engine.dump()["committed"]["nodes"]}
        assert nodes["osc1"]["freq"] == 227  # the last one
        assert playing.engine.status()["commands_lost"] == 0
    finally:
        playing.close()


def test_messages_that_come_faster_than_they_can_be_played_wait_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that has the port is one here that has very many messages at once."""
    n = 20_000
    code = """
import json, socket
sock = socket.socket(fileno=json.loads({arguments!r})["socket"])
sock.sendall(b'{{"is_there": true, "port": "flood"}}\\n')
sock.sendall(b"".join(b"%d 176 1 %d\\n" % (k, k % 127) for k in range(N - 1)) + b"0 176 1 127\\n")
sock.recv(1)  # until the engine ends
"""
    monkeypatch.setattr(launch, "_BOOT", code.replace("range(N", f"range({n}"))
    monkeypatch.setattr(launch, "MAX_SENT", 64)
    with Engine("none", recordings=tmp_path, prime_timeout_ms=20_000) as engine:
        engine.create("osc1", "simple_sine")
        engine.commit()
        assert engine.open_midi(cc=["1=osc1.freq=100..227"]) == "flood"
        most_waiting = 0

        def is_done() -> bool:
            nonlocal most_waiting
            told = engine.status()["midi"]
            most_waiting = max(most_waiting, told["waiting"])
            return bool(told["messages"] == n and not told["waiting"])

        wait_until(is_done, 60)
        told = engine.status()
        assert (told["midi"]["lost"], told["midi"]["refused"], told["commands_lost"]) == (0, 0, 0)
        assert launch.MAX_HELD < most_waiting < launch.MAX_HELD + launch.CHUNK_BYTES  # bounded: the rest waits there
        (osc1,) = engine.dump()["committed"]["nodes"]
        assert osc1["params"]["freq"] == 227


def test_a_keyboard_that_is_unplugged_in_a_note_ends_it_and_plays_on_when_it_is_back(
    jack: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    playing = Playing(tmp_path, jack, levels(4))
    try:
        playing.play([[0xB0, 64, 127], [0x90, 60, 127]], 2)
        playing.keys.kill()
        wait_until(lambda: not playing.midi()["is_there"], 20)
        playing.record()
        until = playing.engine.frames + RATE_HZ // 2
        wait_until(lambda: playing.engine.frames >= until)
        x, _ = playing.samples()
        assert not x[-RATE_HZ // 10 :].any()
        playing.keys = Keyboard(jack)
        wait_until(lambda: playing.midi()["is_there"], 20)
        playing.record()
        playing.play([[0x90, 62, 127], [0x90, 62, 0]], 2, gap_s=0.1)  # the pedal is up too
        x, _ = playing.samples()
        assert onsets(x) and not x[-RATE_HZ // 20 :].any()
        os.kill(playing.engine._midi.pid, signal.SIGKILL)  # type: ignore[union-attr]
        wait_until(lambda: not playing.midi()["is_there"], 20)
        wait_until(lambda: playing.midi()["is_there"], 20)
        playing.play([[0x90, 62, 127], [0x90, 62, 0]], 2, gap_s=0.1)
    finally:
        playing.close()
    assert caplog.text.count("has gone") == 2


def test_a_jack_server_that_ends_takes_nothing_with_it_and_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"pyengine-gone-{os.getpid()}"
    monkeypatch.setenv("JACK_DEFAULT_SERVER", name)
    monkeypatch.setenv("JACK_NO_START_SERVER", "1")
    with jack_server(tmp_path, name, 512) as (environment, server):
        playing = Playing(tmp_path, environment, levels(1))
        server.terminate()
        server.wait(20)
    try:
        wait_until(lambda: not playing.midi()["is_there"], 20)
        playing.keys.close()
        with jack_server(tmp_path, name, 512) as (environment, _):
            playing.keys = Keyboard(environment)
            wait_until(lambda: playing.midi()["is_there"], 30)
            playing.play([[0x90, 60, 127]], 1)
    finally:
        playing.close()


def test_the_command_line_lists_the_ports_plays_one_and_refuses_another(jack: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyengine"]
    with Keyboard(jack) as keys:
        ports = subprocess.run([*command, "midi", "--ports", "--json"], env=jack, capture_output=True, text=True)
        assert {"name": keys.port, "api": "Jack"} in json.loads(ports.stdout)["ports"]
        assert ports.stderr == ""
        run = [*command, "run", "--device", "none", "--osc-port", "0", "--json", "--log-level", "error"]
        wrong = subprocess.run([*run, "--midi", "harp"], env=jack, cwd=tmp_path, capture_output=True, text=True)
        assert wrong.returncode == 3
        assert "no MIDI input 'harp'" in wrong.stderr and repr(keys.port) in wrong.stderr
        with subprocess.Popen([*run, "--midi"], env=jack, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as engine:
            assert engine.stdout is not None
            assert json.loads(engine.stdout.readline())["midi"] == keys.port
            engine.terminate()
            assert engine.wait(20) == 0


def test_a_second_input_and_a_wrong_mapping_are_refused(jack: dict[str, str], tmp_path: Path) -> None:
    playing = Playing(tmp_path, jack, levels(1))
    try:
        with pytest.raises(CommandError, match="open already"):
            playing.engine.open_midi()
        with pytest.raises(CommandError, match="maps no controller"):
            playing.engine.open_midi(cc=["74"])
    finally:
        playing.close()


def test_without_rtmidi_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['rtmidi'] = None; from pyengine import cli; sys.exit(cli.main(['midi', '--ports']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install 'pyengine[midi]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_engine_without_ports_refuses_to_play_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "pyengine-no-such-server")
    monkeypatch.setenv("JACK_NO_START_SERVER", "1")
    with Engine("free") as engine, pytest.raises(MidiError, match="no MIDI input 'no such port'"):
        engine.open_midi("no such port")
    assert command_of(("gate", "env1", None, 1))

"""The device goes and comes back: the decisions, and the hand-over of the output, without a sound server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyengine._core import ffi, lib
from rig import wait_until

from pyengine import _native, outlet, output
from pyengine.errors import DeviceError
from pyengine.outlet import FAILURES_ALLOWED, LOOKS_TO_STALL, QUICK_TRIES, RETRY_S, SLOW_RETRY_S, Outlet, Watch

ROW = {"index": 4, "name": "system", "host_api": "JACK Audio Connection Kit"}
CONTINUE, ABORT = 0, 2  # PaStreamCallbackResult


# ---- decisions ------------------------------------------------------------------------------------------


def test_a_device_is_gone_when_it_says_so_or_makes_no_request_for_long() -> None:
    watch = Watch()
    assert not any(watch.is_gone(True, calls) for calls in range(1000))
    assert watch.is_gone(False, 1000)
    watch.has_gone(0.0)
    assert not any(watch.is_gone(True, 7) for _ in range(LOOKS_TO_STALL))
    assert watch.is_gone(True, 7)
    assert not watch.is_gone(True, 8)


def test_a_device_is_looked_for_often_and_later_less_often() -> None:
    watch = Watch()
    watch.has_gone(100.0)
    assert not watch.is_due(100.0)
    assert watch.is_due(100.0 + RETRY_S)
    for n in range(1, 2 * QUICK_TRIES):
        assert not watch.has_tried(200.0, "", has_failed=False)
        pause_s = RETRY_S if n < QUICK_TRIES else SLOW_RETRY_S
        assert not watch.is_due(199.9 + pause_s)
        assert watch.is_due(200.0 + pause_s)
    watch.has_gone(300.0)
    assert watch.is_due(300.0 + RETRY_S)


def test_each_reason_is_told_once() -> None:
    watch = Watch()
    watch.has_gone(0.0)
    told = [watch.has_tried(0.0, why, has_failed=False) for why in ("", "rate", "rate", "", "rate", "busy", "rate")]
    assert told == [False, True, False, False, False, True, True]
    watch.has_gone(0.0)
    assert watch.has_tried(0.0, "rate", has_failed=False)


def test_a_device_that_always_fails_is_given_up_and_that_is_told() -> None:
    watch = Watch()
    watch.has_gone(0.0)
    told = [watch.has_tried(0.0, "no", has_failed=True) for _ in range(FAILURES_ALLOWED)]
    assert told == [True, *[False] * (FAILURES_ALLOWED - 2), True]
    assert watch.is_hopeless
    assert not watch.is_due(1e9)
    watch.has_gone(0.0)
    assert watch.is_due(1e9)


# ---- the outlet -----------------------------------------------------------------------------------------


class Device:
    """A stream, and the device's thread in the hands of the test."""

    latency, samplerate = 0.01, 48000.0

    def __init__(self, port: _native.Port) -> None:
        self.active = True
        self.is_closed = False
        self.address, user = port.portaudio_callback()
        self._user = ffi.cast("void *", user)

    def close(self) -> None:
        self.active, self.is_closed = False, True

    def call(self, n_frames: int = 64) -> tuple[int, bool]:
        """Make a request; return what the callback said, and whether it wrote all of the frames."""
        out = ffi.new("float[]", [1.0] * (2 * n_frames))
        said = lib.pe_portaudio_callback(ffi.NULL, out, n_frames, ffi.NULL, 0, self._user)
        return said, not any(out)


class Stage:
    """An output, an outlet on a device, and what becomes of attempts to open it anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]) -> None:
        self.segment = _native.Segment.create(_native.Config())
        self.audio = _native.Output(self.segment)
        self.row = row
        self.time_s = 1000.0
        self.devices: list[Device] = []
        self.answer: Callable[[], dict[str, Any]] = lambda: {"is_there": False, "why": "not there"}
        self.opening: Callable[[], None] = lambda: None
        monkeypatch.setattr(output, "_sounddevice", lambda: SimpleNamespace(PortAudioError=RuntimeError))
        monkeypatch.setattr(output, "_abandon", lambda driver: None)
        monkeypatch.setattr(outlet, "open_driver", self._open)
        monkeypatch.setattr(output, "reopen", self._reopen)
        monkeypatch.setattr(Outlet, "_probe", lambda *_: self.answer())
        self.outlet = Outlet(
            "auto",
            self.audio,
            sample_rate_hz=48000.0,
            block_frames=64,
            n_channels=2,
            priority=0,
            now_s=lambda: self.time_s,
        )

    def _driver(self, port: _native.Port) -> output.PortAudioDriver:
        self.devices.append(Device(port))
        return output.PortAudioDriver(self.audio, port, self.devices[-1], self.row)

    def _open(self, *_: Any, **__: Any) -> output.Driver:
        driver = self._driver(_native.Port(self.audio))
        driver.begin()
        return driver

    def _reopen(self, asked: str, before: Any, audio: Any, port: _native.Port, **_: Any) -> output.Driver:
        assert (asked, before) == ("auto", self.row)
        driver = self._driver(port)
        self.opening()
        return driver

    def look(self) -> None:
        """A look a good while after the last one."""
        self.time_s += RETRY_S
        self.outlet.look()

    def close(self) -> None:
        assert self.outlet.close()
        self.audio.close()
        self.segment.close()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(monkeypatch, dict(ROW))
    yield stage
    stage.close()


def gone(stage: Stage) -> Device:
    """Let the device go, and the outlet see it."""
    (device,) = stage.devices
    assert device.call() == (CONTINUE, True)
    stage.look()
    assert (stage.outlet.kind, stage.outlet.switches) == ("portaudio", 0)
    device.active = False
    stage.outlet.look()
    assert (stage.outlet.kind, stage.outlet.switches) == ("realtime", 1)
    return device


def there() -> dict[str, Any]:
    return {"is_there": True, "why": ""}


def test_when_the_device_goes_the_clock_plays_on_and_the_device_is_shut_out(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    device = gone(stage)
    frames = stage.audio.frames
    assert frames >= 64  # all that the device had asked for
    wait_until(lambda: stage.audio.frames > frames + 640)
    assert stage.outlet.is_alive
    assert device.call() == (ABORT, True)
    for _ in range(5):
        stage.look()
    assert caplog.text.count("output gone") == 1
    assert "output is back" not in caplog.text
    assert not device.is_closed  # JACK's is left alone


def test_a_device_that_is_not_jacks_is_closed_when_it_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, ROW | {"host_api": "ALSA"})
    device = gone(stage)
    wait_until(lambda: device.is_closed)
    stage.close()


def test_a_device_that_makes_no_request_any_more_is_gone(stage: Stage) -> None:
    for _ in range(LOOKS_TO_STALL):
        stage.outlet.look()
    assert stage.outlet.kind == "portaudio"
    stage.outlet.look()
    assert stage.outlet.kind == "realtime"


def test_the_clock_does_not_start_while_the_devices_thread_is_in_the_output(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = _native.Port.shut
    monkeypatch.setattr(_native.Port, "shut", lambda port: shut(port) and False)
    stage.devices[0].active = False
    for _ in range(5):
        stage.outlet.look()
        assert (stage.outlet.kind, stage.outlet.switches) == ("portaudio", 0)
    assert stage.devices[0].call()[0] == ABORT  # but it was shut out at once
    monkeypatch.setattr(_native.Port, "shut", shut)
    stage.outlet.look()
    assert stage.outlet.kind == "realtime"


def test_when_the_device_is_back_it_alone_plays(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    old = gone(stage)
    stage.answer = there
    stage.look()
    wait_until(lambda: stage.outlet.kind == "portaudio")
    assert stage.outlet.switches == 2
    frames = stage.audio.frames
    assert stage.devices[1].call(100) == (CONTINUE, True)
    assert old.call(50)[0] == ABORT
    assert stage.audio.frames == frames + 100  # no clock beside it
    for _ in range(5):
        stage.look()
    assert caplog.text.count("output is back") == 1
    assert f"frame={frames} " in caplog.text
    assert len(stage.devices) == 2
    stage.devices[1].active = False
    stage.outlet.look()
    assert (stage.outlet.kind, stage.outlet.switches) == ("realtime", 3)
    stage.look()
    wait_until(lambda: stage.outlet.switches == 4)


def test_a_device_that_is_opened_waits_with_silence_for_the_clock_to_end(stage: Stage) -> None:
    gone(stage)
    may_go = threading.Event()
    stage.answer, stage.opening = there, lambda: may_go.wait(20) and None
    stage.look()
    wait_until(lambda: len(stage.devices) == 2)
    calls = stage.segment.counter("callbacks")
    assert stage.devices[1].call() == (CONTINUE, True)
    stage.outlet.look()
    assert stage.outlet.kind == "realtime"
    wait_until(lambda: stage.segment.counter("callbacks") > calls)  # the clock's
    may_go.set()
    wait_until(lambda: stage.outlet.kind == "portaudio")


def test_a_device_that_is_back_but_cannot_be_used_is_told_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    gone(stage)
    stage.answer = lambda: {"is_there": True, "why": "its default rate is 44100 Hz"}
    for _ in range(5):
        stage.look()
        wait_until(lambda: stage.outlet._attempt is None or stage.outlet._attempt.is_over)
    stage.look()
    assert caplog.text.count("its default rate is 44100 Hz") == 1
    assert len(stage.devices) == 1
    assert stage.outlet.kind == "realtime"


def test_a_device_that_cannot_be_opened_time_and_again_is_given_up(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise DeviceError("Device unavailable")

    gone(stage)
    stage.answer, stage.opening = there, fail
    for _ in range(3 * FAILURES_ALLOWED):
        stage.look()
        wait_until(lambda: stage.outlet._attempt is None or stage.outlet._attempt.is_over)
    assert len(stage.devices) == 1 + FAILURES_ALLOWED
    assert caplog.text.count("Device unavailable") == 2
    assert caplog.text.count("given up") == 1
    assert stage.outlet.kind == "realtime"


def test_an_attempt_that_never_ends_is_left_alone_and_another_one_made(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    gone(stage)
    stuck = threading.Event()
    stage.answer, stage.opening = there, lambda: stuck.wait(20) and None
    stage.look()
    wait_until(lambda: len(stage.devices) == 2)
    stage.opening = lambda: None
    stage.time_s += outlet.ATTEMPT_TIMEOUT_S
    stage.outlet.look()
    assert "no answer within 20 s" in caplog.text
    stage.look()
    wait_until(lambda: stage.outlet.kind == "portaudio")
    stuck.set()  # too late
    wait_until(lambda: stage.devices[1].is_closed)
    frames = stage.audio.frames
    assert stage.devices[2].call(10) == (CONTINUE, True)
    assert stage.audio.frames == frames + 10


@pytest.mark.parametrize("where", ["answer", "opening"])
def test_close_waits_for_no_attempt_and_what_it_opens_is_closed(
    where: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone(stage)
    is_there, may_go = threading.Event(), threading.Event()

    def wait() -> Any:
        is_there.set()
        may_go.wait(20)
        return there()

    stage.answer = there
    setattr(stage, where, wait)
    stage.look()
    assert is_there.wait(20)
    attempt = stage.outlet._attempt
    assert attempt is not None
    assert stage.outlet.close()
    assert stage.outlet.close()
    stage.audio.close()
    may_go.set()
    wait_until(lambda: attempt.is_over)
    assert all(device.is_closed for device in stage.devices[1:])
    assert len(stage.devices) == (1 if where == "answer" else 2)
    stage.look()
    assert not stage.outlet.is_alive


@pytest.mark.parametrize("device", ["none", "free"])
def test_where_no_device_was_opened_none_is_looked_for(device: str) -> None:
    segment = _native.Segment.create(_native.Config(is_free_running=device == "free"))
    audio = _native.Output(segment)
    outlet_ = Outlet(device, audio, sample_rate_hz=48000.0, block_frames=64, n_channels=2, priority=0)
    description = outlet_.description
    for _ in range(2 * LOOKS_TO_STALL):
        outlet_.look()
    assert (outlet_.switches, outlet_.description) == (0, description)
    assert outlet_.kind == {"none": "realtime", "free": "free"}[device]
    assert (outlet_.latency_s, outlet_.request_frames) == (0.0, 64)
    assert outlet_.clock is not None
    assert description in repr(outlet_)
    assert outlet_.close()
    audio.close()
    segment.close()


# ---- the process that asks whether the device is back -----------------------------------------------------

SOUNDDEVICE = """
class PortAudioError(Exception): pass
def query_hostapis(): return ({"name": "JACK Audio Connection Kit", "default_output_device": 1},)
def query_devices(device=None, kind=None):
    return [{"name": name, "hostapi": 0, "max_output_channels": 2, "default_samplerate": 44100.0,
             "default_low_output_latency": 0.01} for name in NAMES]
def check_output_settings(device, channels, dtype, samplerate):
    assert dtype == "float32"
    if samplerate != 44100.0: raise PortAudioError("Invalid sample rate", -9997)
"""


@pytest.mark.parametrize(
    ("text", "asked", "rate_hz", "is_there", "why"),
    [
        ("NAMES = ['other', 'system']", "auto", 44100.0, True, ""),
        ("NAMES = ['system']", "4", 48000.0, True, "does not do 48000 Hz; its default rate is 44100 Hz"),
        ("NAMES = ['other', 'system 2']", "auto", 44100.0, False, "is not there; there are: 0 'other'"),
        ("NAMES = ['other', 'system 2']", "1", 44100.0, False, "is not there"),
        ("NAMES = ['other', 'system 2']", "SYST", 44100.0, True, ""),
        ("NAMES = []", "syst", 44100.0, False, "no output device at all"),
        ("raise OSError('PortAudio library not found')", "auto", 44100.0, False, "cannot be used"),
        ("import os; os.abort()", "auto", 44100.0, False, "no answer"),
        ("import time; time.sleep(100)", "auto", 44100.0, False, "no answer"),
    ],
    ids=["back", "other rate", "gone", "other number", "by its name", "nothing", "no library", "abort", "hang"],
)
def test_a_process_of_its_own_says_whether_the_device_is_back(
    text: str, asked: str, rate_hz: float, is_there: bool, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sounddevice.py").write_text(text + "\n" + SOUNDDEVICE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(outlet, "PROBE_TIMEOUT_S", 1.0 if "sleep" in text else 60.0)
    segment = _native.Segment.create(_native.Config())
    audio = _native.Output(segment)
    outlet_ = Outlet("none", audio, sample_rate_hz=rate_hz, block_frames=64, n_channels=2, priority=0)
    outlet_._asked = asked
    port = _native.Port(audio)
    answer = outlet_._probe(outlet.Attempt(port, 0.0), ROW)
    port.close()
    outlet_.close()
    audio.close()
    segment.close()
    assert answer["is_there"] == is_there
    assert why in answer["why"]
    assert bool(why) == bool(answer["why"])


def test_a_cancelled_attempt_asks_nobody_for_long() -> None:
    segment = _native.Segment.create(_native.Config())
    audio = _native.Output(segment)
    outlet_ = Outlet("none", audio, sample_rate_hz=48000.0, block_frames=64, n_channels=2, priority=0)
    attempt = outlet.Attempt(_native.Port(audio), 0.0)
    attempt.cancel()
    assert outlet_._probe(attempt, ROW) == {"is_there": False, "why": "no answer"}
    assert attempt.process is not None
    assert attempt.process.returncode is not None
    attempt.port.close()
    outlet_.close()
    audio.close()
    segment.close()

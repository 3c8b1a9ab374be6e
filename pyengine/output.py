"""The audio device, and its siblings without one: whatever calls the audio callback.

The callback is C and is handed over as an address: no Python runs on the audio thread. sounddevice takes such
an address only through its private `_StreamBase` and `_ffi`. All use of private names is in this file and in
portaudio.py; they are the same in every sounddevice from 0.4.6 to 0.5.6, and pyproject.toml pins it below 0.6.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from pyengine import _native, portaudio
from pyengine.errors import DeviceError, shown

logger = logging.getLogger(__name__)

AUTO, NONE, FREE = "auto", "none", "free"  # the words that are not a device's name
FIRST_CALL_TIMEOUT_S = 3.0  # from the start of a device that is back to its first request
CLOSE_TIMEOUT_S = 3.0  # a dead sound server may never answer: PortAudio waits for JACK for ten minutes
_INVALID_SAMPLE_RATE, _INVALID_CHANNEL_COUNT = -9997, -9998  # PaErrorCode


class Driver(Protocol):
    """What calls the audio callback. Close it before the Output that it calls."""

    @property
    def kind(self) -> str:
        """'portaudio', 'realtime' or 'free'."""

    @property
    def description(self) -> str:
        """Name, host API, rate and latency, for a log line."""

    @property
    def request_frames(self) -> int:
        """Frames in a request; of a device, which decides by itself, the largest so far."""

    @property
    def is_realtime(self) -> bool:
        """Whether the audio thread got real-time priority, as far as can be told."""

    @property
    def latency_s(self) -> float:
        """From the callback to the device's end; 0 without a device."""

    @property
    def is_alive(self) -> bool:
        """Whether the callback is still called: False when closed, and when the device is gone."""

    @property
    def clock(self) -> _native.Clock | None:
        """The clock where there is no device."""

    def close(self) -> bool:
        """End the audio thread; twice without harm. False: it was left alone, and may still use its Output."""


class ClockDriver:
    """A clock of our own calls the callback: in real time, or as fast as blocks are there."""

    request_frames: int
    latency_s = 0.0

    def __init__(
        self,
        output: _native.Output,
        *,
        is_free: bool,
        sample_rate_hz: float,
        request_frames: int,
        priority: int,
    ) -> None:
        self.kind = "free" if is_free else "realtime"
        self.request_frames = request_frames
        self.is_alive = True
        self.clock = _native.Clock(
            output, is_free=is_free, request_frames=request_frames, priority=0 if is_free else priority
        )
        self.is_realtime = self.clock.is_realtime
        name = "free-running clock" if is_free else "real-time clock"
        self.description = f"{name} without a device, {sample_rate_hz:g} Hz, {request_frames} frames a request"

    def close(self) -> bool:
        self.is_alive = False
        self.clock.close()
        return True

    def __repr__(self) -> str:
        return f"<ClockDriver {self.description}>"


class PortAudioDriver:
    """A device that PortAudio opened, with the C callback."""

    kind = "portaudio"
    clock = None

    def __init__(self, output: _native.Output, port: _native.Port, stream: Any, device: dict[str, Any]) -> None:
        self._segment = output.segment
        self._port = port  # the stream's thread calls it
        self._stream = stream
        self._left: Any = None
        self.is_realtime = False
        self.latency_s = float(stream.latency)
        self.device = device
        self._is_jack = portaudio.is_jack(device["host_api"])
        name = f"{device['name']} ({device['host_api']})"
        self.description = f"{name}, {stream.samplerate:g} Hz, {self.latency_s * 1e3:.1f} ms latency"

    def begin(self) -> None:
        """Let the device through to the output. Whoever called it before must have stopped."""
        self._port.open()
        self.is_realtime = _has_realtime_thread()

    @property
    def has_called(self) -> bool:
        """Whether the device has made a request yet."""
        return self._port.calls > 0

    @property
    def request_frames(self) -> int:
        return self._segment.largest_request if self._stream else 0

    @property
    def is_alive(self) -> bool:
        return self._stream is not None and bool(self._stream.active)

    def close(self) -> bool:
        """Stop and close the stream. One that does not end in time is left alone."""
        is_gone = not self.is_alive and self._is_jack  # the server ended: closing would wait for it for minutes
        stream, self._stream = self._stream, None
        if stream is None:
            return self._shut()
        if not is_gone:
            thread = _closing(stream)
            thread.join(CLOSE_TIMEOUT_S)
            if not thread.is_alive():
                self._port.close()
                return True
        self._left = stream
        _abandon(self)
        logger.warning("output left open, its server does not answer device=%s", self.description)
        return self._shut()

    def _shut(self) -> bool:
        """Shut the device out, and give its thread time to leave the output."""
        until = time.monotonic() + CLOSE_TIMEOUT_S
        while not self._port.shut():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    def leave(self) -> bool:
        """Shut the device out, without waiting. True: its thread is not in the output, and will never be again.

        Its stream is closed if that can be done without JACK, which would wait for the dead server.
        """
        if not self._port.shut():
            return False
        stream, self._stream = self._stream, None
        if stream is not None:
            self._left = stream
            _abandon(self)
            if not self._is_jack:
                _closing(stream)
        return True

    def __repr__(self) -> str:
        return f"<PortAudioDriver {self.description}>"


_unclosed: list[PortAudioDriver] = []  # kept alive: PortAudio may still hold their pointers


def _closing(stream: Any) -> threading.Thread:
    """Close the stream in a thread of its own: nobody knows how long it takes."""

    def close() -> None:
        with contextlib.suppress(_sounddevice().PortAudioError):
            stream.close()

    thread = threading.Thread(target=close, name="pe-close-stream", daemon=True)
    thread.start()
    return thread


def _abandon(driver: PortAudioDriver) -> None:
    """Leave a stream that cannot be closed to the end of the process, and PortAudio with it: to end
    PortAudio, as sounddevice does at exit, would abort the process when JACK is gone.
    """
    _unclosed.append(driver)
    atexit.unregister(_sounddevice()._exit_handler)


def open_driver(
    device: str,
    output: _native.Output,
    *,
    sample_rate_hz: float,
    block_frames: int,
    n_channels: int,
    priority: int,
) -> Driver:
    """Return what calls the audio callback from now on, already running.

    device: 'auto', the default device, or where there is none the real-time clock, with one line in the log
    that says why; 'none', the real-time clock; 'free', the free-running clock, which puts out nothing before
    clock.allow; or a device's name, a part of it, or its number. priority: SCHED_FIFO, for the real-time
    clock; a device's thread gets what PortAudio or JACK give it. Raises DeviceError for a device that was
    named and is not there or does not take the format.
    """
    if device not in (AUTO, NONE, FREE):
        return _opened(output, _find(device, describe_devices()), sample_rate_hz, n_channels)
    if device == AUTO:
        try:
            return _opened(output, _default(), sample_rate_hz, n_channels)
        except DeviceError as error:
            logger.warning("no audio device, playing on the real-time clock without one: %s", error)
    driver = ClockDriver(
        output,
        is_free=device == FREE,
        sample_rate_hz=sample_rate_hz,
        request_frames=block_frames,
        priority=priority,
    )
    if device != AUTO:
        logger.info("output opened kind=%s device=%s", driver.kind, driver.description)
    return driver


def reopen(
    asked: str, before: dict[str, Any], output: _native.Output, port: _native.Port, *, sample_rate_hz: float
) -> PortAudioDriver:
    """Return the device that was there before, opened anew and running; it gets silence until `begin`.

    asked, before: as for `probe`. May take long, or never end, where a sound server hangs. Raises DeviceError;
    what was opened until then is left as it is.
    """
    sounddevice, n_channels = _sounddevice(), output.segment.config.n_channels
    device = before
    try:
        copy = portaudio.Copy(sounddevice)
        device = _again(asked, before, _rows(copy))
        stream = copy.open_stream(port.portaudio_callback(), device["index"], sample_rate_hz, n_channels)
        driver = PortAudioDriver(output, port, stream, device)
        try:
            stream.start()
        except sounddevice.PortAudioError:
            driver.leave()
            raise
    except sounddevice.PortAudioError as error:
        raise DeviceError(_why(device, error, sample_rate_hz, n_channels)) from error
    until = time.monotonic() + FIRST_CALL_TIMEOUT_S
    while not driver.has_called:
        if time.monotonic() > until:
            driver.leave()
            raise DeviceError(f"{driver.description}: opened, but it makes no request")
        time.sleep(0.001)
    return driver


def probe(asked: str, before: dict[str, Any], sample_rate_hz: float, n_channels: int) -> dict[str, Any]:
    """Return is_there, whether the device is back, and why it cannot be used, '' if it can.

    asked: the device as open_driver takes it. before: its row of describe_devices when it was there. PortAudio
    must have started just now, and should end soon: to be run in a process of its own.
    """
    sounddevice = _sounddevice()
    try:
        device = _again(asked, before, describe_devices())
    except DeviceError as error:
        return {"is_there": False, "why": str(error)}
    try:
        sounddevice.check_output_settings(device["index"], n_channels, "float32", samplerate=sample_rate_hz)
    except sounddevice.PortAudioError as error:
        return {"is_there": True, "why": _why(device, error, sample_rate_hz, n_channels)}
    return {"is_there": True, "why": ""}


def describe_devices() -> list[dict[str, Any]]:
    """Return the output devices PortAudio knows: index, name, host_api, n_channels, sample_rate_hz,
    latency_ms, is_default. Raises DeviceError where there is no PortAudio.
    """
    sounddevice = _sounddevice()
    return _rows(sounddevice, _default_index(sounddevice))


# ---- PortAudio ---------------------------------------------------------------------------------------


def _sounddevice() -> Any:
    """Return the module. The first import starts PortAudio, and keeps its libraries' chatter off stderr."""
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError(f"sounddevice cannot be imported ({error}); pip install sounddevice") from error
    except Exception as error:  # OSError: no library; sounddevice's own PortAudioError: it does not start
        brew = "brew install portaudio"
        how = brew if sys.platform == "darwin" else f"apt install libportaudio2 (macOS: {brew})"
        raise DeviceError(f"PortAudio cannot be used ({error}); install it with: {how}") from error
    return sounddevice


def _default_index(sounddevice: Any) -> int:
    """Return the default output device, -1 for none. JACK's, where a JACK server runs: whoever started it
    wants it used, and it may hold the card; PortAudio would ask ALSA first, and get ALSA's bridge to JACK.
    """
    for api in sounddevice.query_hostapis():
        if portaudio.is_jack(api["name"]) and api["default_output_device"] >= 0:
            return int(api["default_output_device"])
    try:
        return int(sounddevice.query_devices(kind="output")["index"])
    except (sounddevice.PortAudioError, ValueError):
        return -1


def _rows(source: Any, default: int = -1) -> list[dict[str, Any]]:
    """Return the output devices of sounddevice or of a copy."""
    apis = source.query_hostapis()
    return [
        {
            "index": index,
            "name": str(row["name"]),
            "host_api": str(apis[row["hostapi"]]["name"]),
            "n_channels": int(row["max_output_channels"]),
            "sample_rate_hz": float(row["default_samplerate"]),
            "latency_ms": 1e3 * float(row["default_low_output_latency"]),
            "is_default": index == default,
        }
        for index, row in enumerate(source.query_devices())
        if row["max_output_channels"] > 0
    ]


def _listing(devices: list[dict[str, Any]]) -> str:
    rows = [f"{d['index']} {d['name']!r} ({d['host_api']})" for d in devices]
    return f"there are: {', '.join(rows)}" if rows else "there is no output device at all"


def _default() -> dict[str, Any]:
    for device in describe_devices():
        if device["is_default"]:
            return device
    raise DeviceError("PortAudio finds no output device")


def _find(wanted: str, devices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the device with that number, name, or the only one with that part of a name."""
    key = wanted.strip().casefold()
    tests = (
        lambda d: key == str(d["index"]),
        lambda d: key == d["name"].casefold(),
        lambda d: key != "" and not key.isdigit() and key in f"{d['name']}, {d['host_api']}".casefold(),
    )
    for test in tests:
        found = [device for device in devices if test(device)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DeviceError(f"device {shown(wanted)} fits several; give the number: {_listing(found)}")
    hint = f"{'give one of these, or' if devices else 'say'} '{NONE}' to play without a device"
    raise DeviceError(f"no output device fits {shown(wanted)}; {_listing(devices)}; {hint}")


def _again(asked: str, before: dict[str, Any], devices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the device that was there before; or, if it was asked for by a name, what fits that name now.
    Its number may have changed.
    """
    for device in devices:
        if (device["name"], device["host_api"]) == (before["name"], before["host_api"]):
            return device
    if asked == AUTO or asked.strip().isdigit():
        raise DeviceError(f"device {before['name']!r} ({before['host_api']}) is not there; {_listing(devices)}")
    return _find(asked, devices)


def _opened(output: _native.Output, device: dict[str, Any], sample_rate_hz: float, n_channels: int) -> PortAudioDriver:
    sounddevice = _sounddevice()
    port = _native.Port(output)
    try:
        stream = _open_stream(sounddevice, port, device, sample_rate_hz, n_channels)
    except sounddevice.PortAudioError as error:
        port.close()
        raise DeviceError(_why(device, error, sample_rate_hz, n_channels)) from error
    driver = PortAudioDriver(output, port, stream, device)
    driver.begin()
    logger.info("output opened kind=%s device=%s", driver.kind, driver.description)
    return driver


def _open_stream(
    sounddevice: Any, port: _native.Port, device: dict[str, Any], sample_rate_hz: float, n_channels: int
) -> Any:
    """Return a running stream that calls the C callback.

    blocksize 0: each request is what the device itself wants. With a size of ours PortAudio would cut a
    device's period into that many calls in a row, and the lead, which is reckoned from the largest request,
    would be that of one of them.
    """
    ffi = sounddevice._ffi
    callback, user = port.portaudio_callback()
    stream = sounddevice._StreamBase(
        kind="output",
        samplerate=sample_rate_hz,
        blocksize=0,
        device=device["index"],
        channels=n_channels,
        dtype="float32",
        latency="low",
        callback=ffi.cast("PaStreamCallback *", callback),
        userdata=ffi.cast("void *", user),
        wrap_callback=None,
    )
    try:
        stream.start()
    except sounddevice.PortAudioError:
        stream.close()
        raise
    return stream


def _why(device: dict[str, Any], error: Exception, sample_rate_hz: float, n_channels: int) -> str:
    name = f"device {device['index']} {device['name']!r} ({device['host_api']})"
    code = error.args[1] if len(error.args) > 1 else 0
    if code == _INVALID_SAMPLE_RATE:
        rate = f"{device['sample_rate_hz']:g} Hz"
        return f"{name} does not do {sample_rate_hz:g} Hz; its default rate is {rate}: ask for that one"
    if code == _INVALID_CHANNEL_COUNT:
        return f"{name} does not take {n_channels} channels; it has {device['n_channels']}"
    return f"{name} cannot be opened: {error.args[0] if error.args else error}"


def _has_realtime_thread() -> bool:
    """Whether a thread of this process has real-time priority. Here it can only be the device's."""
    tasks = Path("/proc/self/task")
    if not hasattr(os, "sched_getscheduler") or not tasks.is_dir():
        return False
    policies = []
    for task in tasks.iterdir():
        try:
            policies.append(os.sched_getscheduler(int(task.name)))
        except OSError:
            continue  # it has just ended
    return any(policy in (os.SCHED_FIFO, os.SCHED_RR) for policy in policies)

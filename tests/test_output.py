from __future__ import annotations

import inspect
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rig import Rig, wait_until

import pyengine
from pyengine import _native, output
from pyengine.errors import DeviceError
from pyengine.output import describe_devices, open_driver
from pyengine.patch import Patch

REQUESTS = (1, 7, 64, 100, 1024, 4096)
N_FRAMES = 20_000
Frames = npt.NDArray[np.float32]


def chain() -> Patch:
    patch = Patch().create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
    return patch.connect("osc1", "env1").connect("env1", "filt1")


def balance(rig: Rig) -> tuple[int, int]:
    c = rig.counters()
    return c["frames_requested"], c["frames_delivered"] + c["frames_underrun"]


def played(patch: Patch, **settings: Any) -> Frames:
    """Return what came out from the patch's first frame on."""
    with Rig(**settings) as rig:
        rig.record()
        first = rig.commit(patch)
        rig.advance(N_FRAMES)
        out = rig.read_tap()
        assert len(out) == rig.output.frames
        assert not out[:first].any()
        requested, accounted = balance(rig)
        assert requested == accounted == len(out)
        assert rig.counters()["frames_underrun"] == 0
        return out[first : first + N_FRAMES]


# ---- the free-running clock ---------------------------------------------------------------------------


@pytest.mark.parametrize("block_frames", [1, 32, 64, 100, 256, 1024])
@pytest.mark.parametrize("requests", [(), REQUESTS], ids=["one block", "varying"])
def test_the_free_clock_gives_what_render_gives_for_any_block_and_request(
    block_frames: int, requests: tuple[int, ...]
) -> None:
    out = played(chain(), block_frames=block_frames, requests=requests)
    expected = pyengine.render(chain(), frames=len(out), channels=2)
    assert np.array_equal(out, expected)
    assert out.any()


@pytest.mark.parametrize("requests", [(1,), (8192,), (63, 65), (8192, 1), REQUESTS])
def test_a_command_lands_on_its_frame_whatever_the_requests(requests: tuple[int, ...]) -> None:
    patch = Patch().create("osc1", "simple_sine")
    at = 5001
    with Rig(requests=requests) as rig:
        rig.record()
        first = rig.commit(patch)
        rig.segment.send([_native.Record(patch.nodes["osc1"].handle, 0, 880.0, frame=first + 10_000 + at)])
        rig.advance(N_FRAMES)
        out = rig.read_tap()[first:]
    events = [((10_000 + at) / 48000, ("mod", "osc1", "freq", 880.0))]
    assert np.array_equal(out, pyengine.render(patch, frames=len(out), channels=2, events=events))


def test_the_free_clock_puts_out_nothing_before_it_may_and_no_frame_beyond() -> None:
    with Rig() as rig:
        assert rig.driver.kind == "free"
        assert rig.output.frames == 0
        for n_frames in (1, 63, 64, 65, 1000):
            before = rig.output.frames
            rig.advance(n_frames)
            assert rig.output.frames == before + n_frames


@pytest.mark.parametrize("n_channels", [1, 2, 8])
def test_all_channels_come_out(n_channels: int) -> None:
    out = played(chain(), n_channels=n_channels)
    assert np.array_equal(out, pyengine.render(chain(), frames=len(out), channels=n_channels))


# ---- the real-time clock ------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [44100.0, 48000.0, 96000.0])
def test_the_real_time_clock_is_never_faster_than_the_rate_and_counts_what_it_missed(rate_hz: float) -> None:
    started = time.monotonic()
    with Rig("none", sample_rate_hz=rate_hz) as rig:
        assert rig.driver.kind == "realtime"
        assert rig.driver.request_frames == 64
        wait_until(lambda: rig.output.frames >= rate_hz / 5)
        rig.driver.close()
        elapsed_s = time.monotonic() - started
        c = rig.counters()
        periods = c["callbacks"] + c["clock_missed_periods"]
        assert periods <= elapsed_s * rate_hz / 64 + 1
        assert c["frames_requested"] == c["callbacks"] * 64 == rig.output.frames
        requested, accounted = balance(rig)
        assert requested == accounted


def test_the_real_time_clock_plays_a_patch_and_accounts_for_every_frame() -> None:
    with Rig("none", lead=8) as rig:
        rig.record()
        first = rig.commit(chain())
        rig.advance(N_FRAMES)
        rig.driver.close()
        out = rig.read_tap()
        requested, accounted = balance(rig)
        start = rig.output.tap_start  # the clock ran before it was told to record
        assert requested == accounted == start + len(out)
        if rig.counters()["frames_underrun"] == 0 and rig.counters()["late_swaps"] == 0:
            heard = out[first - start :]
            assert np.array_equal(heard, pyengine.render(chain(), frames=len(heard), channels=2))


@pytest.mark.parametrize("device", ["free", "none"])
def test_a_driver_closes_twice_and_says_what_it_is(device: str) -> None:
    with Rig(device) as rig:
        driver = rig.driver
        assert "without a device, 48000 Hz, 64 frames" in driver.description
        assert driver.description in repr(driver)
        assert driver.latency_s == 0.0
        assert driver.is_alive
        driver.close()
        driver.close()
        assert not driver.is_alive


# ---- a pause, then a burst -----------------------------------------------------------------------------

PAUSE_S = 1.0
BURST = (1, 64, 100, 4096, 63, 512, 256, 64, 64, 8192, 7, 640)


class Ear:
    """What must be heard, to the bit: the patch, and silence where nothing was there, both declicked."""

    LENGTH = 240  # PE_DECLICK_MS at 48 kHz

    def __init__(self, patch: Patch, at: int) -> None:
        self._samples = pyengine.render(patch, frames=at + 200_000, channels=2)
        self._at = at
        self._offset = np.zeros(2, np.float32)
        self._last = self._samples[at - 1]
        self._left = 0
        self._is_silent = False

    def hears(self, n_frames: int, n_missing: int) -> Frames:
        """Return the answer to a request for the end of which there was no block."""
        n_there = n_frames - n_missing
        there = self._put(self._samples[self._at : self._at + n_there], is_silent=False)
        self._at += n_there
        return np.concatenate([there, self._put(np.zeros((n_missing, 2), np.float32), is_silent=True)])

    def _put(self, x: Frames, *, is_silent: bool) -> Frames:
        if len(x) == 0:
            return x
        if is_silent != self._is_silent:
            self._is_silent = is_silent
            self._offset, self._left = self._last - x[0], self.LENGTH
        ramp = np.maximum(self._left - np.arange(len(x)), 0).astype(np.float32) / np.float32(self.LENGTH)
        y: Frames = np.where(ramp[:, None] > 0, x + self._offset * ramp[:, None], x)
        self._left = max(0, self._left - len(x))
        self._last = y[-1]
        return y


def answer(rig: Rig, n_frames: int) -> tuple[Frames, int]:
    """Return what a request gets, at once, and how much of it was counted as missing. The clock must be paused."""
    missing = rig.counters()["frames_underrun"]
    out = np.frombuffer(rig.output.process(n_frames), np.float32).reshape(-1, 2)
    return out, rig.counters()["frames_underrun"] - missing


@pytest.mark.parametrize("lead", [1, 2, 8])
def test_after_a_stall_a_burst_gets_each_block_once_or_counted_silence(lead: int) -> None:
    with Rig(lead=lead) as rig:
        first = rig.commit(chain())
        rig.advance(1000)
        ear = Ear(chain(), rig.output.frames - first)
        for is_empty in (False, True, False):
            time.sleep(PAUSE_S)  # the stall itself
            rig.settle()
            for slot in range(2):
                rig.segment.set_playable(slot, not is_empty)
            n_delivered = 0
            for i, n_frames in enumerate(BURST):  # faster than blocks can be there
                out, n_missing = answer(rig, n_frames)
                assert np.array_equal(out, ear.hears(n_frames, n_missing)), (i, n_frames, n_missing)
                n_delivered += n_frames - n_missing
            assert n_delivered < 64 if is_empty else n_delivered > 0  # the rest of a block; at least what was ready
            for slot in range(2):
                rig.segment.set_playable(slot, True)
        requested, accounted = balance(rig)
        assert requested == accounted == rig.output.frames


@pytest.mark.parametrize("requests", [(64,), BURST], ids=["one block", "varying"])
def test_after_a_stall_the_free_clock_waits_for_the_blocks_of_a_burst(requests: tuple[int, ...]) -> None:
    with Rig(requests=requests) as rig:
        rig.record()
        first = rig.commit(chain())
        for _ in range(2):
            rig.advance(1000)
            time.sleep(PAUSE_S)  # the stall itself
            until = rig.output.frames + 2 * N_FRAMES
            rig.clock.allow(until)
            assert rig.clock.wait(until, 30_000)
        out = rig.read_tap()[first:]
        assert rig.counters()["frames_underrun"] == 0
    assert np.array_equal(out, pyengine.render(chain(), frames=len(out), channels=2))


def test_where_one_clock_ends_the_next_one_plays_on() -> None:
    with Rig("none", lead=8) as rig:
        rig.record()
        first = rig.commit(chain())
        rig.advance(N_FRAMES)
        rig.driver.close()
        frames = rig.output.frames
        time.sleep(PAUSE_S)  # the stall itself
        assert rig.output.frames == frames
        clock = output.ClockDriver(rig.output, is_free=False, sample_rate_hz=48000.0, request_frames=128, priority=0)
        wait_until(lambda: rig.output.frames >= frames + N_FRAMES)
        clock.close()
        out = rig.read_tap()
        requested, accounted = balance(rig)
        start = rig.output.tap_start
        assert requested == accounted == start + len(out)
        if rig.counters()["frames_underrun"] == 0 and rig.counters()["late_swaps"] == 0:
            heard = out[first - start :]
            assert np.array_equal(heard, pyengine.render(chain(), frames=len(heard), channels=2))


# ---- devices ------------------------------------------------------------------------------------------

NO_LIBRARY = "raise OSError('PortAudio library not found')\n"
NO_DEVICE = """
class PortAudioError(Exception): pass
def query_hostapis(): return ({"name": "ALSA", "default_output_device": -1},)
def query_devices(device=None, kind=None):
    if kind: raise PortAudioError(f"Error querying device -1")
    return []
"""
DEVICES = """
class PortAudioError(Exception): pass
class _ffi:
    cast = staticmethod(lambda kind, address: address)
class _StreamBase:
    latency, samplerate, active = 0.0123, 48000.0, True
    def __init__(self, **given):
        assert given["callback"] and given["userdata"] and given["wrap_callback"] is None
        if given["samplerate"] != 48000: raise PortAudioError("Invalid sample rate", -9997)
        if given["channels"] > 2: raise PortAudioError("Invalid number of channels", -9998)
        if given["device"] == 3: raise PortAudioError("Device unavailable", -9985)
    def start(self): pass
    def close(self): self.active = False
def row(name, api=0, n=2):
    return {"name": name, "hostapi": api, "max_output_channels": n, "default_samplerate": 48000.0,
            "default_low_output_latency": 0.01}
DEFAULT = 1
ROWS = [row("Microphone", n=0), row("HDA Intel: 0"), row("HDA Intel: 1"), row("busy"), row("system", 1)]
APIS = ({"name": "ALSA", "default_output_device": 1}, {"name": "OSS", "default_output_device": -1})
def query_hostapis(): return APIS
def query_devices(device=None, kind=None):
    return {"index": DEFAULT} if kind else ROWS
"""


@pytest.fixture
def sounddevice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that puts a module of the given text in sounddevice's place."""

    def put(text: str) -> None:
        (tmp_path / "sounddevice.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)

    yield put
    sys.modules.pop("sounddevice", None)


@pytest.fixture
def native() -> Any:
    segment = _native.Segment.create(_native.Config())
    out = _native.Output(segment)
    yield out
    out.close()
    segment.close()


def opened(device: str, out: _native.Output, rate_hz: float = 48000.0, n_channels: int = 2) -> output.Driver:
    return open_driver(device, out, sample_rate_hz=rate_hz, block_frames=64, n_channels=n_channels, priority=0)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (NO_LIBRARY, "PortAudio library not found"),
        (NO_DEVICE, "no output device"),
        ("import nix_da", "nix_da"),
    ],
    ids=["no library", "no device", "no sounddevice"],
)
def test_auto_falls_back_to_the_real_time_clock_with_one_line_that_says_why(
    module: str, why: str, sounddevice: Any, native: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sounddevice(module)
    with caplog.at_level(logging.INFO):
        driver = opened("auto", native)
    driver.close()
    assert driver.kind == "realtime"
    assert driver.clock is not None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert why in record.getMessage()


def test_without_portaudio_the_message_names_what_to_install(
    sounddevice: Any, native: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sounddevice(NO_LIBRARY)
    opened("auto", native).close()
    assert "libportaudio2" in caplog.text
    assert "brew install portaudio" in caplog.text
    for device in ("NAME", "0"):
        with pytest.raises(DeviceError, match="libportaudio2"):
            opened(device, native)
    with pytest.raises(DeviceError, match="libportaudio2"):
        describe_devices()
    sounddevice("import nix_da")
    with pytest.raises(DeviceError, match="pip install sounddevice"):
        opened("NAME", native)


def test_without_a_device_a_name_is_refused_and_the_way_out_named(sounddevice: Any, native: Any) -> None:
    sounddevice(NO_DEVICE)
    with pytest.raises(DeviceError, match="no output device fits 'NAME'; there is no output device.*'none'"):
        opened("NAME", native)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("1", "HDA Intel: 0"),
        (" 2 ", "HDA Intel: 1"),
        ("hda intel: 1", "HDA Intel: 1"),
        ("syst", "system"),
        ("auto", "HDA Intel: 0"),
    ],
)
def test_a_device_is_found_by_number_by_name_and_by_a_part_of_it(
    device: str, name: str, sounddevice: Any, native: Any
) -> None:
    sounddevice(DEVICES)
    driver = opened(device, native)
    assert driver.kind == "portaudio"
    assert name in driver.description
    assert "12.3 ms" in driver.description
    assert driver.clock is None
    assert driver.latency_s == 0.0123
    driver.close()
    driver.close()
    assert not driver.is_alive


@pytest.mark.parametrize(
    ("device", "settings", "message"),
    [
        ("nix", {}, r"no output device fits 'nix'; there are: 1 'HDA Intel: 0' \(ALSA\), 2 .*'none'"),
        ("", {}, "no output device fits ''"),
        ("0", {}, "no output device fits '0'"),  # number 0 is a microphone
        ("Microphone", {}, "no output device fits"),
        ("HDA", {}, "fits several; give the number: there are: 1 'HDA Intel: 0'"),
        ("x" * 5000, {}, r"\(5000 long\)"),
        ("1", {"rate_hz": 12345.0}, "does not do 12345 Hz; its default rate is 48000 Hz"),
        ("1", {"n_channels": 8}, "does not take 8 channels; it has 2"),
        ("busy", {}, "device 3 'busy' .ALSA. cannot be opened: Device unavailable"),
    ],
)
def test_a_device_that_cannot_be_had_is_a_clear_error(
    device: str, settings: Any, message: str, sounddevice: Any, native: Any
) -> None:
    sounddevice(DEVICES)
    with pytest.raises(DeviceError, match=message):
        opened(device, native, **settings)


def test_auto_falls_back_when_the_default_device_does_not_take_the_format(
    sounddevice: Any, native: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sounddevice(DEVICES)
    driver = opened("auto", native, rate_hz=12345.0)
    driver.close()
    assert driver.kind == "realtime"
    assert "does not do 12345 Hz" in caplog.text


def test_auto_takes_jack_where_a_jack_server_runs(sounddevice: Any, native: Any) -> None:
    jack = '{"name": "JACK Audio Connection Kit", "default_output_device": 4}'
    sounddevice(DEVICES.replace('{"name": "OSS", "default_output_device": -1}', jack))
    driver = opened("auto", native)
    driver.close()
    assert "system (JACK Audio Connection Kit)" in driver.description


def test_a_stream_that_never_closes_is_left_alone(
    sounddevice: Any, native: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(output, "CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(output, "_unclosed", [])
    sounddevice(DEVICES.replace("def close(self): self.active = False", "def close(self): stuck.wait(20)"))
    driver = opened("auto", native)
    module: Any = sys.modules["sounddevice"]
    module.stuck, module._exit_handler = threading.Event(), lambda: None
    driver.close()
    driver.close()
    module.stuck.set()
    assert caplog.text.count("output left open") == 1


def test_devices_are_listed(sounddevice: Any) -> None:
    sounddevice(DEVICES)
    devices = describe_devices()
    assert [d["index"] for d in devices] == [1, 2, 3, 4]
    assert [d["is_default"] for d in devices] == [True, False, False, False]
    assert devices[0] == {
        "index": 1,
        "name": "HDA Intel: 0",
        "host_api": "ALSA",
        "n_channels": 2,
        "sample_rate_hz": 48000.0,
        "latency_ms": 10.0,
        "is_default": True,
    }


def test_the_private_names_of_sounddevice_are_there() -> None:
    try:
        import sounddevice
    except Exception as error:
        pytest.skip(f"no PortAudio here: {error}")
    names = set(inspect.signature(sounddevice._StreamBase.__init__).parameters)
    assert {"kind", "samplerate", "blocksize", "device", "channels", "dtype", "latency"} <= names
    assert {"callback", "userdata", "wrap_callback"} <= names
    assert callable(sounddevice._exit_handler)
    sounddevice._ffi.cast("PaStreamCallback *", 1)


def test_no_audio_library_is_imported_with_the_modules() -> None:
    code = (
        "import sys, pyengine.output, pyengine.recording; "
        "assert not {'sounddevice', 'soundfile'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

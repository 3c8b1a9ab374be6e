from __future__ import annotations

import contextlib
import os
import queue
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from rig import Rig, wait_until

import pyengine
from pyengine import recording
from pyengine.errors import RecordingError
from pyengine.patch import Patch
from pyengine.recording import Recorder

Frames = npt.NDArray[np.float32]
HALF_STEP = 0.5 / 0x800000  # of 24 bit


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def recorder(rig: Rig, folder: Path) -> Iterator[Recorder]:
    recorder = Recorder(rig.segment, rig.output, folder)
    yield recorder
    recorder.close()


def stopped(recorder: Recorder) -> Any:
    """Stop, and return what on_done got."""
    results: queue.Queue[Any] = queue.Queue()
    recorder.stop(results.put)
    return results.get(timeout=10)


def read(path: Path) -> Frames:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate_hz == 48000
    return samples


def tone(gain: float = 0.2) -> Patch:
    return Patch().create("osc1", "simple_sine").set("osc1", "gain", gain)


def take(rig: Rig, recorder: Recorder, name: str, subtype: str = "float") -> tuple[Frames, dict[str, Any]]:
    """Record silence, then a tone; return what render gives for the same, and the status."""
    begin = rig.output.frames
    recorder.start(name, subtype)
    first = rig.commit(tone()) - begin
    rig.advance(48000)
    status = stopped(recorder)
    assert status["frames"] == rig.output.frames - begin
    assert status["first_frame"] == begin
    expected = np.zeros((status["frames"], 2), np.float32)
    expected[first:] = pyengine.render(tone(), frames=status["frames"] - first, channels=2)
    return expected, status


# ---- what is in the file -----------------------------------------------------------------------------


def test_a_float_wav_is_bit_for_bit_what_was_played(rig: Rig, recorder: Recorder, folder: Path) -> None:
    expected, status = take(rig, recorder, "take1.wav")
    samples = read(folder / "take1.wav")
    assert np.array_equal(samples, expected)
    assert soundfile.info(folder / "take1.wav").subtype == "FLOAT"
    assert status["peak"] == np.abs(expected).max()
    assert status["seconds"] == len(expected) / 48000
    assert (status["name"], status["path"], status["error"]) == ("take1.wav", "take1.wav", "")
    assert status["lost_frames"] == 0
    assert not status["is_recording"]


@pytest.mark.parametrize(
    ("name", "subtype", "format"),
    [("a.wav", "24", "WAV"), ("a.flac", "float", "FLAC"), ("sets/one/A.FLAC", "24", "FLAC")],
)
def test_a_24_bit_file_is_within_half_a_step(
    name: str, subtype: str, format: str, rig: Rig, recorder: Recorder, folder: Path
) -> None:
    expected, status = take(rig, recorder, name, subtype)
    samples = read(folder / name)
    assert (soundfile.info(folder / name).format, soundfile.info(folder / name).subtype) == (format, "PCM_24")
    assert np.abs(samples.astype(np.float64) - expected).max() <= HALF_STEP
    assert status["path"] == name


def test_24_bit_rounds_to_the_nearest_and_clips() -> None:
    values = np.array([[0.0, 1.0, -1.0, 2.0, -2.0, 0.4 / 0x800000, 0.6 / 0x800000, -0.6 / 0x800000, np.nan]])
    steps = recording._to_24_bit(values.astype(np.float32)) >> 8
    assert steps.tolist() == [[0, 0x7FFFFF, -0x800000, 0x7FFFFF, -0x800000, 0, 1, -1, 0]]


def test_what_is_too_loud_stays_whole_in_float_and_is_clipped_in_24_bit(
    rig: Rig, recorder: Recorder, folder: Path
) -> None:
    patch = Patch()
    for id in ("a", "b", "c"):
        patch = patch.create(id, "simple_sine").set(id, "gain", 0.9)
    for name, subtype in (("f.wav", "float"), ("i.wav", "24")):
        first = rig.output.frames
        recorder.start(name, subtype)
        first = rig.commit(patch) - first
        rig.advance(4800)
        assert stopped(recorder)["peak"] > 2.6
        samples = read(folder / name)[first:]
        expected = pyengine.render(patch, frames=len(samples), channels=2)
        if subtype == "float":
            # the oscillators went on from the commit before in the second round only
            assert np.array_equal(samples, expected)
        else:
            assert samples.max() == 0x7FFFFF / 0x800000
            assert samples.min() == -1.0


def test_recordings_one_after_the_other_hold_their_own_frames_only(rig: Rig, recorder: Recorder, folder: Path) -> None:
    first = rig.commit(tone())
    for n in range(3):
        at = rig.output.frames
        recorder.start(f"{n}.wav")
        rig.advance(1000 + n)
        status = stopped(recorder)
        assert (status["first_frame"], status["frames"]) == (at, 1000 + n)
        whole = pyengine.render(tone(), frames=rig.output.frames - first, channels=2)
        assert np.array_equal(read(folder / f"{n}.wav"), whole[at - first :])
        if n != 1:
            rig.advance(777)  # not recorded
    assert sorted(path.name for path in folder.iterdir()) == ["0.wav", "1.wav", "2.wav"]


def test_a_recording_of_the_real_time_clock_has_no_gap(folder: Path) -> None:
    with Rig("none", lead=8) as rig:
        rig.commit(tone())
        recorder = Recorder(rig.segment, rig.output, folder)
        recorder.start("a.wav")
        wait_until(lambda: recorder.status()["frames"] > 9600)
        status = stopped(recorder)
        samples = read(folder / "a.wav")
        assert status["lost_frames"] == 0
        assert len(samples) == status["frames"]
        assert len(samples) % 64 == 0
        if rig.counters()["frames_underrun"] == 0:
            assert np.abs(np.diff(samples[:, 0])).max() < 0.2 * 2 * np.pi * 440 / 48000 * 1.001
        recorder.close()


def test_frames_that_were_not_fetched_in_time_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "POLL_S", 0.3)
    with Rig("none", tap_frames=1024) as rig:
        recorder = Recorder(rig.segment, rig.output, folder)
        for name in ("a.wav", "b.wav"):
            before = rig.segment.counter("tap_lost_frames")
            recorder.start(name)
            wait_until(lambda: recorder.status()["lost_frames"] > 0)
            status = stopped(recorder)
            assert status["lost_frames"] == rig.segment.counter("tap_lost_frames") - before
            assert len(read(folder / name)) == status["frames"]
        recorder.close()


# ---- start, stop, status ------------------------------------------------------------------------------


def test_the_status_tells_of_the_present_and_of_the_last_recording(rig: Rig, recorder: Recorder) -> None:
    idle = recorder.status()
    assert idle.pop("last") is None
    assert idle == {
        "is_recording": False,
        "name": "",
        "path": "",
        "first_frame": 0,
        "frames": 0,
        "seconds": 0.0,
        "lost_frames": 0,
        "peak": 0.0,
        "error": "",
        "warnings": [],
    }
    assert recorder.start("one.wav")["is_recording"]
    rig.advance(4800)
    wait_until(lambda: recorder.status()["frames"] == 4800)
    assert recorder.status()["last"] is None
    done = stopped(recorder)
    assert recorder.status() == {**done, "last": done}
    two = recorder.start("./two.wav")
    assert (two["name"], two["is_recording"], two["frames"]) == ("two.wav", True, 0)
    assert two["last"] == done
    assert "two.wav" in repr(recorder)


def test_stopping_without_a_start_says_so(recorder: Recorder) -> None:
    result = stopped(recorder)
    assert isinstance(result, RecordingError)
    assert str(result) == "not recording"


def test_stopping_twice_ends_once(rig: Rig, recorder: Recorder) -> None:
    recorder.start("a.wav")
    rig.advance(64)
    results: queue.Queue[Any] = queue.Queue()
    recorder.stop(results.put)
    recorder.stop(results.put)
    answers = [results.get(timeout=10), results.get(timeout=10)]
    assert sum(isinstance(answer, RecordingError) for answer in answers) == 1
    assert sum(isinstance(answer, dict) and answer["frames"] == 64 for answer in answers) == 1


def test_starting_twice_is_refused_and_disturbs_nothing(rig: Rig, recorder: Recorder, folder: Path) -> None:
    recorder.start("a.wav")
    with pytest.raises(RecordingError, match=r"already recording 'a\.wav'"):
        recorder.start("b.wav")
    rig.advance(100)
    assert stopped(recorder)["frames"] == 100
    assert [path.name for path in folder.iterdir()] == ["a.wav"]


def test_a_paused_clock_ends_a_recording_with_all_that_was_played(rig: Rig, recorder: Recorder) -> None:
    recorder.start("a.wav")
    assert stopped(recorder)["frames"] == 0  # the callback never came
    recorder.start("b.wav")
    rig.advance(123)
    assert stopped(recorder)["frames"] == 123  # nor will it come again


def test_a_running_clock_ends_a_recording_at_the_next_request(folder: Path) -> None:
    with Rig("none") as rig:
        recorder = Recorder(rig.segment, rig.output, folder)
        recorder.start("a.wav")
        wait_until(lambda: recorder.status()["frames"] > 0)
        stopped(recorder)
        assert not rig.output.is_recording
        assert rig.segment.read_tap(1 << 16) == b""
        recorder.close()


def test_on_done_runs_in_the_recorders_own_thread_and_may_start_the_next(rig: Rig, recorder: Recorder) -> None:
    recorder.start("a.wav")
    threads: queue.Queue[Any] = queue.Queue()

    def done(_: Any) -> None:
        threads.put(threading.current_thread().name)
        threads.put(recorder.start("b.wav")["name"])

    recorder.stop(done)
    assert [threads.get(timeout=10), threads.get(timeout=10)] == ["pe-recorder", "b.wav"]


def test_close_ends_the_recording_and_does_no_harm_twice(rig: Rig, recorder: Recorder, folder: Path) -> None:
    recorder.start("a.wav")
    rig.advance(100)
    recorder.close()
    recorder.close()
    assert len(read(folder / "a.wav")) == 100
    assert not recorder.status()["is_recording"]


# ---- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is no file name"),
        (None, "is no file name"),
        (7, "is no file name"),
        ("take.1", r"must end in \.wav or \.flac"),
        ("sets/", r"must end in \.wav or \.flac"),
        ("take1.mp3", r"must end in \.wav or \.flac"),
        (".wav", r"must end in \.wav or \.flac"),
        (".", "must end in"),
        ("..", "must end in"),
        ("/tmp/take1.wav", "leads out"),
        ("../take1.wav", "leads out"),
        ("a/../../take1.wav", "leads out"),
        ("a/../take1.wav", "leads out"),
        ("take\0.wav", "character"),
        ("take\n.wav", "character"),
        ("..\\take1.wav", "character"),
        ("take\udcff.wav", "character"),
        ("folder.wav", "is a folder"),
        ("take1.wav/", "is a folder"),
        ("x" * 300 + ".wav", "too long"),
        ("x/" * 3000 + "y.wav", "too long"),
        ("link/take1.wav", "through a link"),
        ("file.wav", "through a link"),
        ("dangling.wav", "through a link"),
        ("loop/a.wav", "cannot be used|through a link|cannot record"),
        ("there.wav/a.wav", "cannot record|cannot be used"),
    ],
)
def test_a_bad_name_is_refused_and_leaves_nothing(
    name: Any, message: str, recorder: Recorder, folder: Path, tmp_path: Path
) -> None:
    (folder / "folder.wav").mkdir(parents=True)
    (folder / "there.wav").touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file.wav").write_bytes(b"precious")
    (folder / "link").symlink_to(outside)
    (folder / "file.wav").symlink_to(outside / "file.wav")
    (folder / "dangling.wav").symlink_to(outside / "new.wav")
    (folder / "loop").symlink_to(folder / "loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordingError, match=message):
        recorder.start(name)
    assert sorted(tmp_path.rglob("*")) == before
    assert (outside / "file.wav").read_bytes() == b"precious"
    assert not recorder.status()["is_recording"]


@pytest.mark.parametrize("name", ["take1", "sets/take1", "sets.old/take 1"])
def test_a_name_without_an_ending_is_one_of_a_wav(name: str, rig: Rig, recorder: Recorder, folder: Path) -> None:
    assert recorder.start(name)["name"] == f"{name}.wav"
    rig.output.process(64)
    stopped(recorder)
    assert soundfile.info(folder / f"{name}.wav").format == "WAV"
    with pytest.raises(RecordingError, match=rf"'{name}\.wav' exists already; '{name}-2\.wav' is free"):
        recorder.start(name)


def test_a_link_that_stays_inside_is_fine(rig: Rig, recorder: Recorder, folder: Path) -> None:
    (folder / "monday").mkdir(parents=True)
    (folder / "today").symlink_to(folder / "monday")
    recorder.start("today/a.wav")
    stopped(recorder)
    assert (folder / "monday" / "a.wav").exists()


def test_a_file_that_exists_is_never_overwritten(recorder: Recorder, folder: Path) -> None:
    folder.mkdir()
    for name in ("take1.wav", "take1-2.wav"):
        (folder / name).write_bytes(b"precious")
    with pytest.raises(RecordingError, match=r"'take1\.wav' exists already; 'take1-3\.wav' is free"):
        recorder.start("take1.wav")
    assert (folder / "take1.wav").read_bytes() == b"precious"


def test_another_subtype_is_refused_naming_the_valid_ones(recorder: Recorder) -> None:
    with pytest.raises(RecordingError, match="'16' is none of float, 24"):
        recorder.start("a.wav", "16")


def test_a_folder_that_cannot_be_made_is_a_clear_error(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder(rig.segment, rig.output, tmp_path / "file" / "recordings")
    with pytest.raises(RecordingError, match=r"'a\.wav'.*Not a directory"):
        recorder.start("a.wav")
    for folder, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "deeper", "Not a directory")):
        said = f"its folder '{folder}' cannot be made: {why}, a file is in its place; name a folder that can be written"
        with pytest.raises(RecordingError, match=re.escape(said)):
            Recorder(rig.segment, rig.output, folder).start("a.wav")


@pytest.mark.parametrize("text", ["raise OSError('sndfile library not found')", "import nix_da"])
def test_without_soundfile_the_message_names_what_to_install(
    text: str, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "soundfile.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "soundfile")
    with pytest.raises(RecordingError, match="libsndfile1"):
        recorder.start("a.wav")


def test_a_rate_that_no_file_can_have_is_refused(folder: Path) -> None:
    with Rig(sample_rate_hz=44100.5) as rig, pytest.raises(RecordingError, match="whole number"):
        Recorder(rig.segment, rig.output, folder).start("a.wav")


# ---- disks that fill up -------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 64 kB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"cannot mount a small file system here: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def small_files(folder: Path) -> Iterator[None]:
    """Limit the size of files to 64 kB. Python ignores SIGXFSZ from its start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "reason"), [(small_disk, "No space left on device"), (small_files, "File too large")]
)
@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "float"), ("a.wav", "24"), ("a.flac", "float")])
def test_a_full_disk_ends_the_recording_and_nothing_else(
    name: str,
    subtype: str,
    limit: Callable[[Path], contextlib.AbstractContextManager[None]],
    reason: str,
    rig: Rig,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(rig.segment, rig.output, folder)
    first = rig.commit(tone())
    at = rig.output.frames
    with limit(folder):
        recorder.start(name, subtype)
        rig.advance(480_000)  # plays on to its end
        wait_until(lambda: not recorder.status()["is_recording"])
        status = recorder.status()
        assert status["error"] == reason
        assert 0 < status["frames"] < 480_000
        (line,) = [r for r in caplog.records if r.levelname == "ERROR"]
        assert reason in line.getMessage()
        result = stopped(recorder)
        assert isinstance(result, RecordingError)
        assert reason in str(result)
        with soundfile.SoundFile(folder / name) as file:  # what was written can be read
            samples = file.read(min(status["frames"], 8192), dtype="float32")
        assert len(samples) >= 4096
        played = pyengine.render(tone(), frames=at - first + len(samples), channels=2)[at - first :]
        assert np.abs(samples.astype(np.float64) - played).max() <= HALF_STEP
        os.unlink(folder / name)
    assert rig.counters()["frames_underrun"] == 0
    rig.advance(64)
    assert rig.output.frames == at + 480_064
    recorder.start("next.wav")  # and there is room again
    rig.advance(100)
    assert stopped(recorder)["frames"] == 100
    recorder.close()
    os.unlink(folder / "next.wav")


def test_a_disk_that_is_full_already_is_told_and_leaves_nothing(rig: Rig, recorder: Recorder, folder: Path) -> None:
    with small_disk(folder):
        with contextlib.suppress(OSError), open(folder / "all.bin", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(RecordingError, match=r"cannot record into 'a\.wav': No space left on device; nothing"):
            recorder.start("a.wav")
        assert [path.name for path in folder.iterdir()] == ["all.bin"] and len(os.listdir("/proc/self/fd")) == before
        os.unlink(folder / "all.bin")
        recorder.start("a.wav")
        stopped(recorder)


@pytest.mark.parametrize(
    ("name", "subtype", "said"), [("a", "float", "what plays it will"), ("a.flac", "24", "is cut off")]
)
def test_a_peak_beyond_full_scale_is_told_with_what_to_do(
    name: str, subtype: str, said: str, rig: Rig, recorder: Recorder
) -> None:
    rig.commit(tone())
    recorder.start("soft")
    rig.advance(4800)
    assert stopped(recorder)["warnings"] == []
    rig.commit(Patch(next_handle=50).create("loud", "simple_sine").set("loud", "gain", 2.0))
    recorder.start(name, subtype)
    rig.advance(4800)
    (warning,) = stopped(recorder)["warnings"]
    assert "its peak of 2.00 is 6.0 dB beyond full scale" in warning and said in warning and "limiter" in warning


def test_a_stop_just_when_the_disk_is_full_is_answered(
    rig: Rig, recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "POLL_S", 5.0)  # nothing is written before the stop
    with small_files(folder):
        recorder.start("a.wav")
        rig.advance(48000)
        result = stopped(recorder)
    assert isinstance(result, RecordingError)
    assert "'a.wav' ended early" in str(result)
    assert "File too large" in str(result)


def test_a_wav_ends_with_an_error_before_its_sizes_overflow(
    rig: Rig, recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_WAV_BYTES", 80_000)
    recorder.start("a.wav")
    rig.advance(48000)
    wait_until(lambda: not recorder.status()["is_recording"])
    assert "4 GB" in recorder.status()["error"]
    assert "FLAC" in recorder.status()["error"]
    assert len(read(folder / "a.wav")) == recorder.status()["frames"] <= 10_000
    recorder.start("a.flac")
    rig.advance(48000)
    assert stopped(recorder)["frames"] == 48000

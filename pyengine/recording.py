"""Recordings: a thread writes to a file what the callback put into the record tap.

What is in a float WAV is bit for bit what was played. Nothing here is real time: a slow or full disk costs
the recording, never the sound.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine import _native
from pyengine.errors import RecordingError, shown

if TYPE_CHECKING:  # an engine that records nothing starts sooner without numpy
    import numpy as np
    import numpy.typing as npt

logger = logging.getLogger(__name__)

SUBTYPES = ("float", "24")
FORMATS = {  # (suffix, subtype asked for) -> libsndfile's format and subtype
    (".wav", "float"): ("WAV", "FLOAT"),
    (".wav", "24"): ("WAV", "PCM_24"),
    (".flac", "float"): ("FLAC", "PCM_24"),  # there is no FLAC of floats
    (".flac", "24"): ("FLAC", "PCM_24"),
}
SUFFIXES = (".wav", ".flac")
MAX_WAV_BYTES = 0xFFFFFFFF - 0x10000  # a WAV counts its bytes in 32 bits, its header included

_ELSEWHERE = "name a folder that can be written with --recordings"
POLL_S = 0.02  # the tap wakes nobody, so as to cost the callback nothing; its ring holds seconds
CHUNK_FRAMES = 1 << 12
STALLED_S = 0.1  # no callback for so long: none is under way
Done = Callable[["dict[str, Any] | RecordingError"], None]


@dataclass
class _Take:
    """One recording. Written by the recorder's thread alone; others read."""

    name: str
    path: Path
    file: Any
    descriptor: int
    is_float: bool
    max_frames: int
    sample_rate_hz: float
    lost_before: int
    first_frame: int = 0  # of the engine's output, where the file begins
    frames: int = 0
    peak: float = 0.0
    lost_frames: int = 0
    error: str = ""
    is_recording: bool = True

    def status(self) -> dict[str, Any]:
        return {
            "is_recording": self.is_recording,
            "name": self.name,
            "path": self.name,
            "first_frame": self.first_frame,
            "frames": self.frames,
            "seconds": self.frames / self.sample_rate_hz,
            "lost_frames": self.lost_frames,
            "peak": self.peak,
            "error": self.error,
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        if self.peak <= 1.0:
            return []
        text = f"its peak of {self.peak:.2f} is {20 * math.log10(self.peak):.1f} dB beyond full scale"
        then = "what plays it will cut that off" if self.is_float else "in this format that is cut off"
        return [f"{text}; {then}: lower a gain, or put a limiter behind all that is heard"]


_NOTHING: dict[str, Any] = {
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


class Recorder:
    """Records into files below `folder`. start, stop, status and close are called from one thread."""

    def __init__(self, segment: _native.Segment, output: _native.Output, folder: Path) -> None:
        self._segment = segment
        self._output = output
        self._folder = Path(folder)
        self._take: _Take | None = None
        self._last: _Take | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._done: Done | None = None
        self._lock = threading.Lock()  # over _take, _last, _done and _ending

    def __repr__(self) -> str:
        take = self._take
        return f"<Recorder {str(self._folder)!r} {'recording ' + repr(take.name) if take else 'idle'}>"

    def start(self, name: str, subtype: str = "float") -> dict[str, Any]:
        """Record into folder/name from the next request of the device on; return the status.

        name: ending in .wav or .flac, or in neither for .wav, inside the folder, of no file that exists. subtype:
        'float', 32 bit as played, or '24'; FLAC is 24 bit either way. Raises RecordingError.
        """
        if self._take:
            raise RecordingError(f"already recording {shown(self._take.name)}; stop that one first")
        self.join()
        name, format, file_subtype = _format(name, subtype)
        path, relative = place_inside(self._folder, name)
        config = self._segment.config
        file, descriptor = _create(path, relative, format, file_subtype, config)
        frame_bytes = config.n_channels * (4 if file_subtype == "FLOAT" else 3)
        while self._segment.read_tap(CHUNK_FRAMES):
            pass  # what a callback put there after an earlier recording's end was given up
        self._take = _Take(
            name=relative,
            path=path,
            file=file,
            descriptor=descriptor,
            is_float=file_subtype == "FLOAT",
            max_frames=MAX_WAV_BYTES // frame_bytes if format == "WAV" else 1 << 62,
            sample_rate_hz=config.sample_rate_hz,
            lost_before=self._segment.counter("tap_lost_frames"),
            first_frame=self._output.frames,
        )
        self._ending.clear()
        self._done = None
        self._output.record(True)
        self._thread = threading.Thread(target=self._run, args=(self._take,), name="pe-recorder", daemon=True)
        self._thread.start()
        logger.info("recording started name=%r format=%s subtype=%s", relative, format, file_subtype)
        return self.status()

    def stop(self, on_done: Done) -> None:
        """End the recording after the request under way. on_done gets the status of the closed file, or the
        error that says why nothing is recorded; from the recorder's own thread, or at once if that is so.
        """
        with self._lock:
            refusal = self._refusal_to_stop()
            if refusal is None:
                self._done = on_done
                self._output.record(False)
                self._ending.set()
        if refusal is not None:
            on_done(refusal)

    def _refusal_to_stop(self) -> RecordingError | None:
        if self._take and self._ending.is_set():
            return RecordingError(f"the recording {shown(self._take.name)} is being ended already")
        if self._take:
            return None
        last = self._last
        return RecordingError(f"not recording; {_ended(last)}" if last and last.error else "not recording")

    def status(self) -> dict[str, Any]:
        """Return is_recording, name, path (both relative to the folder), frames, seconds, lost_frames, peak,
        error and warnings of the present recording, or of the last one; and as `last` those of the last that ended.
        """
        with self._lock:
            take, last = self._take, self._last
        now = take or last
        return {**(now.status() if now else _NOTHING), "last": last.status() if last else None}

    def join(self) -> None:
        """Wait for the end of a recording that is being ended."""
        thread, self._thread = self._thread, None
        if thread and thread is not threading.current_thread():
            thread.join()

    def close(self) -> None:
        """End a recording and wait until its file is closed. Twice without harm."""
        self.stop(lambda _: None)
        self.join()

    # ---- the recorder's thread -----------------------------------------------------------------------

    def _run(self, take: _Take) -> None:
        try:
            while not self._ending.is_set():
                self._drain(take)
                self._ending.wait(POLL_S)
            self._wait_for_callback()
            self._drain(take)
        except Exception as error:  # whatever the file system or libsndfile come up with
            take.error = _text(_true_reason(take.descriptor, error))
        self._output.record(False)
        try:
            take.file.close()
        except Exception as error:
            take.error = take.error or _text(error)
        self._finish(take)

    def _finish(self, take: _Take) -> None:
        level = logging.ERROR if take.error else logging.INFO
        take.is_recording = False
        logger.log(
            level,
            "recording ended name=%r frames=%d seconds=%.3f peak=%.4f lost_frames=%d%s",
            take.name,
            take.frames,
            take.frames / take.sample_rate_hz,
            take.peak,
            take.lost_frames,
            f" error={take.error!r}" if take.error else "",
        )
        with self._lock:
            self._last, self._take = take, None
            done = self._done
        if done:
            done(RecordingError(_ended(take)) if take.error else take.status())

    def _wait_for_callback(self) -> None:
        """Return when no callback can feed the tap any more: one that came after record(False) has ended, or
        none is under way, as on a paused clock or a dead device.
        """
        before = frames = self._output.frames
        moved_s = time.monotonic()
        while time.monotonic() - moved_s < STALLED_S:
            now = self._output.frames
            if now != before and not self._output.is_recording:
                return
            if now != frames:
                frames, moved_s = now, time.monotonic()
            time.sleep(POLL_S / 10)

    def _drain(self, take: _Take) -> None:
        """Write all that is in the tap."""
        import numpy as np

        n_channels = self._segment.config.n_channels
        while data := self._segment.read_tap(CHUNK_FRAMES):
            frames = np.frombuffer(data, np.float32).reshape(-1, n_channels)
            if take.frames == 0:
                # tap_start is not told anew where no callback came between two recordings
                take.first_frame = max(take.first_frame, self._output.tap_start)
            take.lost_frames = self._segment.counter("tap_lost_frames") - take.lost_before
            if take.frames + len(frames) > take.max_frames:
                raise RecordingError(
                    f"a WAV file holds no more than 4 GB; stopped after {take.frames} frames; "
                    "go on in a new file, or record FLAC"
                )
            take.file.write(frames if take.is_float else _to_24_bit(frames))
            take.frames += len(frames)
            take.peak = max(take.peak, float(np.abs(frames).max()))


def _to_24_bit(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Return the nearest 24-bit values, in the upper bits of 32. libsndfile would cut off, not round."""
    import numpy as np

    scaled = np.rint(np.nan_to_num(frames.astype(np.float64)) * 0x800000)
    return np.clip(scaled, -0x800000, 0x7FFFFF).astype(np.int32) << 8


# ---- files ---------------------------------------------------------------------------------------------


def _format(name: str, subtype: str) -> tuple[str, str, str]:
    """Return the name with its suffix, and libsndfile's format and subtype."""
    if not isinstance(name, str) or not name:
        raise RecordingError(f"{shown(name)} is no file name; give one such as 'take1.wav'")
    last = name.rpartition("/")[2]
    if last and "." not in last:
        name += SUFFIXES[0]
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise RecordingError(f"file name {shown(name)} must end in {' or '.join(SUFFIXES)}")
    if subtype not in SUBTYPES:
        raise RecordingError(f"subtype {shown(subtype)} is none of {', '.join(SUBTYPES)}")
    return name, *FORMATS[suffix, subtype]


def place_inside(folder: Path, name: str) -> tuple[Path, str]:
    """Return (path, name relative to the folder); raise RecordingError for a name that leads out of it."""
    if not name.isprintable() or "\\" in name:
        raise RecordingError(f"file name {shown(name)} holds a character it may not have")
    if name.endswith("/"):
        raise RecordingError(f"{shown(name)} is a folder; give a file name")
    given = Path(name)
    if given.is_absolute() or ".." in given.parts:
        raise RecordingError(f"file name {shown(name)} leads out of the recordings folder; leave out '/' and '..'")
    try:
        root = folder.resolve()
        path = root / given
        if not path.parent.resolve().is_relative_to(root) or not path.resolve().is_relative_to(root):
            raise RecordingError(f"file name {shown(name)} leads out of the recordings folder through a link")
        if path.is_dir():
            raise RecordingError(f"{shown(name)} is a folder; give a file name")
        if os.path.lexists(path):
            raise RecordingError(f"{shown(name)} exists already; {shown(_free_name(path, root))} is free")
    except (OSError, ValueError, RuntimeError) as error:  # too long, not encodable, a loop of links
        raise RecordingError(f"file name {shown(name)} cannot be used: {_text(error)}") from error
    return path, str(given)


def _free_name(path: Path, root: Path) -> str:
    n = 2
    while os.path.lexists(free := path.with_name(f"{path.stem}-{n}{path.suffix}")):
        n += 1
    return str(free.relative_to(root))


def _create(path: Path, name: str, format: str, subtype: str, config: _native.Config) -> tuple[Any, int]:
    """Return the open sound file and its descriptor, made anew; O_EXCL never overwrites."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        how = "pip install soundfile, and apt install libsndfile1 (macOS: brew install libsndfile)"
        raise RecordingError(f"cannot record: {error}; install what is missing: {how}") from error
    rate_hz = round(config.sample_rate_hz)
    if rate_hz != config.sample_rate_hz:
        raise RecordingError(f"a sound file cannot have the rate {config.sample_rate_hz} Hz; use a whole number")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = ", a file is in its place" if isinstance(error, (FileExistsError, NotADirectoryError)) else ""
        text = f"its folder {shown(str(path.parent), 300)} cannot be made: {_text(error)}{what}"
        raise RecordingError(f"cannot record into {shown(name)}: {text}; {_ELSEWHERE}") from error
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as error:
        text = f"cannot record into {shown(name)} in {shown(str(path.parent), 300)}: {_text(error)}"
        raise RecordingError(f"{text}; {_ELSEWHERE}") from error
    spare = os.dup(descriptor)  # libsndfile closes the other one where it fails
    try:
        return soundfile.SoundFile(
            descriptor, "w", rate_hz, config.n_channels, subtype=subtype, format=format, closefd=True
        ), descriptor
    except Exception as error:
        why = _text(_true_reason(spare, error))
        os.unlink(path)
        raise RecordingError(f"cannot record into {shown(name)}: {why}; nothing is recorded") from error
    finally:
        os.close(spare)


def _ended(take: _Take) -> str:
    return f"the recording {shown(take.name)} ended early, after {take.frames} frames: {take.error}"


def _true_reason(descriptor: int, error: Exception) -> Exception:
    """Return the error of the file system behind libsndfile's "System error": write again and see."""
    if isinstance(error, (OSError, RecordingError)):
        return error
    try:
        n_bytes = os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(4096), n_bytes)
        os.ftruncate(descriptor, n_bytes)
    except OSError as reason:
        return reason
    return error


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

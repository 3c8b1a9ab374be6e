"""Samples: recordings in WAV, FLAC or AIFF files, at the engine's rate, each held once whoever plays it.

A sampler's data are {'file': 'kick.wav', 'sha256': ...}: the hash, of the file's bytes, is filled in when the file has
been read, and from then on the patch means what was in it. Files lie inside one folder. A worker is given what is in
them by descriptor, through its patch queue.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import struct
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine import _native
from pyengine.errors import EngineError, Fault, PatchError, merged, shown
from pyengine.node_data import SAMPLE
from pyengine.patch import Node, Patch
from pyengine.specs import nearest_name

if TYPE_CHECKING:  # numpy is loaded when the first file is read
    import numpy as np
    import numpy.typing as npt

logger = logging.getLogger(__name__)

MAX_SAMPLE_BYTES = 256 << 20  # of one at the engine's rate: 11 minutes in stereo at 48 kHz
MAX_HELD_BYTES = 1 << 30  # of all
MAX_NAME = 255
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF")

_MAGIC = 0x31534550  # csrc/dsp/sample.h
_HEAD = struct.Struct("=IIQQ40x")
_LOUD_FRAMES = 64  # in front of the loudest one, where a warm-up begins
_LIMIT = 1e6  # PE_SAMPLE_LIMIT
_HASH = re.compile(r"[0-9a-f]{64}")
_SEALS = (1033, 0x0002 | 0x0004 | 0x0010)  # F_ADD_SEALS; it cannot shrink, grow, nor be written again


class SampleData:
    """The data of a sampler, a Kind of node_data.py."""

    def check(self, patch: Patch, node: Node, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return {'file': name} and the hash, if it is given. Raises PatchError; looks at no file."""
        for key in data:
            if key not in ("file", "sha256"):
                nearest = nearest_name(str(key), ("file", "sha256"))
                hint = f"did you mean {nearest!r}? " if nearest else ""
                raise PatchError(Fault(f"a sample has no {shown(key)}; {hint}known: file, sha256", node=node.id))
        file, sha256 = data.get("file"), data.get("sha256")
        if not isinstance(file, str) or not file or len(file) > MAX_NAME or not file.isprintable() or "\\" in file:
            text = f"{shown(file)} is no file of a sample; give a name such as 'kick.wav', inside the samples folder"
            raise PatchError(Fault(text, node=node.id))
        if sha256 is not None and (not isinstance(sha256, str) or not _HASH.fullmatch(sha256)):
            raise PatchError(Fault(f"sha256={shown(sha256)} is no hash; leave it out, it is filled in", node=node.id))
        return {"file": file} | ({"sha256": sha256} if sha256 else {})

    def compile(self, patch: Patch, node: Node) -> bytes:
        """Return what stands for the sample, b"" while its file has not been read."""
        return SAMPLE + node.data["sha256"].encode() if "sha256" in node.data else b""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was in a file. content: as csrc/dsp/sample.h has it. rate_hz: of the file."""

    sha256: str
    n_frames: int
    n_channels: int
    rate_hz: float
    content: bytes


def encode(frames: npt.NDArray[np.float32]) -> bytes:
    """Return samples, float32 (frames, channels), as the sampler reads them."""
    import numpy as np

    taken = np.ascontiguousarray(np.clip(frames, -_LIMIT, _LIMIT), np.float32)
    loud = max(0, int(np.argmax(np.abs(taken).max(axis=1))) - _LOUD_FRAMES)
    return _HEAD.pack(_MAGIC, taken.shape[1], len(taken), loud) + taken.tobytes()


def locate(folder: Path, file: str) -> Path:
    """Return the path of a file inside the folder. Raises PatchError: outside, or not there."""
    given = Path(file)
    if given.is_absolute() or ".." in given.parts:
        raise PatchError(f"sample {shown(file)} leads out of the samples folder; leave out a leading '/' and '..'")
    try:
        root = folder.resolve()
        path = (root / given).resolve()
        if not path.is_relative_to(root):
            raise PatchError(f"sample {shown(file)} leads out of the samples folder through a link")
        if path.is_file():
            return path
        there = sorted(p.name for p in path.parent.iterdir() if p.is_file()) if path.parent.is_dir() else []
    except (OSError, ValueError, RuntimeError) as error:
        raise PatchError(f"sample {shown(file)} cannot be used: {error}") from error
    nearest = nearest_name(given.name, there)
    hint = f"did you mean {shown(str(given.with_name(nearest)))}? " if nearest else ""
    text = f"sample {shown(file)} is not in the samples folder {shown(str(folder))}"
    raise PatchError(Fault(f"{text}; {hint}put it there, or name another folder with --samples", nearest=nearest))


def inspect(path: Path, file: str, sample_rate_hz: float) -> dict[str, Any]:
    """Return frames, channels and rate of a file. Raises PatchError: not audio, empty, too many channels, too large."""
    if path.stat().st_size > MAX_HELD_BYTES:
        raise PatchError(_too_large(file, path.stat().st_size, MAX_HELD_BYTES))
    with _open(path, file) as sound:
        facts = {"frames": sound.frames, "channels": sound.channels, "rate": float(sound.samplerate)}
        kind = sound.format
    if kind not in FORMATS:
        raise PatchError(f"sample {shown(file)} is {kind}; give WAV, FLAC or AIFF")
    if not facts["frames"]:
        raise PatchError(f"sample {shown(file)} is empty; give a file with sound in it")
    if facts["channels"] > 2:
        raise PatchError(f"sample {shown(file)} has {facts['channels']} channels; give mono or stereo")
    n_bytes = round(4 * facts["frames"] * facts["channels"] * max(1.0, sample_rate_hz / facts["rate"]))
    if n_bytes > MAX_SAMPLE_BYTES:
        raise PatchError(_too_large(file, n_bytes, MAX_SAMPLE_BYTES))
    return facts


def read(path: Path, file: str, sample_rate_hz: float) -> Sample:
    """Return what is in a file, at a rate. Raises PatchError that says why not."""
    import numpy as np

    inspect(path, file, sample_rate_hz)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PatchError(f"sample {shown(file)} cannot be read: {error.strerror or error}") from error
    with _open(io.BytesIO(data), file) as sound:
        try:
            frames = sound.read(dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise PatchError(f"sample {shown(file)} is damaged: {error}") from error
        rate_hz = float(sound.samplerate)
    if not len(frames) or not np.isfinite(frames).all():
        text = "holds samples that are NaN or infinite" if len(frames) else "is cut off: there is no sound in it"
        raise PatchError(f"sample {shown(file)} {text}; mend the file")
    if rate_hz != sample_rate_hz:
        frames = _resampled(frames, rate_hz, sample_rate_hz)
    content = encode(frames)
    if len(content) - _HEAD.size > MAX_SAMPLE_BYTES:
        raise PatchError(_too_large(file, len(content), MAX_SAMPLE_BYTES))
    return Sample(hashlib.sha256(data).hexdigest(), len(frames), frames.shape[1], rate_hz, content)


def _open(source: Path | io.BytesIO, file: str) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise EngineError(f"samples need soundfile: {error}; pip install soundfile") from error
    try:
        return soundfile.SoundFile(source)
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        raise PatchError(f"sample {shown(file)} is not audio: {error}; give WAV, FLAC or AIFF") from error


def _resampled(frames: npt.NDArray[np.float32], from_hz: float, to_hz: float) -> npt.NDArray[np.float32]:
    try:
        import soxr
    except ImportError as error:
        text = f"a sample of {from_hz:g} Hz has to be resampled to {to_hz:g} Hz"
        raise PatchError(f"{text}: pip install 'pyengine[sampler]', or give one of that rate") from error
    resampled: npt.NDArray[np.float32] = soxr.resample(frames, from_hz, to_hz, quality="VHQ")
    return resampled if len(resampled) else frames[:1]


def _too_large(file: str, n_bytes: int, most: int) -> Fault:
    text = f"sample {shown(file)} would take {n_bytes >> 20} MB, more than the {most >> 20} MB allowed"
    return Fault(f"{text}; cut it shorter", limit=most)


# ---- what is held -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """A sample in memory that nobody can change. fd: of it."""

    sha256: str
    fd: int
    n_bytes: int
    facts: Mapping[str, Any]


class Samples:
    """The samples of one engine, or of one render: read once, held until it is closed."""

    def __init__(self, folder: str | Path, sample_rate_hz: float) -> None:
        self.folder = Path(folder)
        self._rate_hz = sample_rate_hz
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._reader: ThreadPoolExecutor | None = None
        self._pending: dict[tuple[str, int, int], Future[Held]] = {}  # by path, time and size

    @property
    def n_bytes(self) -> int:
        """Bytes held, of all samples."""
        return sum(held.n_bytes for held in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def get(self, sha256: str) -> Held:
        """Return a sample by its hash. Raises EngineError: it was never read."""
        if sha256 not in self._held:
            raise EngineError(f"the sample {sha256[:12]}... is not held; commit the patch again")
        return self._held[sha256]

    def load_soon(self, file: str, done: Callable[[Held | EngineError], None]) -> None:
        """Read a file in a thread, which calls done. Raises PatchError at once for what can be seen at once."""
        path = locate(self.folder, file)
        inspect(path, file, self._rate_hz)
        future = self._future(path, file)

        def tell(future: Future[Held]) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, EngineError):
                error = PatchError(f"sample {shown(file)} cannot be read: {error}")
            done(error if isinstance(error, EngineError) else future.result())

        future.add_done_callback(tell)

    def load(self, file: str) -> Held:
        """Return what is in a file, from memory if it has not changed. Raises PatchError."""
        return self._future(locate(self.folder, file), file).result()

    def resolve(self, patch: Patch) -> None:
        """Read what a patch plays, and fill the hashes in. Raises one PatchError with all faults."""
        errors = []
        for node in list(patch.nodes.values()):
            if patch.spec(node.id).data != "sample" or not node.data or node.data.get("sha256") in self._held:
                continue
            try:
                held = self.load(node.data["file"])
                if node.data.get("sha256") not in (None, held.sha256):
                    text = f"{shown(node.data['file'])} is not the file that the patch was made with"
                    raise PatchError(f"sample {text}: its sha256 is {held.sha256}, not {node.data['sha256']}")
                patch.give(node.id, {"file": node.data["file"], "sha256": held.sha256})
            except PatchError as error:
                errors.append(PatchError([fault._replace(node=node.id) for fault in error.faults]))
        if errors:
            raise merged(errors)

    def data(self, patch: Patch) -> dict[str, _native.Data]:
        """Return what the plans of a resolved patch read, by hash."""
        wanted = {n.data["sha256"] for n in patch.nodes.values() if patch.spec(n.id).data == "sample" and n.data}
        return {sha256: _native.Data.map(held.fd, held.n_bytes) for sha256 in wanted if (held := self.get(sha256))}

    def close(self) -> None:
        if self._reader is not None:
            self._reader.shutdown(wait=True)
            self._reader = None
        for held in self._held.values():
            os.close(held.fd)
        self._held = {}

    def __enter__(self) -> Samples:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _future(self, path: Path, file: str) -> Future[Held]:
        stat = path.stat()
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        with self._lock:
            found = self._pending.get(key)
            if found is not None and not (found.done() and found.exception() is not None):
                return found
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, "pe-samples")
            future = self._pending[key] = self._reader.submit(self._read, path, file)
            return future

    def _read(self, path: Path, file: str) -> Held:
        sample = read(path, file, self._rate_hz)
        held = self._held.get(sample.sha256)
        if held is None:
            if self.n_bytes + len(sample.content) > MAX_HELD_BYTES:
                raise PatchError(
                    _too_large(f"{file} and those held", self.n_bytes + len(sample.content), MAX_HELD_BYTES)
                )
            facts = {
                "file": file,
                "sha256": sample.sha256,
                "frames": sample.n_frames,
                "channels": sample.n_channels,
                "seconds": sample.n_frames / self._rate_hz,
                "file_rate": sample.rate_hz,
            }
            held = Held(sample.sha256, _sealed(sample.content), len(sample.content), facts)
            self._held[sample.sha256] = held
            logger.info("sample read file=%r frames=%d channels=%d", file, sample.n_frames, sample.n_channels)
        return held


def _sealed(content: bytes) -> int:
    """Return a descriptor of memory that holds it and that nobody can change."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pyengine-sample", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    if hasattr(os, "memfd_create"):
        import fcntl

        try:
            fcntl.fcntl(fd, *_SEALS)
        except OSError as error:  # a kernel before 5.1
            logger.debug("sample not sealed: %s", error)
    return fd

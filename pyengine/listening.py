"""Listening to what is played: the last seconds of the output, described by a process of their own.

The callback keeps them (csrc/history.c). A thread of each request copies them out, starts a process that describes
them, niced, and waits for its answer: neither the engine's loop nor its interpreter has any work with it.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyengine import _native, recording
from pyengine.errors import CommandError, EngineError, RecordingError, shown

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 28  # kept at most
MAX_AT_ONCE = 2
TIMEOUT_S = 60.0
SUFFIX = ".png"
_BOOT = "import sys; sys.path[:] = {path!r}; from pyengine.ears.worker import main; main({arguments!r})"

Done = Callable[[Any], None]


class Listener:
    """Describes the last seconds of an output. `listen` and `close` are called by one thread, the engine's loop."""

    def __init__(self, output: _native.Output, folder: Path) -> None:
        self._output = output
        self._config = output.segment.config
        self._folder = Path(folder)
        self._kept_frames = 0
        self._lock = threading.Lock()  # over _asked and _is_closed
        self._asked: dict[threading.Thread, subprocess.Popen[bytes] | None] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Listener {self.kept_s:g} s kept, {len(self._asked)} listening>"

    @property
    def kept_s(self) -> float:
        """How many seconds of the output are kept."""
        return self._kept_frames / self._config.sample_rate_hz

    def keep(self, seconds: float) -> None:
        """Keep so many seconds from now on, or what 256 MB hold. Before the output is called for the first time."""
        most = MAX_BYTES // 4 // self._config.n_channels
        n_frames = min(most, round(seconds * self._config.sample_rate_hz))
        self._output.keep(n_frames)
        self._kept_frames = n_frames

    def listen(self, seconds: float, picture: str, on_done: Done) -> None:
        """Describe the last seconds; on_done gets the description, or the EngineError that says why there is none,
        from a thread of its own.

        picture: the name of a new file inside the folder, ending in .png, or ''. Raises CommandError where less is
        kept, nothing was played yet, or too many listen; RecordingError for a name that cannot be had.
        """
        self._check(seconds)
        path = self._picture(picture)
        with self._lock:
            if self._is_closed:
                raise CommandError("the engine is ending")
            if len(self._asked) >= MAX_AT_ONCE:
                raise CommandError(f"{MAX_AT_ONCE} are listening already; wait for their answers")
            n_frames = round(seconds * self._config.sample_rate_hz)
            thread = threading.Thread(
                target=self._run, args=(n_frames, picture, path, on_done), name="pe-listen", daemon=True
            )
            self._asked[thread] = None
        thread.start()

    def _check(self, seconds: float) -> None:
        if self._kept_frames == 0:
            raise CommandError("nothing is kept to listen to; start the engine with history_s (--history S)")
        least = 1 / self._config.sample_rate_hz
        if not least <= seconds <= self.kept_s:  # NaN too
            text = f"seconds={shown(seconds)} is outside {least:.2g}..{self.kept_s:g}, which is kept"
            raise CommandError(f"{text}; ask for less, or keep more (history_s, --history S)")
        if self._output.kept[0] == 0:
            raise CommandError("nothing has been put out yet; listen when something plays")

    def _picture(self, name: str) -> Path | None:
        if not name:
            return None
        if Path(name).suffix.lower() != SUFFIX:
            raise RecordingError(f"the picture's name {shown(name)} must end in {SUFFIX}")
        return recording.place_inside(self._folder, name)[0]

    def close(self) -> None:
        """End what is listening, and wait for it. Twice without harm."""
        with self._lock:
            self._is_closed = True
            asked = dict(self._asked)
        for process in asked.values():
            if process is not None:
                process.kill()
        for thread in asked:
            thread.join()

    # ---- a request's own thread ----------------------------------------------------------------------

    def _run(self, n_frames: int, name: str, path: Path | None, on_done: Done) -> None:
        try:
            result: Any = self._described(n_frames, name, path)
        except EngineError as error:
            result = error
        except Exception as error:  # no memory, no descriptor, no process
            logger.exception("listening failed")
            result = EngineError(f"could not listen: {error}")
        with self._lock:
            del self._asked[threading.current_thread()]
        on_done(result)

    def _described(self, n_frames: int, name: str, path: Path | None) -> dict[str, Any]:
        n_channels, rate_hz = self._config.n_channels, self._config.sample_rate_hz
        descriptor = _memory_file(4 * n_frames * n_channels)
        try:
            with mmap.mmap(descriptor, 4 * n_frames * n_channels) as memory:
                n_heard, first = self._output.listen(memory)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            end_s = (first + n_heard) / rate_hz
            answer = self._ask(
                descriptor,
                {
                    "frames": n_heard,
                    "channels": n_channels,
                    "rate_hz": rate_hz,
                    "is_preceded_by_silence": first == 0,
                    "picture": "" if path is None else str(path),
                    "title": f"{n_heard / rate_hz:.3g} s of what was put out, up to {end_s:.3f} s",
                },
            )
        finally:
            os.close(descriptor)
        answer["first_frame"] = first
        answer["picture"] = name
        answer["picture_path"] = "" if path is None else str(path)
        return answer

    def _ask(self, descriptor: int, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what a process of its own finds."""
        theirs, ours = os.pipe()
        try:
            arguments = json.dumps(asked | {"sound": descriptor, "lifeline": theirs})
            with self._lock:
                if self._is_closed:
                    raise EngineError("the engine is ending")
                process = subprocess.Popen(
                    [sys.executable, "-c", _BOOT.format(path=sys.path, arguments=arguments)],
                    pass_fds=(descriptor, theirs),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C in a terminal is the engine's business
                    env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
                self._asked[threading.current_thread()] = process
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise EngineError(f"no description within {TIMEOUT_S:g} s; ask for fewer seconds") from None
        finally:
            os.close(theirs)
            os.close(ours)
        return _found(out, err, process.returncode)


def _found(out: bytes, err: bytes, code: int) -> dict[str, Any]:
    try:
        answer = json.loads(out)
    except ValueError:
        last = err.decode("utf-8", "replace").strip().splitlines()
        why = last[-1] if last else f"it ended with {code}"
        raise EngineError(f"the process that listens failed: {why}") from None
    if "error" in answer:
        raise EngineError(answer["error"])
    found: dict[str, Any] = answer["found"]
    return found


def _memory_file(n_bytes: int) -> int:
    """Return the descriptor of a file without a name; in memory, where the system has such."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pyengine-listen", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, n_bytes)
    return descriptor

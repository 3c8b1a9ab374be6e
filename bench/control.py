"""A bare C thread with the period and the priority of the engine's clock, compiled on first use."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cffi import FFI

from pyengine import _native

HERE = Path(__file__).resolve().parent
ffi: Any = FFI()
ffi.cdef((HERE / "control.h").read_text(encoding="utf-8"))


@functools.cache
def _library() -> Any:
    with tempfile.TemporaryDirectory(prefix="pyengine-bench-") as folder:
        path = Path(folder) / "control.so"
        flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-pthread"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, str(HERE / "control.c"), "-o", str(path)], check=True)
        return ffi.dlopen(str(path))


class Pacer:
    """A thread that wakes every period and counts what it misses; with an output it is the audio clock itself.

    A context manager: the thread uses this object's memory, so it has to end before it.

    looks: so many times per period it also looks whether both rings are full again (that wakes it, and costs).
    """

    def __init__(
        self,
        period_ns: float,
        priority: int,
        *,
        output: _native.Output | None = None,
        n_frames: int = 0,
        lead_blocks: int = 0,
        looks: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self._output = output  # the thread calls it
        n_max = int(1e9 * seconds / period_ns) + 1000
        self._took_ns = np.zeros(n_max, np.uint32)
        self._filled_look = np.zeros(n_max, np.uint32)
        self.period_ns, self.looks = period_ns, looks
        self._p = ffi.new("Pacer *", {"period_ns": period_ns, "priority": priority, "looks": looks, "n_max": n_max})
        self._p.took_ns = ffi.cast("uint32_t *", self._took_ns.ctypes.data)
        self._p.filled_look = ffi.cast("uint32_t *", self._filled_look.ctypes.data)
        if output is not None:
            self._give_output(output, n_frames, lead_blocks)
        if not _library().pacer_start(self._p):
            raise RuntimeError("cannot start the control thread")

    def _give_output(self, output: _native.Output, n_frames: int, lead_blocks: int) -> None:
        self._buffer = ffi.new("float[]", n_frames * output.segment.config.n_channels)

        def address(name: str) -> int:
            return int(_native.ffi.cast("uintptr_t", _native.ffi.addressof(_native.lib, name)))

        p = self._p
        p.process = ffi.cast("void (*)(void *, float *, uint32_t)", address("pe_output_process"))
        p.play_block = ffi.cast("uint64_t (*)(const void *)", address("pe_gate_play_block"))
        p.render_head = ffi.cast("uint64_t (*)(const void *, uint32_t)", address("pe_seat_render_head"))
        p.output = ffi.cast("void *", int(_native.ffi.cast("uintptr_t", output.pointer)))
        p.segment = ffi.cast("void *", int(_native.ffi.cast("uintptr_t", output.segment.pointer)))
        p.buffer, p.n_frames, p.lead_blocks = self._buffer, n_frames, lead_blocks

    n_periods = property(lambda self: int(self._p.n_periods))
    missed_periods = property(lambda self: int(self._p.missed_periods))
    worst_late_ns = property(lambda self: int(self._p.worst_late_ns))
    is_realtime = property(lambda self: bool(self._p.is_realtime))

    @property
    def took_ns(self) -> np.ndarray[Any, Any]:
        """What each call of the callback took."""
        return self._took_ns[: min(self.n_periods, len(self._took_ns))]

    @property
    def filled_ns(self) -> np.ndarray[Any, Any]:
        """From each deadline to the look at which both rings were full again."""
        looks = self._filled_look[: min(self.n_periods, len(self._filled_look))]
        return looks * (self.period_ns / (self.looks + 1))

    def close(self) -> None:
        """End the thread. A second call does no harm."""
        if (p := getattr(self, "_p", None)) is not None:
            _library().pacer_stop(p)

    def __enter__(self) -> Pacer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

"""What a cable into a parameter that is set in steps must do, as the commands that do the same.

Written apart from csrc/sampled.c: from the signal of the whole run, not chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pyengine.specs import ParamSpec

RATE_HZ = 48000.0
LOOK, LOOK_EVENTS = 16, 64  # frames, as docs/modules.md tells

Samples = npt.NDArray[np.float32]
Settings = Sequence[tuple[int, float]]  # (frame, value), in order


def scaled(signal: Samples, depth: float = 1.0, offset: float = 0.0) -> Samples:
    """Return what comes out of a cable."""
    result: Samples = signal * np.float32(depth) + np.float32(offset)
    return result


def value_of(param: ParamSpec, setting: float, cable: float) -> float:
    low, high = param.range_at(RATE_HZ)
    if np.isnan(cable):
        return low
    value = min(max((0.0 if param.is_gate else setting) + cable, low), high)
    if param.is_gate:
        return float(value >= 0.5)
    return float(np.floor(value + 0.5)) if param.is_integer else value


def commands(param: ParamSpec, cable: Samples, settings: Settings = (), first: int = 0) -> list[tuple[int, float]]:
    """Return (frame, value) of what a cable sets, from frame `first` on, where it is connected.

    cable: what comes out of it, frame by frame. settings: of the parameter meanwhile; those before `first` too.
    """
    late = LOOK_EVENTS if param.cable_frames == LOOK_EVENTS else 0
    found: list[tuple[int, float]] = []
    setting = in_force = next((value for frame, value in reversed(settings) if frame < first), param.default)
    set_at = {frame for frame, _ in settings if frame >= first}
    for frame in range(first, len(cable)):
        setting = next((value for at, value in reversed(settings) if at == frame), setting)
        if frame not in set_at and (frame - first) % param.cable_frames:
            continue
        at = frame if not late else first + (frame - first) // late * late - late
        value = value_of(param, setting, float(cable[at]) if at >= first else 0.0)
        if value != in_force:
            found.append((frame, value))
        in_force = value
    return found

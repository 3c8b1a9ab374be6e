"""Render a patch to an array, through the same C code as live."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pyengine import _native
from pyengine.errors import CommandError, shown
from pyengine.patch import Patch, parse_op
from pyengine.plan import address, new_plan, prime

MAX_SECONDS = 24 * 3600.0
Event = tuple[float, Sequence[object]]


def render(
    patch: Patch,
    seconds: float | None = None,
    *,
    frames: int | None = None,
    events: Iterable[Event] = (),
    sample_rate: float = 48000,
    block_frames: int = 64,
    channels: int | None = None,
    immediate: bool = False,
) -> npt.NDArray[np.float32]:
    """Return what the patch sounds like from its first frame, as float32 (frames, channels).

    Give `seconds` or `frames`. events: (seconds, op) with op a 4-tuple as in priming, ('mod', id, param,
    value) or ('gate', id, None, value); each lands on the nearest frame, those of one frame in the order
    given; immediate=True leaves out their ramps. sample_rate: Hz, 1000 to 768000. block_frames: 1 to 8192;
    changes no bit of the result. channels: 1 to 8; every channel of a mono patch is the same; None: 1.
    Raises PatchError for a patch or an op that is wrong, CommandError for arguments that are.
    """
    n_frames = _frame_count(seconds, frames, sample_rate)
    n_channels = _whole("channels", 1 if channels is None else channels, 1, 8)
    _whole("block_frames", block_frames, 1, 8192)
    patch.validate(sample_rate)
    records = _records(patch, events, sample_rate, n_frames, immediate)
    out = np.zeros((n_frames, n_channels), dtype=np.float32)
    with new_plan(
        patch, sample_rate_hz=sample_rate, max_block_frames=block_frames, n_channels=n_channels
    ) as plan:
        prime(plan, patch, patch.ops(), sample_rate)
        if n_frames:
            plan.render(_native.commands(records), len(records), n_frames, block_frames, out)
    return out


def _records(
    patch: Patch, events: Iterable[Event], sample_rate: float, n_frames: int, immediate: bool
) -> list[_native.Record]:
    records = []
    for event in events:
        if not isinstance(event, (tuple, list)) or len(event) != 2:
            raise CommandError(f"{shown(event)} is no event; give (seconds, op)")
        at_s, op = event
        if isinstance(at_s, bool) or not isinstance(at_s, (int, float)) or not 0 <= at_s <= MAX_SECONDS:
            raise CommandError(f"an event at {shown(at_s)} s is outside 0..{MAX_SECONDS:g} s")
        handle, param, value = address(patch, parse_op(op, patch, sample_rate))
        frame = math.floor(at_s * sample_rate + 0.5)
        if frame < n_frames:
            records.append(_native.Record(handle, param, value, frame=frame, is_immediate=immediate))
    return sorted(records, key=lambda record: record.frame)


def _frame_count(seconds: float | None, frames: int | None, sample_rate: float) -> int:
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, float)):
        raise CommandError(f"sample_rate must be a number, not {shown(sample_rate)}")
    if not 1000 <= sample_rate <= 768000:
        raise CommandError(f"sample_rate={sample_rate:g} Hz is outside 1000..768000 Hz")
    if (seconds is None) == (frames is None):
        raise CommandError("give either seconds or frames, and not both")
    if frames is not None:
        return _whole("frames", frames, 0, int(MAX_SECONDS * sample_rate))
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_SECONDS:
        raise CommandError(f"seconds={shown(seconds)} is outside 0..{MAX_SECONDS:g}; render in pieces")
    return math.floor(seconds * sample_rate + 0.5)


def _whole(name: str, value: object, low: int, high: int) -> int:
    try:
        number = int(value.__index__())  # type: ignore[attr-defined]
    except AttributeError:
        raise CommandError(f"{name}={shown(value)} is not a whole number; give {low}..{high}") from None
    if isinstance(value, bool) or not low <= number <= high:
        raise CommandError(f"{name}={shown(value)} is outside {low}..{high}")
    return number

"""Render a patch to an array, through the same C code as live."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from pyengine import _native
from pyengine.errors import CommandError, shown
from pyengine.patch import Patch, parse_op
from pyengine.plan import Blueprint, all_addresses
from pyengine.specs import number_text

if TYPE_CHECKING:
    import numpy.typing as npt

_EVENT = "(0.5, ('gate', 'env1', None, 1)) or (0.5, ('mod', 'osc1', 'freq', 220.0))"
MAX_SECONDS = 24 * 3600.0
Number = float | np.floating[Any] | np.integer[Any]
Progress = Callable[[int, int], None]
Event = tuple[Number, Sequence[object]]
"""(seconds, op)."""


def render(
    patch: Patch,
    seconds: Number | None = None,
    *,
    frames: SupportsIndex | None = None,
    events: Iterable[Event] = (),
    sample_rate: Number = 48000,
    block_frames: SupportsIndex = 64,
    channels: SupportsIndex | None = None,
    immediate: bool = False,
    progress: Progress | None = None,
    samples: str | os.PathLike[str] = ".",
) -> npt.NDArray[np.float32]:
    """Return what the patch sounds like from its first frame, as float32 (frames, channels).

    Give `seconds` or `frames`, up to 24 hours. events: (seconds, op) in any order, with op a 4-tuple as in
    priming: ('mod', id, param, value) or ('gate', id, None, value). Each lands on the nearest frame, those of
    one frame in the order given, those beyond the end nowhere. A change ramps as it does live, but not at
    frame 0, and with immediate=True nowhere. sample_rate: Hz, 1000 to 768000. block_frames: 1 to 8192;
    changes no bit of the result. channels: 1 to 8, None for 2 where a
    module is heard on a side alone, otherwise 1; every channel of a mono patch is the same.
    An empty patch is silence. progress: called with (frames done, of all) now and then. samples: the folder that
    the files of samplers lie in. Raises PatchError for a
    patch or an op that is wrong, CommandError for an argument that is.
    """
    if not isinstance(patch, Patch):
        raise CommandError(
            f"patch must be a Patch, not {shown(patch)}; Patch.from_json() reads one, load_patch() a file"
        )
    sample_rate_hz = _number("sample_rate", sample_rate, 1000, 768000, "Hz")
    n_frames = _frame_count(seconds, frames, sample_rate_hz)
    n_channels = _whole("channels", 1 + patch.is_stereo if channels is None else channels, 1, 8)
    n_block = _whole("block_frames", block_frames, 1, 8192)
    if not isinstance(immediate, (bool, np.bool_)):
        raise CommandError(f"immediate={shown(immediate)} is neither True nor False; give one of them")
    patch.validate(sample_rate_hz)
    records = _records(patch, events, sample_rate_hz, n_frames, bool(immediate))
    out = np.zeros((n_frames, n_channels), dtype=np.float32)
    patch, data = _with_samples(patch, samples, sample_rate_hz)
    blueprint = Blueprint.of(patch)
    with blueprint.plan(
        sample_rate_hz=sample_rate_hz, max_block_frames=n_block, n_channels=n_channels, samples=data
    ) as plan:
        plan.set_all(blueprint.settings)
        for first, end in _pieces(n_frames, n_block, progress is not None):
            due = [replace(r, frame=r.frame - first) for r in records if first <= r.frame < end]
            plan.render(_native.commands(due), len(due), end - first, n_block, out[first:end])
            if progress is not None:
                progress(end, n_frames)
    return out


def _with_samples(
    patch: Patch, folder: str | os.PathLike[str], sample_rate_hz: float
) -> tuple[Patch, dict[str, _native.Data]]:
    """Return the patch with the hashes of what it plays, and what that is, by hash."""
    if not any(node.data and patch.spec(node.id).data == "sample" for node in patch.nodes.values()):
        return patch, {}
    from pyengine.samples import Samples

    with Samples(os.fspath(folder), sample_rate_hz) as held:
        patch = patch.copy()
        held.resolve(patch)
        return patch, held.data(patch)


def _pieces(n_frames: int, n_block: int, is_told: bool) -> Iterator[tuple[int, int]]:
    """Yield (first frame, end) of what is rendered at once: all, or whole blocks of about a hundredth of it."""
    step = max(-(-n_frames // 100 // n_block), 1) * n_block if is_told else max(n_frames, 1)
    for first in range(0, n_frames, step):
        yield first, min(first + step, n_frames)


def _records(
    patch: Patch, events: Iterable[Event], sample_rate_hz: float, n_frames: int, is_immediate: bool
) -> list[_native.Record]:
    if not isinstance(events, Iterable):
        raise CommandError(f"events must be a list of (seconds, op), not {shown(events)}")
    records = []
    for event in events:
        if not isinstance(event, (tuple, list)) or len(event) != 2:
            raise CommandError(f"{shown(event)} is no event; give (seconds, op), such as {_EVENT}")
        at_s = _number("the time of an event", event[0], 0, MAX_SECONDS, "s")
        frame = math.floor(at_s * sample_rate_hz + 0.5)
        for handle, param, value in all_addresses(patch, parse_op(event[1], patch, sample_rate_hz)):
            if frame < n_frames:
                records.append(_native.Record(handle, param, value, frame=frame, is_immediate=is_immediate))
    return sorted(records, key=lambda record: record.frame)


def _frame_count(seconds: Number | None, frames: SupportsIndex | None, sample_rate_hz: float) -> int:
    if (seconds is None) == (frames is None):
        raise CommandError("give either seconds or frames, and not both")
    if frames is not None:
        return _whole("frames", frames, 0, int(MAX_SECONDS * sample_rate_hz))
    return math.floor(_number("seconds", seconds, 0, MAX_SECONDS, "s") * sample_rate_hz + 0.5)


def _number(name: str, value: object, low: float, high: float, unit: str) -> float:
    allowed = f"{number_text(low)}..{number_text(high)} {unit}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CommandError(f"{name}={shown(value)} is not a number; give {allowed}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not low <= number <= high:
        raise CommandError(f"{name}={shown(value)} is outside {allowed}")
    return number


def _whole(name: str, value: object, low: int, high: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise CommandError(f"{name}={shown(value)} is not a whole number; give {low}..{high}") from None
    if isinstance(value, bool) or not low <= number <= high:
        raise CommandError(f"{name}={shown(value)} is outside {low}..{high}")
    return number

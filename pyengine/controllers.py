"""MIDI controllers that turn parameters: '74=filt1.cutoff'. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyengine.errors import CommandError, Fault, PatchError, shown
from pyengine.patch import Op, Patch
from pyengine.specs import ParamSpec, number_text

PRESSURE = "pressure"
_FORM = re.compile(r"(?:([0-9]{1,2}):)?([0-9]{1,3}|pressure)=([^=\s]+?)(?:=([^=\s]+?)\.\.([^=\s]+))?")
_LEAST = {"Hz": 1.0, "ms": 0.1}  # where the logarithmic scale of a range that begins at 0 begins; page/cards.js


@dataclass(frozen=True, slots=True)
class Controller:
    """What a controller turns. number: 0..127, or 'pressure'; channel: 1..16, 0 for all; low, high: in the
    parameter's unit, None for its own range; low above high turns it round.
    """

    number: int | str
    target: str
    channel: int = 0
    low: float | None = None
    high: float | None = None

    def hears(self, channel: int, number: int | str) -> bool:
        return self.number == number and self.channel in (0, channel)


def parse_controllers(texts: Iterable[str]) -> tuple[Controller, ...]:
    """Return what '74=filt1.cutoff', '2:7=bass.gain=0..0.5' and 'pressure=lfo1.depth' mean. Raises CommandError."""
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Controller:
    found = _FORM.fullmatch(text.strip())
    if found is None or "." not in found[3]:
        raise CommandError(
            f"{shown(text)} maps no controller; give NUMBER=MODULE.PARAM, 74=filt1.cutoff; of one channel 2:74=..., "
            "with a range 74=filt1.cutoff=200..8000; pressure=MODULE.PARAM for aftertouch"
        )
    channel, number = int(found[1] or 0), found[2] if found[2] == PRESSURE else int(found[2])
    if found[1] is not None and not 1 <= channel <= 16:
        raise CommandError(f"{shown(text)}: channel {channel} is outside 1..16; leave it out for all channels")
    if isinstance(number, int) and number > 127:
        raise CommandError(f"{shown(text)}: controller {number} is outside 0..127")
    if found[4] is None:
        return Controller(number, found[3], channel)
    try:
        low, high = float(found[4]), float(found[5])
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CommandError(f"{shown(text)}: {found[4]}..{found[5]} is no range; give two numbers, 200..8000")
    return Controller(number, found[3], channel, low, high)


def resolve(patch: Patch, controller: Controller, sample_rate_hz: float) -> tuple[str, ParamSpec, float, float]:
    """Return (id, parameter, low, high) of what a controller turns in a patch. Raises PatchError."""
    id, name = patch.split_param(controller.target)
    if name is None:
        raise PatchError(Fault(f"controller {controller.number} turns no parameter; name one, {id}.gain", node=id))
    param = patch.spec(id).param(name, node=id)
    if param.is_event:
        text = f"{param.name} is a deed, not a value; no controller turns it. Notes play it"
        raise PatchError(Fault(text, node=id, param=param.name))
    low, high = param.range_at(sample_rate_hz)
    if controller.low is None or controller.high is None:
        return id, param, low, high
    for value in (controller.low, controller.high):
        if not low <= value <= high:
            allowed = f"{number_text(low)}..{number_text(high)}"
            text = f"controller {controller.number}: {number_text(value)} is outside {allowed} {param.unit}".rstrip()
            raise PatchError(Fault(f"{text}; narrow the range", node=id, param=param.name))
    return id, param, controller.low, controller.high


def op_at(patch: Patch, controller: Controller, place: float, sample_rate_hz: float) -> Op:
    """Return the setting for a controller at a place, 0..1. Raises PatchError."""
    id, param, low, high = resolve(patch, controller, sample_rate_hz)
    value = value_at(param, place, low, high, is_own=controller.low is None)
    return ("gate", id, None, int(value)) if param.is_gate else ("mod", id, param.name, value)


def value_at(param: ParamSpec, place: float, low: float, high: float, *, is_own: bool = True) -> float:
    """Return the value at a place, 0..1, of a range; exactly low at 0 and high at 1.

    The scale is that of the page's sliders: whole numbers for switches, choices and numbers of things; logarithmic for
    Hz and ms; for a parameter whose own range (is_own) is far above its default, finer at its low end.
    """
    if low > high:
        return value_at(param, 1.0 - place, high, low, is_own=is_own)
    if place >= 1.0 or low == high:
        return high
    if place <= 0.0:
        return low
    if param.is_gate:
        return float(low + place * (high - low) >= 0.5)
    if param.is_integer or param.choices:
        return float(round(low + place * (high - low)))
    if param.unit in _LEAST and low >= 0:
        least = low if low > 0 else min(high / 10, _LEAST[param.unit])
        return min(high, least * math.exp(place * math.log(high / least)))
    if is_own and low == 0 and param.default < high / 8:
        return high * place**3
    return low + place * (high - low)

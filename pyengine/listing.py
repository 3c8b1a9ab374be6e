"""Long lists of the engine about itself, in pages that fit a datagram."""

from __future__ import annotations

import json
from typing import Any

from pyengine import addresses
from pyengine.errors import CommandError, shown
from pyengine.specs import nearest_name, registry

PAGE_BYTES = 32_000  # of JSON; one row may be longer


def modules(type: str, first: int, sample_rate_hz: float) -> dict[str, Any]:
    """Return module types with their parameters, from the number `first` on. Raises UnknownNameError."""
    rows = registry().as_list(sample_rate_hz)
    if type:
        name = registry().get(type).name
        rows = [row for row in rows if row["name"] == name]
    return page("modules", rows, first)


def commands(under: str, first: int) -> dict[str, Any]:
    """Return commands with arguments and answers, from the number `first` on. Raises CommandError."""
    rows = [row for row in addresses.describe() if row["address"].startswith(under)]
    if not rows:
        nearest = nearest_name(under, [route.address for route in addresses.TABLE])
        hint = f"did you mean {nearest!r}? " if nearest else ""
        raise CommandError(f"no address begins with {shown(under)}; {hint}leave `under` out for all of them")
    return page("commands", rows, first)


def page(name: str, rows: list[dict[str, Any]], first: int) -> dict[str, Any]:
    """Return as many rows as a datagram holds, from the number `first` on. Raises CommandError."""
    if first and first >= len(rows):
        raise CommandError(f"first={first} is behind the last of {len(rows)} {name}; begin with 0")
    size, end = 0, first
    while end < len(rows) and (end == first or size + _bytes(rows[end]) <= PAGE_BYTES):
        size += _bytes(rows[end])
        end += 1
    following = end if end < len(rows) else -1
    return {name: rows[first:end], f"n_{name}": len(rows), "first": first, "next": following}


def _bytes(row: dict[str, Any]) -> int:
    return len(json.dumps(row, separators=(",", ":"))) + 1

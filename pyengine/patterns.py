"""Address patterns of OSC 1.0: `*`, `?`, `[a-c]`, `[!a-c]`, `{one,two}`, within one part of an address.

A pattern becomes a regular expression that takes time in proportion to the name it looks at, however many stars it has:
each piece between two stars is looked for once, the leftmost. Alternatives are written out first, as a piece of several
lengths need not be the leftmost. Beyond OSC 1.0, wildcards may stand in alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from pyengine.errors import CommandError, shown

SIGNS = "*?[]{}"
MAX_FORMS = 64  # that the alternatives of one pattern may be written out to

Piece = str | None  # a regular expression for one character; None is a star


def is_pattern(text: object) -> bool:
    """Return whether a part of an address stands for more than itself."""
    return isinstance(text, str) and any(sign in text for sign in SIGNS)


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern matches, in their order. Raises CommandError for a pattern that is none."""
    look = compiled(pattern).fullmatch
    return [name for name in names if look(name)]


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression for a pattern. Raises CommandError."""
    return re.compile("|".join(_expression(_pieces(form, pattern), f"g{n}") for n, form in enumerate(_forms(pattern))))


def _forms(pattern: str) -> list[str]:
    """Return the pattern once for each choice of its alternatives."""
    forms = [""]
    rest = pattern
    while rest:
        plain, brace, rest = rest.partition("{")
        if "}" in plain:
            raise _fault(pattern, "a '}' has no '{' before it")
        forms = [form + plain for form in forms]
        if not brace:
            break
        inside, end, rest = rest.partition("}")
        if not end:
            raise _fault(pattern, "a '{' has no '}' behind it")
        if "{" in inside:
            raise _fault(pattern, "alternatives cannot hold others")
        words = list(dict.fromkeys(inside.split(",")))
        if len(forms) * len(words) > MAX_FORMS:
            raise _fault(pattern, f"its alternatives make more than {MAX_FORMS} forms; send several messages")
        forms = [form + word for form in forms for word in words]
    return list(dict.fromkeys(forms))


def _pieces(form: str, pattern: str) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    while at < len(form):
        sign = form[at]
        at += 1
        if sign == "*":
            if not pieces or pieces[-1] is not None:
                pieces.append(None)
        elif sign == "?":
            pieces.append(".")
        elif sign == "[":
            end = form.find("]", at)
            if end < 0:
                raise _fault(pattern, "a '[' has no ']' behind it")
            pieces.append(_set_of(form[at:end], pattern))
            at = end + 1
        elif sign == "]":
            raise _fault(pattern, "a ']' has no '[' before it")
        else:
            pieces.append(re.escape(sign))
    return pieces


def _set_of(inside: str, pattern: str) -> str:
    """Return the expression for what stands in square brackets."""
    is_none_of, letters = inside.startswith("!"), inside.removeprefix("!")
    if not letters:
        raise _fault(pattern, "its brackets hold nothing")
    parts = []
    at = 0
    while at < len(letters):
        if letters[at + 1 : at + 2] == "-" and at + 2 < len(letters):
            low, high = letters[at], letters[at + 2]
            if low > high:
                raise _fault(pattern, f"the range {low}-{high} runs backwards")
            parts.append(f"{re.escape(low)}-{re.escape(high)}")
            at += 3
        else:
            parts.append(re.escape(letters[at]))
            at += 1
    return f"[{'^' if is_none_of else ''}{''.join(parts)}]"


def _expression(pieces: list[Piece], name: str) -> str:
    """Return the expression: what is between two stars is found once, by a look ahead that is not taken back.

    name: begins those of its groups. (From Python 3.11 on this would be an atomic group.)
    """
    runs: list[list[str]] = [[]]
    for piece in pieces:
        if piece is None:
            runs.append([])
        else:
            runs[-1].append(piece)
    first, *rest = ["".join(run) for run in runs]
    if not rest:
        return first
    *middle, last = rest
    looks = (f"(?=(?P<{name}_{n}>.*?{run}))(?P={name}_{n})" for n, run in enumerate(middle) if run)
    return first + "".join(looks) + ".*" + last


def _fault(pattern: str, what: str) -> CommandError:
    return CommandError(f"the pattern {shown(pattern)} is no sound one: {what}; see address patterns in docs/osc.md")

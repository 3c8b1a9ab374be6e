"""Where in a text each key of a JSON or TOML document stands. Neither the standard library nor a light one tells.

The text must have been parsed already: these look for places, not for faults. A place is named as in
`nodes[2].params.freq`, and is the line of the key, or of the row of a list.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\],:"]+')
_SKIPPED = re.compile(r"(?:[\s,]|#[^\n]*)*")  # between values; commas as well, as they part nothing else
_KEY_PART = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def json_lines(text: str) -> dict[str, int]:
    """Return the line of each place of a JSON text, counted from 1."""
    lines: dict[str, int] = {}
    for place, line, _ in _json_places(text):
        lines.setdefault(place, line)
    return lines


def json_doubles(text: str) -> list[tuple[str, int]]:
    """Return the place and line of each key of a JSON text that its object has already."""
    seen: set[str] = set()
    doubles = []
    for place, line, is_key in _json_places(text):
        if is_key and place in seen:
            doubles.append((place, line))
        elif is_key:
            seen.add(place)
    return doubles


def _json_places(text: str) -> Iterator[tuple[str, int, bool]]:
    """Yield (place, line, whether it is that of a key) in the order of the text."""
    line_at = _line_counter(text)
    around: list[_Container] = []  # the containers that are open, the innermost last
    for match in _JSON_TOKEN.finditer(text):
        token = match[0]
        inner = around[-1] if around else None
        if token in ("}", "]"):
            around.pop()
        elif token == ",":
            if inner is not None:
                inner.next()
        elif inner is not None and inner.awaits_key:
            inner.take_key(json.loads(token))
            yield inner.place, line_at(match.start()), True
        else:
            place = inner.place if inner is not None else ""
            yield place, line_at(match.start()), False
            if token in ("{", "["):
                around.append(_Container(place, is_list=token == "["))


def toml_lines(text: str) -> dict[str, int]:
    """Return the line of each place of a TOML text, counted from 1."""
    return _TomlScanner(text).scan()


def join(place: str, key: str) -> str:
    """Return the place of a key of the table at a place."""
    return f"{place}.{key}" if place else key


class _Container:
    """An object or a list of a JSON text, and where in it the reader is."""

    __slots__ = ("_index", "_is_list", "_path", "awaits_key", "place")

    def __init__(self, path: str, is_list: bool) -> None:
        self._path, self._is_list, self._index = path, is_list, 0
        self.awaits_key = not is_list
        self.place = f"{path}[0]" if is_list else path

    def take_key(self, key: str) -> None:
        self.place = join(self._path, key)
        self.awaits_key = False

    def next(self) -> None:
        self._index += 1
        self.awaits_key = not self._is_list
        if self._is_list:
            self.place = f"{self._path}[{self._index}]"


class _TomlScanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line_at = _line_counter(text)
        self.lines: dict[str, int] = {"": 1}
        self.counts: dict[str, int] = {}  # of the rows of each [[list]] so far

    def scan(self) -> dict[str, int]:
        table = ""
        while self.skip() < len(self.text):
            start = self.at
            if self.text.startswith("[[", start):
                *above, last = self.header("[[", "]]")
                place = join(self.resolve(above), last)
                number = self.counts[place] = self.counts.get(place, -1) + 1
                self.lines.setdefault(place, self.line_at(start))
                table = f"{place}[{number}]"
                self.lines[table] = self.line_at(start)
            elif self.text.startswith("[", start):
                table = self.resolve(self.header("[", "]"))
                self.lines.setdefault(table, self.line_at(start))
            else:
                self.pair(table)
        return self.lines

    def resolve(self, parts: list[str]) -> str:
        """Return the place that a header names: of a list of tables, the last row so far."""
        place = ""
        for part in parts:
            place = join(place, part)
            if place in self.counts:
                place = f"{place}[{self.counts[place]}]"
        return place

    def header(self, opening: str, closing: str) -> list[str]:
        self.at += len(opening)
        parts = self.key()
        self.at = self.text.index(closing, self.at) + len(closing)
        return parts

    def key(self) -> list[str]:
        parts = []
        while True:
            match = _KEY_PART.match(self.text, self.at)
            if match is None:
                raise ValueError(f"no key at {self.at}")
            self.at = match.end()
            part = match[1]
            parts.append(json.loads(part) if part[0] == '"' else part.strip("'"))
            if not match[2]:
                return parts

    def pair(self, table: str) -> None:
        line = self.line_at(self.at)
        place = table
        for part in self.key():
            place = join(place, part)
            self.lines.setdefault(place, line)
        self.at = self.text.index("=", self.at) + 1
        self.skip()
        self.value(place)

    def value(self, place: str) -> None:
        sign = self.text[self.at]
        if sign == "[":
            self.rows("]", lambda number: self.row(f"{place}[{number}]"))
        elif sign == "{":
            self.rows("}", lambda _: self.pair(place))
        else:
            match = _STRING.match(self.text, self.at) or _SCALAR.match(self.text, self.at)
            assert match is not None  # a scalar may be empty
            self.at = match.end()

    def row(self, place: str) -> None:
        self.lines[place] = self.line_at(self.at)
        self.value(place)

    def rows(self, closing: str, read: Callable[[int], None]) -> None:
        self.at += 1
        number = 0
        while self.text[self.skip()] != closing:
            read(number)
            number += 1
        self.at += 1

    def skip(self) -> int:
        match = _SKIPPED.match(self.text, self.at)
        assert match is not None  # it matches nothing, too
        self.at = match.end()
        return self.at


def _line_counter(text: str) -> Callable[[int], int]:
    ends = [match.start() for match in re.finditer("\n", text)]
    return lambda at: bisect_right(ends, at - 1) + 1

"""Patches in files: TOML or JSON, with one schema, and faults that name file, line and key."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import copysign
from pathlib import Path
from typing import Any

from pyengine.errors import CommandError, Fault, PatchError, shown
from pyengine.limits import MAX_JSON_BYTES
from pyengine.patch import Patch
from pyengine.positions import json_doubles, json_lines, toml_lines
from pyengine.specs import ParamSpec, Registry
from pyengine.toml_text import toml_of

FORMATS = ("toml", "json")
_AT_LINE = re.compile(r"at line (\d+)")


def load_patch(
    path: str | os.PathLike[str], *, sample_rate_hz: float | None = None, registry: Registry | None = None
) -> Patch:
    """Return the patch in a .toml or .json file, validated where a rate is given.

    Raises one PatchError with all faults, in the order of their lines; each fault has file, line and key.
    """
    kind = format_of(path)
    return patch_of(read_text(path), kind, name=os.fspath(path), sample_rate_hz=sample_rate_hz, registry=registry)


def patch_of(
    text: str, kind: str, *, name: str = "", sample_rate_hz: float | None = None, registry: Registry | None = None
) -> Patch:
    """Return the patch in a text of a format, 'toml' or 'json'; faults call it name. Raises as load_patch() does."""
    name = name or f"<{kind}>"
    if len(text) > MAX_JSON_BYTES:
        fault = Fault(f"{len(text)} characters are more than the {MAX_JSON_BYTES} that are read; make it smaller")
        raise PatchError(fault._replace(file=name))
    parse, find_lines = (_parse_toml, toml_lines) if kind == "toml" else (_parse_json, json_lines)
    try:
        data = parse(text, name)
        return Patch.from_json(data, registry=registry, sample_rate_hz=sample_rate_hz)
    except PatchError as error:
        raise _placed(error, name, text, find_lines) from None


def save_patch(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write a patch to a .toml or .json file, whole or not at all. Raises PatchError."""
    text = text_of(patch, format_of(path))
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise PatchError(Fault(f"cannot be written: {error.strerror or error}", file=os.fspath(path))) from error


def text_of(patch: Patch, kind: str) -> str:
    """Return a patch as a text of a format, with the names of choices in place of their numbers."""
    data = {name: value for name, value in _for_people(patch).items() if value or name == "nodes"}
    if kind == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return toml_of(data)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return 'toml' or 'json' for the name of a file. Raises CommandError for any other."""
    suffix = os.path.splitext(os.fspath(path))[1].lower().removeprefix(".")
    if suffix not in FORMATS:
        raise CommandError(f"{os.fspath(path)} ends in neither .toml nor .json; name a patch file so")
    return suffix


def guessed_format(text: str) -> str:
    """Return the format of a text without a name: JSON begins with a brace."""
    return "json" if text.lstrip().startswith("{") else "toml"


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file, with plain line ends. Raises PatchError that says why not."""
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise PatchError(Fault(f"cannot be read: {error.strerror or error}", file=name)) from error
    except ValueError as error:  # a zero byte in the name
        raise PatchError(Fault(f"cannot be read: {error}", file=shown(name))) from error
    if len(data) > MAX_JSON_BYTES:
        text = f"is larger than the {MAX_JSON_BYTES} bytes that are read; make it smaller"
        raise PatchError(Fault(text, file=name))
    return as_text(data, name)


def as_text(data: bytes, name: str) -> str:
    """Return bytes that are UTF-8 as a text with plain line ends. Raises PatchError with the line that is not."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        raise PatchError(Fault(text, file=name, line=line)) from None


# ---- reading ----


def _parse_json(text: str, name: str) -> Any:
    doubles: list[str] = []
    try:
        data = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, doubles))
    except json.JSONDecodeError as error:
        text = f"this is not JSON: {error.msg} (column {error.colno}); mend it"
        raise PatchError(Fault(text, file=name, line=error.lineno)) from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, lists in lists without end
        raise PatchError(Fault(f"this cannot be read as JSON: {error}; mend it", file=name)) from None
    if doubles:
        message = "the key is given twice in one object; keep one"
        raise PatchError([Fault(message, key=key, file=name, line=line) for key, line in json_doubles(text)])
    return data


def _object(pairs: list[tuple[str, Any]], doubles: list[str]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        doubles.append(pairs[0][0])
    return made


def _parse_toml(text: str, name: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1  # "at end of document"
        raise PatchError(Fault(f"this is not TOML: {error}; mend it", file=name, line=line)) from None
    except (ValueError, RecursionError) as error:
        raise PatchError(Fault(f"this cannot be read as TOML: {error}; mend it", file=name)) from None


def _placed(error: PatchError, name: str, text: str, find_lines: Callable[[str], dict[str, int]]) -> PatchError:
    """Return an error with file and line of each fault that has none, in the order of the lines."""
    lines: dict[str, int] = {}
    if any(not fault.file for fault in error.faults):
        with suppress(ValueError, IndexError, RecursionError):  # a text too strange to find places in
            lines = find_lines(text)
    faults = [f if f.file else f._replace(file=name, line=_line(f.key, lines)) for f in error.faults]
    return type(error)(sorted(faults, key=lambda fault: fault.line or 0))


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of a key, or of the nearest thing around it."""
    while key and key not in lines:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return lines.get(key)


# ---- writing ----


def _plain(param: ParamSpec, value: Any) -> Any:
    """Return a value as a person would write it."""
    if not isinstance(value, (int, float)):
        return value
    if param.choices:
        return param.choices[int(value)]
    return _number(value)


def _number(value: int | float) -> int | float:
    """Return a whole number without its point; -0.0 has a sign that would be lost."""
    is_whole = abs(value) < 1e15 and value == int(value) and (value != 0 or copysign(1, value) > 0)
    return int(value) if is_whole else value


def _for_people(patch: Patch) -> dict[str, Any]:
    """Return Patch.to_dict() without what says nothing, with choices by name; a row is id, type, params, data."""
    data = patch.to_dict()
    data["nodes"] = [_plain_row(patch, row) for row in data["nodes"]]
    for row in data["cables"]:
        row |= {name: _number(row[name]) for name in ("depth", "offset") if name in row}
    return data


def _plain_row(patch: Patch, row: dict[str, Any]) -> dict[str, Any]:
    spec = patch.spec(row["id"])
    row["params"] = {name: _plain(spec.param(name), value) for name, value in row["params"].items()}
    return {name: row[name] for name in ("id", "type", "params", "data") if row.get(name)}

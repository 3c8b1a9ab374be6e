"""A patch as TOML text: the nodes, each with its parameters and then its data, and the cables behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_WIDE = 100  # columns that a table may take to stand in one line


def toml_of(data: Mapping[str, Any]) -> str:
    """Return Patch.to_dict() as TOML. The same patch is the same text; every value comes back as it was."""
    plain = {key: value for key, value in data.items() if key not in ("nodes", "cables")}
    parts = ["".join(f"{line}\n" for key, value in plain.items() for line in _lines(key, value))]
    for name in ("nodes", "cables"):
        rows = data.get(name, [])
        parts += [_row(name, row) for row in rows]
        if not rows and name == "nodes":
            parts[0] += "nodes = []\n"
    return "\n".join(parts)


def _row(name: str, row: Mapping[str, Any]) -> str:
    lines = [line for key, value in row.items() for line in _lines(key, value)]
    return "\n".join([f"[[{name}]]", *lines, ""])


def _lines(key: str, value: Any, wide: int = _WIDE) -> Iterator[str]:
    """Yield a key with its value: in one line where it fits, else a table as a line for each key."""
    name = _bare(key)
    text = f"{name} = {_value(value)}"
    if len(text) <= wide or not isinstance(value, Mapping):
        yield text
        return
    for inner, one in value.items():
        yield from (f"{name}.{line}" for line in _lines(inner, one, 0 if one else wide))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_bare(key)} = {_value(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return _scalar("a", value).removeprefix("a = ")


def _bare(key: str) -> str:
    """Return a key, quoted where it must be."""
    return _scalar(key, 0).removesuffix(" = 0")


def _scalar(key: str, value: Any) -> str:
    import tomli_w

    return tomli_w.dumps({key: value}).removesuffix("\n")

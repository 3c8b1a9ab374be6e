"""Address and arguments -> command, and back, by the table of addresses.py."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pyengine.addresses import BY_COMMAND, TABLE, Argument, Route, filled, find
from pyengine.commands import Command
from pyengine.errors import CommandError, shown
from pyengine.messages import Value
from pyengine.patch import parse_gate
from pyengine.patterns import is_pattern
from pyengine.specs import nearest_name, number_text, of_127

_PART = re.compile(r"[^\x00-\x20#*,/?\[\]{}\x7f-\U0010ffff]+")
_PATTERN = re.compile(r"[^\x00-\x20#/\x7f-\U0010ffff]+")

# ---- reading ----


def read(address: str, args: list[Value], is_terse: bool = False) -> Command:
    """Return the command that an address and its arguments ask for.

    is_terse: errors come without a search for the nearest name. Raises CommandError or ParamRangeError.
    """
    found = find(address)
    if found is None:
        raise _unknown(address, is_terse)
    route, names = found
    for argument, name in zip(route.in_address, names, strict=True):
        if is_pattern(name) and not argument.takes_pattern:
            raise CommandError(f"{route.address} takes no pattern as {argument.name}, got {shown(name)}; name one")
    values: dict[str, Any] = dict(zip((a.field for a in route.in_address), names, strict=True))
    n = len(route.behind) if route.options else len(args)  # options follow
    values |= _arguments(route, args[:n], names[0] if names else "")
    values |= _options(route, args[n:])
    command: Command = route.command(**values)
    return command


def _unknown(address: str, is_terse: bool) -> CommandError:
    """Return the error for an address that is none, with the nearest one that is."""
    given = address
    if is_pattern(address):
        text = "an address pattern stands for names of modules and parameters, as in /mod/*/gain and /gate/env?"
        return CommandError(f"{shown(address)} matches nothing; {text}")
    hint = ""
    if not is_terse:
        root, *parts = address.split("/")[1:]
        if len(parts) == 1 and not nearest_name(root, {route.address.split("/")[1] for route in TABLE}):
            parts = [root, *parts]  # /osc1/freq
            address = f"/mod{address}"
        candidates = {}
        for route in TABLE:  # with the names that were given filled in
            holes = [argument.name for argument in route.in_address]
            candidates[filled(route, [part or hole for part, hole in zip([*parts, "", ""], holes, strict=False)])] = (
                route
            )
        nearest = nearest_name(address, candidates)
        hint = f"did you mean {shown(nearest)}? usage: {candidates[nearest].usage}" if nearest else ""
    return CommandError(f"unknown address {shown(given)}; {hint or 'see /engine/commands or docs/osc.md'}")


def _arguments(route: Route, args: list[Value], node: str) -> dict[str, Any]:
    """Return the values of what stands behind the address, by field."""
    wanted = route.behind
    is_open = bool(wanted) and wanted[-1].is_many
    _check_count(route, len(args), len(wanted), sum(a.is_optional for a in wanted), is_open)
    values: dict[str, Any] = {}
    for number, (argument, arg) in enumerate(zip(wanted, args, strict=False), 1):
        if argument.is_many:
            rest = enumerate(args[number - 1 :], number)
            values[argument.field] = tuple(_value(route, argument, one, f"argument {at}", node) for at, one in rest)
        else:
            values[argument.field] = _value(route, argument, arg, f"argument {number}", node)
    return values


def _check_count(route: Route, given: int, wanted: int, n_optional: int, is_open: bool) -> None:
    least = wanted - n_optional
    if least <= given and (given <= wanted or is_open):
        return
    if is_open:
        what = f"{least} arguments or more"
    elif n_optional:
        what = f"{least} to {wanted} arguments"
    else:
        what = "no arguments" if not wanted else "1 argument" if wanted == 1 else f"{wanted} arguments"
    raise CommandError(f"{route.address} takes {what}, got {given}; usage: {route.usage}, as in {route.example}")


def _options(route: Route, args: list[Value]) -> dict[str, Any]:
    """Return the values of options, given by name, by field."""
    if len(args) % 2:
        text = f"options come as pairs of name and value, got {len(args)} arguments"
        raise CommandError(f"{text}; usage: {route.usage}")
    options = {option.name: option for option in route.options}
    values: dict[str, Any] = {}
    for name, arg in zip(args[::2], args[1::2], strict=True):
        if not isinstance(name, str) or name not in options:
            nearest = nearest_name(name, options) if isinstance(name, str) else ""
            hint = f"did you mean {nearest!r}? " if nearest else ""
            raise CommandError(f"unknown option {shown(name)}; {hint}usage: {route.usage}")
        if options[name].field in values:
            raise CommandError(f"option {name!r} is given twice; give it once")
        values[options[name].field] = _value(route, options[name], arg, f"option {name!r}", "")
    return values


def _value(route: Route, argument: Argument, arg: Value, place: str, node: str) -> Any:
    """Return one argument as what its kind says. place: how an error names it."""
    if argument.kind == "string":
        return _string(route, argument, arg, place)
    if argument.kind == "text":
        return _text(route, arg, place)
    if argument.kind == "switch":
        state = parse_gate(arg, node=node, name=argument.name.lower())
        return bool(state) if argument.is_option else state
    if argument.kind == "value":
        return _setting(route, arg)
    return _number(argument, arg)


def _string(route: Route, argument: Argument, arg: Value, place: str) -> str:
    if not isinstance(arg, str) or not arg:
        raise CommandError(f"{place} of {route.address} must be a string, not {shown(arg)}; usage: {route.usage}")
    if argument.choices and arg not in argument.choices:
        nearest = nearest_name(arg, argument.choices)
        hint = f"did you mean {nearest!r}? " if nearest else ""
        text = f"{place} of {route.address} is {shown(arg)}, none of {', '.join(argument.choices)}"
        raise CommandError(f"{text}; {hint}usage: {route.usage}")
    return arg


def _text(route: Route, arg: Value, place: str) -> str:
    """Return a text, of which a number alone is one too."""
    if isinstance(arg, bool) or not isinstance(arg, (str, int, float)):
        raise CommandError(f"{place} of {route.address} must be text, not {shown(arg)}; usage: {route.usage}")
    return arg if isinstance(arg, str) else number_text(arg)


def _setting(route: Route, arg: Value) -> float | str:
    """Return what a parameter may be given: a finite number or a word."""
    advice = f"send a number or the name of a choice, as in {route.example}"
    if isinstance(arg, bool) or arg is None:
        word = "nil" if arg is None else "true or false, which only /gate/ID takes"
        raise CommandError(f"the value is {word}; {advice}")
    if isinstance(arg, float) and not math.isfinite(arg):
        raise CommandError(f"the value is {arg}, not finite; {advice}")
    return arg


def _number(argument: Argument, arg: Value) -> float | int:
    name, allowed = argument.name.lower(), argument.range_text or "a number"
    if isinstance(arg, (bool, str)) or arg is None:
        raise CommandError(f"{name}={shown(arg)} is not a number; give {allowed}")
    low = -math.inf if argument.min is None else argument.min
    high = math.inf if argument.max is None else argument.max
    if not low <= arg <= high or not math.isfinite(arg):  # NaN too
        unit = f" {argument.unit}" if argument.unit else ""
        hint = of_127(arg) if not unit and (low, high) == (0, 1) else ""
        raise CommandError(f"{name}={number_text(arg)}{unit} is outside {allowed}; choose one inside{hint}")
    if argument.kind != "integer":
        return float(arg)
    if arg != int(arg):
        raise CommandError(f"{name}={number_text(arg)} is not a whole number; round it")
    return int(arg)


# ---- writing ----


def write(command: Command) -> tuple[str, list[Value]]:
    """Return the address and arguments that ask for a command. Raises CommandError for what cannot be sent."""
    route = BY_COMMAND.get(type(command))
    if route is None:
        raise CommandError(f"{shown(command)} is no command; use a class of pyengine.commands")
    names = [_name(getattr(command, argument.field), argument.takes_pattern) for argument in route.in_address]
    address = filled(route, names)
    args: list[Value] = []
    defaults = {field.name: field.default for field in fields(route.command)}
    behind = list(route.behind)
    while behind and _may_be_left_out(behind[-1], getattr(command, behind[-1].field), defaults):
        behind.pop()  # only from the end: what follows would move to its place
    for argument in behind:
        value = getattr(command, argument.field)
        args += map(_plain, value) if argument.is_many else [parse_gate(value) if argument.kind == "switch" else value]
    for option in route.options:
        value = getattr(command, option.field)
        if value != defaults[option.field]:
            args += [option.name, _plain(value)]
    return address, args


def _may_be_left_out(argument: Argument, value: object, defaults: Mapping[str, object]) -> bool:
    return argument.is_optional and not argument.is_many and value in ("", defaults[argument.field])


def _plain(value: Any) -> Value:
    """Return a value as other programs send it: numbers as floats, on and off as 1 and 0."""
    return int(value) if isinstance(value, bool) else value


def _name(part: object, may_be_pattern: bool) -> str:
    expression = _PATTERN if may_be_pattern else _PART
    if not isinstance(part, str) or not expression.fullmatch(part):
        raise CommandError(f"{shown(part)} cannot be part of an address; use A-Z a-z 0-9 _ -")
    return part

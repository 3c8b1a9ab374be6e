"""pyengine modules: what there is to build patches of, without an engine."""

from __future__ import annotations

import argparse
from typing import Any

from pyengine.cli.shared import EXIT_OK, UsageError, add_command, check_rate, complete, print_result
from pyengine.errors import UnknownNameError
from pyengine.specs import ModuleSpec, ParamSpec, number_text, registry

EXAMPLES = """
pyengine modules                       a line for each module type
pyengine modules adsr                  its ports and parameters, with unit, range and default
pyengine modules --json                all of it, for a program
"""


def add(commands: Any) -> None:
    one = add_command(
        commands, "modules", modules, "list the module types, or one with its parameters", examples=EXAMPLES
    )
    complete(one.add_argument("type", nargs="?", metavar="TYPE", help="a module type; all of them without"), "modules")
    one.add_argument("--rate", type=float, default=48000, metavar="HZ", help="for ranges up to Nyquist (48000)")


def modules(arguments: argparse.Namespace) -> int:
    """List the module types, or one."""
    known, rate_hz = registry(), arguments.rate
    check_rate(arguments)
    if arguments.type is None:
        width = max(map(len, known.names))
        lines = [f"{spec.name:<{width}}  {_ports(spec)}  {spec.help}" for spec in known.modules]
        lines.append("`pyengine modules TYPE` has the parameters of one.")
        print_result(arguments, {"modules": known.as_list(rate_hz)}, "\n".join(lines))
        return EXIT_OK
    try:
        spec = known.get(arguments.type)
    except UnknownNameError as error:
        raise UsageError(str(error)) from error
    print_result(arguments, spec.as_dict(rate_hz), _page(spec, rate_hz))
    return EXIT_OK


def _ports(spec: ModuleSpec) -> str:
    return f"{len(spec.inputs)} in {len(spec.outputs)} out {len(spec.params):2} params"


def _page(spec: ModuleSpec, rate_hz: float) -> str:
    rows = [["parameter", "range", "default", "cable", "what"]]
    for param in spec.params:
        name = f"{param.name} ({param.alias})" if param.alias else param.name
        cable = {0: "no", 1: "yes"}.get(param.cable_frames, f"every {param.cable_frames}")
        rows.append([name, _range(param, rate_hz), _default(param), cable, param.help])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    table = ["  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
    ports = [
        f"inputs:  {', '.join(spec.inputs) or 'none'}",
        f"outputs: {', '.join(spec.outputs) or 'none'}",
    ]
    return "\n".join([f"{spec.name}: {spec.help}", *ports, "", *(line.rstrip() for line in table)])


def _range(param: ParamSpec, rate_hz: float) -> str:
    return ", ".join(param.choices) if param.choices else param.range_text(rate_hz)


def _default(param: ParamSpec) -> str:
    if param.choices:
        return param.choices[int(param.default)]
    return number_text(param.default) + (f" {param.unit}" if param.unit else "")

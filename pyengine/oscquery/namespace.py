"""The OSC addresses of an engine as the tree that OSCQuery describes. Pure: no sockets here.

/mod/ID/PARAM and /gate/ID of the playing patch can be read and set; the commands with a fixed address can be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pythonosc.osc_message_builder import OscMessageBuilder

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION", "UNIT", "CLIPMODE")
UNITS = {"Hz": "time.hz", "ms": "time.ms", "s": "time.second", "bpm": "time.bpm", "dB": "gain.db-raw"}
NOTHING, WRITE, READ_WRITE = 0, 2, 3
MAX_PATHS_TOLD = 100  # of added or removed ones; of more, that the trees above them have changed

Node = dict[str, Any]


@dataclass
class Module:
    """One module of the playing patch. values: of its parameters, by name."""

    type: str
    values: dict[str, float]


@dataclass(frozen=True)
class Changes:
    """Paths of the tree that are new, gone, or have other contents."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Namespace:
    """The tree. types: rows of /engine/modules; commands: rows of /engine/commands."""

    def __init__(self, types: Iterable[Mapping[str, Any]], commands: Iterable[Mapping[str, Any]]) -> None:
        self._types = {row["name"]: {param["name"]: param for param in row["params"]} for row in types}
        self._help = {row["name"]: row["help"] for row in types}
        self._commands = {row["address"]: row for row in commands if _is_fixed(row)}
        self._modules: dict[str, Module] = {}

    # ---- what the engine tells ----

    def set_patch(self, patch: Mapping[str, Any]) -> Changes:
        """Take the playing patch, as /patch/dump gives it; return what is different now."""
        modules = {}
        for node in patch["nodes"]:
            params = self._types.get(node["type"], {})
            values = {name: float(param["default"]) for name, param in params.items()}
            values.update({name: float(value) for name, value in node["params"].items() if name in params})
            modules[node["id"]] = Module(node["type"], values)
        before, self._modules = self._modules, modules
        added = [path for id in modules if id not in before for path in self._paths(id, modules[id])]
        removed = [path for id in before if id not in modules for path in self._paths(id, before[id])]
        changed = [f"/mod/{id}" for id in modules if id in before and modules[id].type != before[id].type]
        if len(added) + len(removed) + len(changed) > MAX_PATHS_TOLD:
            return Changes(changed=("/mod", "/gate"))
        return Changes(tuple(added), tuple(removed), tuple(changed))

    def _paths(self, id: str, module: Module) -> list[str]:
        return [f"/mod/{id}"] + ([f"/gate/{id}"] if self._gate(module) else [])

    def set_value(self, id: str, param: str, value: float) -> list[str]:
        """Take a value that was set; return the paths that tell it."""
        module = self._modules.get(id)
        if module is None or param not in module.values:
            return []
        module.values[param] = value
        return [f"/mod/{id}/{param}"] + ([f"/gate/{id}"] if param == self._gate(module) else [])

    def _gate(self, module: Module) -> str:
        return next((name for name, param in self._types.get(module.type, {}).items() if param["is_gate"]), "")

    # ---- what a tool asks ----

    def describe(self, path: str) -> Node | None:
        """Return what is at a path, with all below it; None for nothing."""
        parts = [part for part in path.split("/") if part]
        whole = "/" + "/".join(parts)
        if path != whole and (not parts or path != f"{whole}/"):
            return None
        if not parts:
            tops = ("mod", "gate", *dict.fromkeys(address.split("/")[1] for address in self._commands))
            return _container("/", "pyengine", {name: self.describe(f"/{name}") for name in tops})
        if parts[0] == "mod":
            return self._mod(parts[1:])
        if parts[0] == "gate":
            return self._gates(parts[1:])
        return self._command("/" + "/".join(parts))

    def _mod(self, parts: list[str]) -> Node | None:
        if not parts:
            inside = {id: self._mod([id]) for id in self._modules}
            return _container("/mod", "The modules of the playing patch.", inside)
        module = self._modules.get(parts[0])
        if module is None or len(parts) > 2:
            return None
        params = self._types.get(module.type, {})
        if len(parts) == 1:
            inside = {name: self._mod([parts[0], name]) for name in params}
            return _container(f"/mod/{parts[0]}", f"{module.type}: {self._help.get(module.type, '')}", inside)
        param = params.get(parts[1])
        return None if param is None else _leaf(f"/mod/{parts[0]}/{parts[1]}", param, module.values[parts[1]])

    def _gates(self, parts: list[str]) -> Node | None:
        if not parts:
            inside = {id: self._gates([id]) for id, module in self._modules.items() if self._gate(module)}
            return _container("/gate", "The gates of the playing patch.", inside)
        module = self._modules.get(parts[0])
        gate = self._gate(module) if module is not None else ""
        if module is None or not gate or len(parts) > 1:
            return None
        return _leaf(f"/gate/{parts[0]}", self._types[module.type][gate], module.values[gate])

    def _command(self, path: str) -> Node | None:
        row = self._commands.get(path)
        if row is not None and not any(address.startswith(f"{path}/") for address in self._commands):
            return _method(row)
        names = dict.fromkeys(a[len(path) + 1 :].split("/")[0] for a in self._commands if a.startswith(f"{path}/"))
        return _container(path, "Commands.", {n: self._command(f"{path}/{n}") for n in names}) if names else None

    def message(self, path: str) -> bytes | None:
        """Return the OSC message that tells the value at a path, None where there is none."""
        node = self.describe(path)
        if node is None or "VALUE" not in node:
            return None
        builder = OscMessageBuilder(path)
        builder.add_arg(node["VALUE"][0], node["TYPE"])
        return builder.build().dgram


def _is_fixed(row: Mapping[str, Any]) -> bool:
    parts = row["address"].split("/")[1:]
    return "arguments" in row and not any(argument["name"] in parts for argument in row["arguments"])


def _container(path: str, help: str, contents: Mapping[str, Node | None]) -> Node:
    inside = {name: node for name, node in contents.items() if node is not None}
    return {"FULL_PATH": path, "DESCRIPTION": help, "ACCESS": NOTHING, "CONTENTS": inside}


def _leaf(path: str, param: Mapping[str, Any], value: float) -> Node:
    """Return the node of a parameter: f, i where only whole numbers count, s where these have names."""
    node: Node = {"FULL_PATH": path, "DESCRIPTION": param["help"], "ACCESS": READ_WRITE, "CLIPMODE": ["none"]}
    choices = param["choices"]
    if choices:
        node |= {"TYPE": "s", "VALUE": [choices[int(value)]], "RANGE": [{"VALS": list(choices)}]}
    elif param["is_gate"]:
        node |= {"TYPE": "i", "VALUE": [int(value)], "RANGE": [{"MIN": 0, "MAX": 1}]}
    elif param["is_integer"]:
        limits = {"MIN": int(param["min"]), "MAX": int(param["max"])}
        node |= {"TYPE": "i", "VALUE": [int(value)], "RANGE": [limits]}
    else:
        node |= {"TYPE": "f", "VALUE": [value], "RANGE": [{"MIN": param["min"], "MAX": param["max"]}]}
    if param["unit"]:
        node["UNIT"] = [UNITS.get(param["unit"], param["unit"])]
    return node


def _method(row: Mapping[str, Any]) -> Node:
    """Return the node of a command: it can be sent, and has no value."""
    wanted = [a for a in row["arguments"] if not a["is_option"] and not a["is_optional"] and not a["is_many"]]
    tags = "".join({"number": "f", "integer": "i", "switch": "i"}.get(a["type"], "s") for a in wanted)
    node: Node = {"FULL_PATH": row["address"], "DESCRIPTION": f"{row['help']} Usage: {row['usage']}", "ACCESS": WRITE}
    if tags:
        node["TYPE"] = tags
        node["RANGE"] = [_limits(argument) for argument in wanted]
    return node


def _limits(argument: Mapping[str, Any]) -> dict[str, Any]:
    if argument["choices"]:
        return {"VALS": argument["choices"]}
    if argument["type"] == "switch":
        return {"MIN": 0, "MAX": 1}
    return {"MIN": argument["min"], "MAX": argument["max"]} if argument["min"] is not None else {}

"""What /patch/dump must tell after any order of commands: the rules of the desk in lists and dicts.

Modules have a number of their own: an id that was deleted and created again is another module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyengine import specs
from pyengine.commands import (
    Abort,
    Clear,
    Command,
    Connect,
    Create,
    Delete,
    Disconnect,
    Gate,
    PatchSample,
    SetParam,
)
from pyengine.specs import ModuleSpec, ParamSpec

RATE_HZ = 48000.0


@dataclass
class Module:
    number: int
    type: str
    params: dict[str, float] = field(default_factory=dict)
    file: str = ""  # that a sampler plays

    @property
    def spec(self) -> ModuleSpec:
        return specs.registry().get(self.type)


@dataclass
class Sheet:
    """A patch: modules by id in order of creation, cables in order of connection, their ends as a dump names them."""

    modules: dict[str, Module] = field(default_factory=dict)
    cables: list[tuple[str, str]] = field(default_factory=list)

    def copy(self) -> Sheet:
        modules = {id: Module(m.number, m.type, dict(m.params), m.file) for id, m in self.modules.items()}
        return Sheet(modules, list(self.cables))

    def plays(self, id: str, other: Sheet) -> bool:
        """True when this has the module that the other has under this id."""
        mine, theirs = self.modules.get(id), other.modules.get(id)
        return mine is not None and theirs is not None and mine.number == theirs.number

    @property
    def structure(self) -> Any:
        return [(id, m.number, m.type, m.file) for id, m in self.modules.items()], self.cables

    @property
    def is_cyclic(self) -> bool:
        left = set(self.modules)
        ends = [(owner(source), owner(dest)) for source, dest in self.cables]
        at_once = [(source, dest) for source, dest in ends if not self.modules[dest].spec.absorbs]
        while left:
            free = {id for id in left if not any(dest == id and source in left for source, dest in at_once)}
            if not free:
                return True
            left -= free
        return False

    def as_dump(self) -> dict[str, Any]:
        nodes = [
            {"id": id, "type": m.type, "params": m.params} | ({"data": {"file": m.file}} if m.file else {})
            for id, m in self.modules.items()
        ]
        return {"version": 1, "nodes": nodes, "cables": [{"from": s, "to": d} for s, d in self.cables]}


class Desk:
    """Two sheets, the stack of those before, and the way back while a patch is on probation."""

    def __init__(self) -> None:
        self.committed, self.pending = Sheet(), Sheet()
        self.in_flight: list[Sheet] = []  # being committed, oldest first
        self.undo: list[Sheet] = []
        self._back: tuple[Sheet, list[Sheet]] | None = None
        self._n_modules = 0

    def dump(self) -> dict[str, Any]:
        pending, committed = self.pending, self.committed
        has_edits = pending.structure != committed.structure or pending.as_dump() != committed.as_dump()
        return {
            "committed": committed.as_dump(),
            "pending": pending.as_dump(),
            "has_edits": has_edits,
            "undo_depth": len(self.undo),
        }

    # ---- edits and values

    def do(self, command: Command) -> bool:
        """Execute a command; False: it is to be refused, and nothing has changed."""
        if isinstance(command, SetParam):
            return self._set(command.module_id, command.param, command.value)
        if isinstance(command, Gate):
            return self._set(command.module_id, None, command.value)
        modules, cables = self.pending.modules, self.pending.cables
        if isinstance(command, Create):
            is_type = command.module_type in specs.registry().names
            if command.module_id in modules or " " in command.module_id or not is_type:
                return False
            self._n_modules += 1
            modules[command.module_id] = Module(self._n_modules, command.module_type)
        elif isinstance(command, Delete):
            if modules.pop(command.module_id, None) is None:
                return False
            cables[:] = [c for c in cables if command.module_id not in map(owner, c)]
        elif isinstance(command, Connect):
            new = [c for c in self._cables(command.source, command.dest) if c not in cables]
            if not new or owner(new[0][0]) == owner(new[0][1]):
                return False
            cables.extend(new)
        elif isinstance(command, Disconnect):
            there = [c for c in self._cables(command.source, command.dest) if c in cables]
            if not there:
                return False
            cables[:] = [c for c in cables if c not in there]
        elif isinstance(command, PatchSample):
            if command.module_id not in modules or modules[command.module_id].spec.data != "sample":
                return False
            modules[command.module_id].file = command.file
        elif isinstance(command, Clear):
            self.pending = Sheet()
        else:
            assert isinstance(command, Abort)
            self.pending = self.committed.copy()
        return True

    def _cables(self, source: str, dest: str) -> list[tuple[str, str]]:
        """Return the cables that two names mean, none where a name is wrong; two where either means left and right."""
        outputs, inputs = self._outputs(source), self._inputs(dest)
        n = max(len(outputs), len(inputs)) if outputs and inputs else 0
        return [(outputs[k % len(outputs)], inputs[k % len(inputs)]) for k in range(n)]

    def _outputs(self, source: str) -> list[str]:
        id, dot, port = source.partition(".")
        names = self.pending.modules[id].spec.outputs if id in self.pending.modules else ()
        if dot:
            return _named(id, names, [port]) if port in names else []
        return _named(id, names, _meant(names))

    def _inputs(self, dest: str) -> list[str]:
        id, dot, port = dest.partition(".")
        if id not in self.pending.modules:
            return []
        spec = self.pending.modules[id].spec
        if not dot or port in spec.inputs:
            return _named(id, spec.inputs, [port] if dot else _meant(spec.inputs))
        param = spec.find_param(port)
        return [f"{id}.{param.name}"] if param is not None and param.takes_cable else []

    def _set(self, id: str, name: str | None, value: object) -> bool:
        sheets = [s for s in (self.committed, *self.in_flight, self.pending) if id in s.modules]
        if not sheets:
            return False
        type = sheets[0].modules[id].type
        spec = sheets[0].modules[id].spec
        param = spec.gate_param if name is None else spec.find_param(name)
        number = None if param is None else _number(param, value)
        if param is None or number is None:
            return False
        if self._back is not None and self._back[0].plays(id, self.committed):
            sheets.append(self._back[0])
        for sheet in sheets:
            if sheet.modules[id].type == type and not param.is_event:
                sheet.modules[id].params[param.name] = number
        return True

    # ---- commits

    def begin(self) -> Sheet:
        """Take the pending patch for a commit that is on its way."""
        self.in_flight.append(self.pending.copy())
        return self.in_flight[-1]

    def begin_undo(self) -> Sheet:
        sheet = self.undo[-1].copy()
        for id, module in sheet.modules.items():
            if sheet.plays(id, self.committed):
                module.params.update(self.committed.modules[id].params)
            else:
                self._n_modules += 1
                module.number = self._n_modules
        self.in_flight.append(sheet)
        return sheet

    def refuse(self, sheet: Sheet) -> None:
        self.in_flight = [other for other in self.in_flight if other is not sheet]

    def accept(self, sheet: Sheet, *, is_undo: bool = False) -> dict[str, list[str]]:
        """What was begun is heard; return what the report has to tell."""
        self.refuse(sheet)
        before = self.committed
        self._back = (before, [other.copy() for other in self.undo])
        if is_undo:
            then = self.undo.pop()
            renewed = {module.number: sheet.modules[id].number for id, module in then.modules.items()}
            for other in self.undo:
                for module in other.modules.values():
                    module.number = renewed.get(module.number, module.number)
            self.pending = sheet.copy()
        elif before.structure != sheet.structure:
            self.undo.append(before)
        self.committed = sheet
        return {
            "carried": [id for id in sheet.modules if sheet.plays(id, before)],
            "new": [id for id in sheet.modules if not sheet.plays(id, before)],
            "gone": [id for id in before.modules if not before.plays(id, sheet)],
        }

    def roll_back(self, dump: dict[str, Any]) -> None:
        """The patch on probation was taken back. When, and so which values came before, only the dump tells."""
        assert self._back is not None
        (self.committed, self.undo), self._back = self._back, None
        for sheet, told in ((self.committed, dump["committed"]), (self.pending, dump["pending"])):
            values = {node["id"]: node["params"] for node in told["nodes"]}
            for id, module in sheet.modules.items():
                module.params = dict(values.get(id, {}))


def without_hashes(dump: dict[str, Any]) -> dict[str, Any]:
    """Return a dump without the hashes of samples, which are filled in when their files have been read."""
    for sheet in (dump["committed"], dump["pending"]):
        for node in sheet["nodes"]:
            node.get("data", {}).pop("sha256", None)
    return dump


def owner(end: str) -> str:
    """Return the id of the module that an end of a cable belongs to."""
    return end.split(".")[0]


def _meant(ports: tuple[str, ...]) -> tuple[str, ...]:
    """Return which ports a module's name alone means."""
    return ports[:2] if ports[:2] == ("left", "right") else ports[:1]


def _named(id: str, ports: tuple[str, ...], wanted: Iterable[str]) -> list[str]:
    """Return ends as a dump names them: by the id alone where it could be nothing but the first port."""
    return [id if port == ports[0] and len(_meant(ports)) == 1 else f"{id}.{port}" for port in wanted]


def _number(param: ParamSpec, value: object) -> float | None:
    """Return what a parameter takes of a value, None where it must refuse it."""
    if isinstance(value, str):
        words = {"on": 1.0, "off": 0.0} if param.is_gate else {c: float(n) for n, c in enumerate(param.choices)}
        return words.get(value)
    assert isinstance(value, (int, float))
    low, high = param.range_at(RATE_HZ)
    is_whole = not (param.is_gate or param.is_integer) or float(value).is_integer()
    return float(value) if low <= value <= high and is_whole else None

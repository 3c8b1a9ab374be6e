"""Patch, Node, Cable: frozen data and validation, no I/O, no native calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Real
from types import MappingProxyType
from typing import Any

from pyengine.errors import CommandError, Fault, PatchError, UnknownNameError, merged, shown
from pyengine.limits import MAX_CABLES, MAX_NODES, PATCH_VERSION, too_many
from pyengine.specs import (
    ModuleSpec,
    ParamSpec,
    Registry,
    number_text,
    parse_gate,
    registry,
    unknown_name,
)

__all__ = ["MAX_CABLES", "MAX_NODES", "Cable", "Node", "Op", "Patch", "parse_gate", "parse_op"]

_MAX_HANDLE = 0xFFFFFFFF
_MAX_DEPTH = 1e6
_MOST_COPIES = 64  # of a module of voices: each has as many handles, whether they sound or not
_DEFAULT_VOICES = 8
_ONE_PAIR = [(0, 0)]
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Op = tuple[str, str, str | None, float]
"""('mod', id, param, value) or ('gate', id, None, 0 or 1)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A module of a patch. params: what was set, by proper name; the rest has the type's defaults. data: what the
    type takes besides, as text (node_data.py).
    """

    id: str
    handle: int
    type: str
    params: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cable:
    """From output number source_port to input number dest_port, or with to_param to that parameter.

    What comes out is x * depth + offset; with feedback, a handle, 64 frames later. Two cables are the same when
    their ends are; wiring() tells all of one.
    """

    source: str
    source_port: int
    dest: str
    dest_port: int
    to_param: bool = False
    depth: float = field(default=1.0, compare=False)
    offset: float = field(default=0.0, compare=False)
    feedback: int = field(default=0, compare=False)

    def wiring(self) -> tuple[Cable, float, float, int]:
        """Return what two cables share that do the same."""
        return self, self.depth, self.offset, self.feedback


class Patch:
    """A graph of modules. Edits are checked at once and return the patch; validate() checks the whole.

    Two patches are equal when their JSON is: same nodes with the same settings and the same cables, both
    in the same order. Handles are not compared; structure() has them.
    """

    __slots__ = ("_cables", "_next_handle", "_nodes", "_registry", "_touching")

    def __init__(self, *, registry: Registry | None = None, next_handle: int = 1) -> None:
        self._registry = registry if registry is not None else _default_registry()
        self._nodes: dict[str, Node] = {}
        self._cables: dict[Cable, Cable] = {}  # by their ends
        self._touching: dict[str, dict[Cable, None]] | None = None  # the cables of each node, once they are asked for
        self._next_handle = 1
        self.next_handle = next_handle

    # ---- reading ----

    @property
    def registry(self) -> Registry:
        return self._registry

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by id, in order of creation; a read-only view that follows the edits."""
        return MappingProxyType(self._nodes)

    @property
    def cables(self) -> tuple[Cable, ...]:
        """The cables, in order of connection."""
        return tuple(self._cables.values())

    @property
    def n_cables(self) -> int:
        return len(self._cables)

    @property
    def is_stereo(self) -> bool:
        """Whether something in it is heard on one side alone: a module with outputs left and right."""
        return any(self.spec(id).is_stereo_out for id in self.heard)

    @property
    def heard(self) -> list[str]:
        """The ids of what is heard: what no cable leads away from, unless it leads back."""
        spec_of, nodes = self._registry.get, self._nodes
        onward = {c.source for c in self._cables.values() if not c.feedback and not spec_of(nodes[c.dest].type).absorbs}
        specs = ((id, spec_of(node.type)) for id, node in nodes.items() if id not in onward)
        return [id for id, spec in specs if spec.outputs and not spec.events]

    @property
    def next_handle(self) -> int:
        """The handle of the next node created. Set it upward to keep handles apart across patches."""
        return self._next_handle

    @next_handle.setter
    def next_handle(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise CommandError(f"next_handle={shown(value)} is not a whole number; give one")
        if not self._next_handle <= value <= _MAX_HANDLE:
            allowed = f"{self._next_handle}..{_MAX_HANDLE}"
            raise CommandError(f"next_handle={shown(value)} is outside {allowed}; handles are never reused")
        self._next_handle = value

    def node(self, id: str) -> Node:
        """Return a node. Raises UnknownNameError with the nearest id."""
        node = self._nodes.get(id) if isinstance(id, str) else None
        if node is None:
            raise unknown_name("module id", id if isinstance(id, str) else shown(id), self._nodes)
        return node

    def spec(self, id: str) -> ModuleSpec:
        """Return the type of a node."""
        return self._registry.get(self.node(id).type)

    def structure(self) -> tuple[tuple[tuple[str, int, str, str], ...], tuple[tuple[Cable, float, float, int], ...]]:
        """Return what two patches share when only values differ between them; hashable."""
        import json  # here and below, so that who only renders does not load it

        nodes = tuple((n.id, n.handle, n.type, json.dumps(n.data, sort_keys=True)) for n in self._nodes.values())
        return nodes, tuple(c.wiring() for c in self._cables.values())

    def is_built_like(self, other: Patch) -> bool:
        """Return whether the other has the same structure(), without making either."""
        if len(self._nodes) != len(other._nodes) or len(self._cables) != len(other._cables):
            return False
        pairs = zip(self._nodes.values(), other._nodes.values(), strict=True)
        is_same = all(
            a is b or ((a.id, a.handle, a.type) == (b.id, b.handle, b.type) and a.data == b.data) for a, b in pairs
        )
        return is_same and self._is_wired_like(other)

    def ops(self) -> list[Op]:
        """Return all that was set, as ops of priming, in order."""
        return [_op_of(node.id, spec, param, value) for node, spec, param, value in self.settings()]

    def settings(self) -> Iterator[tuple[Node, ModuleSpec, ParamSpec, float]]:
        """Yield all that was set, in order."""
        specs = self._registry
        for node in self._nodes.values():
            if node.params:
                spec = specs.get(node.type)
                for name, value in node.params.items():
                    yield node, spec, spec.param(name), value

    def cable_text(self, cable: Cable) -> tuple[str, str]:
        """Return (source, dest) of a cable as connect() takes them, ports named where they need to be."""
        source, dest = cable.source, cable.dest
        giver, taker = self.spec(source), self.spec(dest)
        if cable.source_port or giver.is_stereo_out or giver.is_voices:
            source += "." + giver.outputs[cable.source_port]
        if cable.to_param:
            dest += "." + taker.params[cable.dest_port].name
        elif cable.dest_port or taker.is_stereo_in:
            dest += "." + taker.inputs[cable.dest_port]
        return source, dest

    # ---- editing ----

    def create(self, id: str, type: str, *, handle: int | None = None) -> Patch:
        """Add a node with the defaults of its type. handle: one that is the node's already, elsewhere."""
        owner = self._check_id(id)
        if id in self._nodes:
            text = f"the id is taken by a {self._nodes[id].type}; choose another or delete it first"
            raise PatchError(Fault(text, node=id))
        try:
            spec = self._registry.get(type)
        except UnknownNameError as error:
            raise UnknownNameError([fault._replace(node=id) for fault in error.faults]) from None
        if self._next_handle >= _MAX_HANDLE:
            raise PatchError(Fault("no handles are left; restart the engine", node=id))
        if owner and spec.events:
            raise PatchError(Fault(f"{spec.name} cannot belong to {owner}: only modules that sound can", node=id))
        own = self._next_handle if handle is None else _checked_handle(handle)
        data = {"voices": _DEFAULT_VOICES} if spec.is_voices else {}
        self._nodes[id] = Node(id, own, spec.name, data=data)
        if self._touching is not None:
            self._touching[id] = {}
        self._next_handle = max(self._next_handle, own + _handles(id))
        return self

    def _check_id(self, id: object) -> str:
        """Return the id of the voices that own a module of that id, '' for none. Raises PatchError."""
        if isinstance(id, str) and _ID.fullmatch(id):
            return ""
        owner, dot, name = id.partition(".") if isinstance(id, str) else ("", "", "")
        has_owner = owner in self._nodes and self.spec(owner).is_voices
        if not has_owner or not _ID.fullmatch(name):
            text = f"id {shown(id)} is not valid; use 1 to 64 of A-Z a-z 0-9 _ - (no dots, slashes or spaces)"
            hint = f"; {owner}.{name} needs voices {owner}, created before it" if dot and _ID.fullmatch(name) else ""
            raise PatchError(Fault(text + hint))
        if name in self.spec(owner).outputs:
            raise PatchError(Fault(f"id {shown(id)}: {owner}.{name} is what its modules follow; choose another name"))
        return owner

    def renew(self, id: str, handle: int | None = None) -> Patch:
        """Give a node another handle, by default one of its own: a new module, with no state to carry."""
        own = self._next_handle if handle is None else _checked_handle(handle)
        self._nodes[id] = replace(self.node(id), handle=own)
        self._next_handle = max(self._next_handle, own + _handles(id))
        return self

    def delete(self, id: str) -> Patch:
        """Remove a node and its cables; with voices all that they own."""
        if self.spec(id).is_voices:
            for member in self.members(id):
                self.delete(member)
        touching = self._cables_by_node()
        for cable in list(touching[id]):
            self._unplug(cable)
        del touching[id], self._nodes[id]
        return self

    def connect(
        self, source: str, dest: str, depth: object = 1.0, offset: object = 0.0, *, feedback: object = False
    ) -> Patch:
        """Add a cable from 'osc1' or 'osc1.out' to 'filt1', 'filt1.in' or a parameter, 'filt1.cutoff'.

        What comes out of it is x * depth + offset, in the parameter's unit; feedback: 64 frames later, and then it
        may close a cycle. Where a module has ports left and right, its name alone means both. A cable that is there
        already takes the new depth, offset and feedback.
        """
        numbers = _cable_number("depth", depth), _cable_number("offset", offset)
        is_feedback = bool(parse_gate(feedback, name="feedback"))
        cables = self.resolve_cables(source, dest)
        if is_feedback:
            self._check_feedback(cables[0])
        if cables[0].source == cables[0].dest and not is_feedback:
            text = "a module cannot be connected to itself; make it a feedback cable, or put another module between"
            raise PatchError(Fault(text, node=cables[0].source))
        there = [self._cables[cable] for cable in cables if cable in self._cables]
        if len(there) == len(cables) and all(
            (c.depth, c.offset, bool(c.feedback)) == (*numbers, is_feedback) for c in there
        ):
            raise PatchError(Fault(f"the cable {self._arrow(cables[0])} is there already; nothing to do"))
        for cable in cables:
            self._plug(cable, *numbers, is_feedback)
        return self

    def disconnect(self, source: str, dest: str) -> Patch:
        """Remove a cable, named as for connect()."""
        cables = self.resolve_cables(source, dest)
        cable = cables[0]
        if not any(c in self._cables for c in cables):
            touching = self._cables_by_node()
            near = {**touching[cable.source], **touching[cable.dest]}
            listed = ", ".join(self._arrow(c) for c in islice(near, 12)) or "none"
            more = f" and {len(near) - 12} more" if len(near) > 12 else ""
            text = f"there is no cable {self._arrow(cable)}; cables of these modules: {listed}{more}"
            raise PatchError(Fault(text))
        for cable in cables:
            if cable in self._cables:
                self._unplug(cable)
        return self

    def give(self, id: str, data: Mapping[str, Any]) -> Patch:
        """Give a node what its type takes besides parameters, in place of what it had. Raises PatchError."""
        from pyengine import node_data  # it needs patches itself

        node = self.node(id)
        checked = node_data.check(self, node, data)
        self._nodes[id] = replace(node, data=checked)
        return self

    def sequence(
        self,
        id: str,
        *,
        pattern: str | None = None,
        notes: str | None = None,
        velocities: str | None = None,
        division: float | str | None = None,
        lanes: Mapping[str, str] | None = None,
        targets: Iterable[str] | None = None,
        clock: str | None = None,
    ) -> Patch:
        """Give a `seq` what is named; "" takes it away, None leaves it as it is. Raises PatchError with all faults.

        Takes what Engine.sequence takes, or nothing of it where a part is wrong: pattern 'X..x-.3.', notes
        'C4 Eb3 . C4+E4+G4', velocities '1 0.5' (0..1), division: steps to a beat, 1..64, or '4/3', lanes
        {'filt1.cutoff': '400 800 . 1200'} in the parameter's unit, targets: what it plays.
        """
        data = dict(self.node(id).data)
        given = {"pattern": pattern, "notes": notes, "velocities": velocities, "division": division, "clock": clock}
        data.update({key: value for key, value in given.items() if value is not None})
        if lanes:
            data["lanes"] = {**data.get("lanes", {}), **lanes}
        if targets is not None:
            data["targets"] = targets.split() if isinstance(targets, str) else list(targets)
        return self.give(id, data)

    def voices(self, id: str, n: int) -> Patch:
        """Say how many notes of a `voices` sound at once, 1..64. Raises PatchError."""
        return self.give(id, {"voices": n})

    def sample(self, id: str, file: str) -> Patch:
        """Give a `sampler` a file inside the samples folder, which is read when it is rendered. Raises PatchError."""
        return self.give(id, {"file": file})

    def set(self, id: str, param: str, value: object, sample_rate_hz: float | None = None) -> Patch:
        """Set a parameter by name or alias. value: a number, the name of a choice, or as gate() takes it."""
        spec, number = self.resolve_value(id, param, value, sample_rate_hz)
        if spec.is_event:
            text = (
                f"{spec.name} is a deed, not a value that a patch keeps; send it to an engine, or render with an event"
            )
            raise PatchError(Fault(text, node=id, param=spec.name))
        node = self._nodes[id]
        self._nodes[id] = Node(id, node.handle, node.type, {**node.params, spec.name: number}, node.data)
        return self

    def keep_values(self, id: str, values: Mapping[str, float]) -> Patch:
        """Give a node values that were taken by another patch's module of its type, by proper name."""
        node = self.node(id)
        self._nodes[id] = Node(id, node.handle, node.type, {**node.params, **values}, node.data)
        return self

    def gate(self, id: str, value: object) -> Patch:
        """Open or close the gate of a node: 0, 1, true, false, 'on', 'off'."""
        return self.set(id, self.gate_param(id).name, value)

    def clear(self) -> Patch:
        """Remove everything; handles go on from where they are."""
        self._nodes.clear()
        self._cables.clear()
        self._touching = None
        return self

    def copy(self) -> Patch:
        """Return a patch of its own with the same nodes, handles, cables and handle counter."""
        twin = Patch(registry=self._registry, next_handle=self._next_handle)
        twin._nodes = self._nodes.copy()
        twin._cables = self._cables.copy()
        return twin

    # ---- checking, without editing ----

    def gate_param(self, id: str) -> ParamSpec:
        """Return the parameter that gate() sets. Raises PatchError if the type has none."""
        spec = self.spec(id)
        if spec.gate_param is None:
            able = ", ".join(m.name for m in self._registry.modules if m.gate_param) or "none"
            raise PatchError(Fault(f"{spec.name} has no gate; module types with one: {able}", node=id))
        return spec.gate_param

    def resolve_value(
        self, id: str, param: str, value: object, sample_rate_hz: float | None = None
    ) -> tuple[ParamSpec, float]:
        """Return the parameter and the number that set() would store. Raises as set() does."""
        spec = self.spec(id)
        if not isinstance(param, str):
            raise PatchError(Fault(f"the parameter's name must be a string, not {shown(param)}", node=id))
        found = spec.param(param, node=id)
        return found, found.parse(value, sample_rate_hz, node=id)

    def split_param(self, text: str) -> tuple[str, str | None]:
        """Return (id, parameter) of 'filt1.cutoff', (id, None) of 'filt1'; whether they are there is not looked at."""
        return self._split(text, "module")

    def copies(self, id: str) -> int:
        """Return how many modules a node stands for when it sounds, with handles from its own on."""
        return int(self._nodes[id.partition(".")[0]].data["voices"]) if "." in id else 1

    def members(self, id: str) -> list[str]:
        """Return the ids of the modules that voices own."""
        return [member for member in self._nodes if member.startswith(id + ".")]

    def resolve_cables(self, source: str, dest: str) -> list[Cable]:
        """Return the cables that these names mean, whether they are there or not: two where either end means left
        and right. Reports both ends' faults.
        """
        errors: list[PatchError] = []
        source_id = dest_id = ""
        outputs, inputs, to_param = [0], [0], False
        try:
            source_id, outputs = self._outputs(source)
        except PatchError as error:
            errors.append(error)
        is_followed = bool(source_id) and self.spec(source_id).is_voices
        try:
            dest_id, inputs, to_param = self._inputs(dest, is_followed)
        except PatchError as error:
            errors.append(error)
        if errors:
            raise merged(errors)
        if is_followed:
            self._check_followed(source, source_id, dest, dest_id, inputs[0], to_param)
        n = max(len(outputs), len(inputs))
        pairs = zip(outputs * (n // len(outputs)), inputs * (n // len(inputs)), strict=True)
        return [Cable(source_id, a, dest_id, b, to_param) for a, b in pairs]

    def validate(self, sample_rate_hz: float = 48000) -> Patch:
        """Raise one PatchError with all faults: values at this rate, cycles, limits. Empty is valid."""
        errors = [
            *self._limit_errors(),
            *self._range_errors(sample_rate_hz),
            *self._cycle_errors(),
            *self._data_errors(),
        ]
        if errors:
            raise merged(errors)
        return self

    # ---- JSON ----

    def to_dict(self) -> dict[str, Any]:
        """Return the patch as plain data, the schema of to_json()."""
        return {
            "version": PATCH_VERSION,
            "nodes": [self._plain_node(node) for node in self._nodes.values()],
            "cables": [self._plain_cable(cable) for cable in self._cables.values()],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return the patch as JSON. Handles are not in it."""
        import json

        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_json(
        cls,
        data: str | bytes | Mapping[str, Any],
        *,
        registry: Registry | None = None,
        next_handle: int = 1,
        sample_rate_hz: float | None = None,
    ) -> Patch:
        """Return the patch of a JSON text or its dict, validated where a rate is given.

        Raises one PatchError with all faults, each with the key it was found at.
        """
        from pyengine.patch_reader import Reader

        patch: Patch = Reader(cls(registry=registry, next_handle=next_handle)).read(data, sample_rate_hz)
        return patch

    # ---- odds and ends ----

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patch):
            return NotImplemented
        if len(self._nodes) != len(other._nodes) or len(self._cables) != len(other._cables):
            return False
        pairs = zip(self._nodes.values(), other._nodes.values(), strict=True)
        is_same = all(
            a is b or ((a.id, a.type, a.params) == (b.id, b.type, b.params) and a.data == b.data) for a, b in pairs
        )
        return is_same and self._is_wired_like(other, with_handles=False)

    def __repr__(self) -> str:
        nodes = ", ".join(f"{n.id} {n.type}" for n in islice(self._nodes.values(), 6))
        more = ", ..." if len(self._nodes) > 6 else ""
        return f"<Patch {len(self._nodes)} nodes ({nodes}{more}), {len(self._cables)} cables>"

    def _arrow(self, cable: Cable) -> str:
        return " -> ".join(self.cable_text(cable))

    def _is_wired_like(self, other: Patch, with_handles: bool = True) -> bool:
        """Return whether the cables are the same in the same order, feedback handles too if asked for."""
        pairs = zip(self._cables.values(), other._cables.values(), strict=True)
        if with_handles:
            return all(a is b or a.wiring() == b.wiring() for a, b in pairs)
        return all(
            a is b or (a == b and (a.depth, a.offset, a.feedback > 0) == (b.depth, b.offset, b.feedback > 0))
            for a, b in pairs
        )

    def _plain_node(self, node: Node) -> dict[str, Any]:
        row = {"id": node.id, "type": node.type, "params": self._plain_params(node)}
        return row | ({"data": dict(node.data)} if node.data else {})

    def _plain_cable(self, cable: Cable) -> dict[str, Any]:
        source, dest = self.cable_text(cable)
        row: dict[str, Any] = {"from": source, "to": dest}
        if cable.depth != 1.0:
            row["depth"] = cable.depth
        if cable.offset != 0.0:
            row["offset"] = cable.offset
        return row | ({"feedback": True} if cable.feedback else {})

    def _plain_params(self, node: Node) -> dict[str, float]:
        spec = self._registry.get(node.type)
        whole = {p.name for p in spec.params if p.is_integer or p.is_gate}
        return {name: int(value) if name in whole else value for name, value in node.params.items()}

    def _cables_by_node(self) -> dict[str, dict[Cable, None]]:
        """Return the cables of each node: made once, then kept up, so that copies cost little and edits too."""
        if self._touching is None:
            self._touching = {id: {} for id in self._nodes}
            for cable in self._cables:
                self._touching[cable.source][cable] = None
                self._touching[cable.dest][cable] = None
        return self._touching

    def pairs(self, cable: Cable) -> list[tuple[int, int]]:
        """Return the cables that one stands for when it sounds, as (copy of the source, copy of the dest)."""
        if "." not in cable.source and "." not in cable.dest:
            return _ONE_PAIR
        if self.spec(cable.source).is_voices:
            return []  # its parameter is set, not wired
        owners = [id.partition(".")[0] if "." in id else "" for id in (cable.source, cable.dest)]
        if owners[0] and owners[0] == owners[1]:
            return [(k, k) for k in range(self.copies(cable.source))]
        return [(a, b) for a in range(self.copies(cable.source)) for b in range(self.copies(cable.dest))]

    def _check_feedback(self, cable: Cable) -> None:
        if self.spec(cable.source).is_voices:
            raise PatchError(Fault("what follows a note needs no feedback; leave it out", node=cable.source))
        owners = {id.partition(".")[0] for id in (cable.source, cable.dest) if "." in id}
        if len(owners) > 1:
            text = f"feedback from {cable.source} to {cable.dest} would join two sets of voices; put a module between"
            raise PatchError(Fault(text, node=cable.source))

    def _plug(self, cable: Cable, depth: float, offset: float, is_feedback: bool, handle: int | None = None) -> None:
        """Add a cable or change the one that is there. handle: of its feedback, where it has one already."""
        old = self._cables.get(cable)
        feedback = 0
        if is_feedback:
            feedback = handle or (old.feedback if old else 0) or self._next_handle
            self._next_handle = max(self._next_handle, feedback + max(_handles(cable.source), _handles(cable.dest)))
        self._cables[cable] = replace(cable, depth=depth, offset=offset, feedback=feedback)
        if self._touching is not None:
            self._touching[cable.source][cable] = None
            self._touching[cable.dest][cable] = None

    def rewire(self, source: str, dest: str, depth: float, offset: float, feedback: int) -> Patch:
        """Add a cable as wiring() told of it elsewhere, the handle of its feedback kept (0: none)."""
        for cable in self.resolve_cables(source, dest):
            self._plug(cable, depth, offset, feedback > 0, _checked_handle(feedback) if feedback else None)
        return self

    def _unplug(self, cable: Cable) -> None:
        del self._cables[cable]
        if self._touching is not None:
            del self._touching[cable.source][cable]
            self._touching[cable.dest].pop(cable, None)

    def _check_followed(self, source: str, owner: str, dest: str, dest_id: str, param: int, to_param: bool) -> None:
        if not to_param or dest_id.partition(".")[0] != owner or "." not in dest_id:
            able = ", ".join(f"{owner}.{port}" for port in self.spec(owner).outputs)
            text = f"{dest} cannot follow {source}: {able} are for parameters of what {owner} owns, as {owner}.osc.freq"
            raise PatchError(Fault(text, node=owner))
        if self.spec(dest_id).params[param].is_event:
            raise PatchError(Fault(f"{dest} is a deed, not a value; it can follow nothing", node=owner))

    def _split(self, text: object, end: str) -> tuple[str, str | None]:
        if not isinstance(text, str):
            raise PatchError(Fault(f"the {end} must be a string such as 'osc1', not {shown(text)}"))
        id, dot, port = text.partition(".")
        name, more, rest = port.partition(".")
        owner = self._nodes.get(id)
        if f"{id}.{name}" in self._nodes or (more and owner is not None and self._registry.get(owner.type).is_voices):
            return f"{id}.{name}", rest if more else None
        return id, port if dot else None

    def _outputs(self, text: str) -> tuple[str, list[int]]:
        id, port = self._split(text, "source")
        spec = self.spec(id)
        if spec.is_voices and port is None:
            able = ", ".join(f"{id}.{name}" for name in spec.outputs)
            raise PatchError(
                Fault(f"say what of {id} is to be followed: {able}; its sound comes from what it owns", node=id)
            )
        if not spec.outputs:
            raise PatchError(Fault(f"{spec.name} has no output to connect from", node=id))
        if port is None:
            return id, [0, 1] if spec.is_stereo_out else [0]
        if port not in spec.outputs:
            raise unknown_name(f"output of {spec.name}", port, spec.outputs, node=id)
        return id, [spec.outputs.index(port)]

    def _inputs(self, text: str, is_followed: bool = False) -> tuple[str, list[int], bool]:
        id, port = self._split(text, "dest")
        spec = self.spec(id)
        able = ", ".join(f"{id}.{p.name}" for p in spec.cable_params) or "none"
        if port is None:
            if not spec.inputs:
                text = f"{spec.name} has no input; its parameters that take a cable: {able}"
                raise PatchError(Fault(text, node=id))
            return id, [0, 1] if spec.is_stereo_in else [0], False
        if port in spec.inputs:
            return id, [spec.inputs.index(port)], False
        param = spec.find_param(port)
        if param is None:
            names = [*spec.inputs, *(p.name for p in spec.cable_params)]
            raise unknown_name(f"input or parameter of {spec.name}", port, names, node=id)
        if not param.takes_cable and not is_followed:
            text = f"{param.name} is a deed, not a value that a cable could hold; parameters that take one: {able}"
            raise PatchError(Fault(text, node=id, param=param.name))
        return id, [param.index], True

    def _limit_errors(self) -> Iterator[PatchError]:
        n_cables, n_delays = len(self._cables), sum(1 for cable in self._cables.values() if cable.feedback)
        n_nodes = len(self._nodes)
        if any("." in id for id in self._nodes):
            n_nodes = sum(map(self.copies, self._nodes))
            pairs = [(len(self.pairs(cable)), cable) for cable in self._cables.values()]
            n_cables, n_delays = sum(n for n, _ in pairs), sum(n for n, cable in pairs if cable.feedback)
        yield from too_many("nodes and feedback cables", n_nodes + n_delays, MAX_NODES)
        yield from too_many("cables", n_cables, MAX_CABLES)

    def _range_errors(self, sample_rate_hz: float) -> Iterator[PatchError]:
        for node, _, param, value in self.settings():
            try:
                param.check_range(value, sample_rate_hz, node=node.id)
            except PatchError as error:
                yield error

    def _data_errors(self) -> Iterator[PatchError]:
        from pyengine import node_data

        for node in self._nodes.values():
            if node.data:
                try:
                    node_data.compile_data(self, node)
                except PatchError as error:
                    yield error

    def _cycle_errors(self) -> Iterator[PatchError]:
        number = {id: n for n, id in enumerate(self._nodes)}
        late = {spec.name for spec in self._registry.modules if spec.is_late}
        at_once = [c for c in self._cables.values() if not c.feedback and self._nodes[c.dest].type not in late]
        if all(number[cable.source] < number[cable.dest] for cable in at_once):
            return  # every cable leads onward: there is no way back
        from pyengine.cycles import cycles, shortest_cycle

        following: dict[str, list[str]] = {id: [] for id in self._nodes}
        for cable in at_once:
            following[cable.source].append(cable.dest)
        for component in cycles(following):
            first = min(component, key=lambda id: self._nodes[id].handle)
            path = shortest_cycle(first, component, following)
            ends = tuple(path[-2:])
            closing = next(n for n, c in enumerate(self._cables) if (c.source, c.dest) == ends)
            advice = "remove one of these cables or make it a feedback cable"
            text = f"cycle: {' -> '.join(path)}; {advice}"
            yield PatchError(Fault(text, key=f"cables[{closing}]"))


def parse_op(op: object, patch: Patch | None = None, sample_rate_hz: float | None = None) -> Op:
    """Return a checked ('mod', id, param, value) or ('gate', id, None, 0 or 1).

    With a patch, names and value are checked against it, aliases become names and choices numbers.
    Raises CommandError if it is no op at all, PatchError for what the patch does not have or take.
    """
    if not isinstance(op, (tuple, list)) or len(op) != 4:
        wanted = "('mod', id, param, value) or ('gate', id, None, value)"
        raise CommandError(f"{shown(op)} is no op; give {wanted}; note_events() makes them of notes")
    kind, id, param, value = op
    if not isinstance(kind, str) or kind not in ("mod", "gate"):
        raise CommandError(f"op {shown(kind)} is unknown; use 'mod' or 'gate'")
    if not isinstance(id, str):
        raise CommandError(f"the id of an op must be a string, not {shown(id)}")
    if kind == "gate":
        if param is not None:
            text = f"a 'gate' op has None in third place, not {shown(param)}; use 'mod' for parameters"
            raise CommandError(text)
        if patch is not None:
            patch.gate_param(id)
        return ("gate", id, None, parse_gate(value, node=id))
    if not isinstance(param, str):
        raise CommandError(f"the parameter of a 'mod' op must be a string, not {shown(param)}")
    if patch is not None:
        found, number = patch.resolve_value(id, param, value, sample_rate_hz)
        return _op_of(id, patch.spec(id), found, number)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CommandError(f"the value of a 'mod' op must be a number, not {shown(value)}")
    try:
        return ("mod", id, param, float(value))
    except OverflowError:
        raise CommandError(f"the value of a 'mod' op is too large: {shown(value)}") from None


def _op_of(id: str, spec: ModuleSpec, param: ParamSpec, value: float) -> Op:
    return ("gate", id, None, int(value)) if param is spec.gate_param else ("mod", id, param.name, value)


def _cable_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= _MAX_DEPTH:  # type: ignore[operator]
        text = f"{name}={shown(value)} of a cable is not a number within +-{number_text(_MAX_DEPTH)}; give one"
        raise PatchError(Fault(text, limit=_MAX_DEPTH))
    return float(value) + 0.0  # -0.0 is 0.0: the same cable is the same text


def _checked_handle(handle: object) -> int:
    if isinstance(handle, bool) or not isinstance(handle, int) or not 0 < handle < _MAX_HANDLE:
        raise CommandError(f"handle={shown(handle)} is no handle; give a whole number, 1..{_MAX_HANDLE - 1}")
    return handle


def _default_registry() -> Registry:
    return registry()


def _handles(id: str) -> int:
    """Return how many handles a node has for itself."""
    return _MOST_COPIES if "." in id else 1

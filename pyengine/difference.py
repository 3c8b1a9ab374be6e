"""The commands that turn one patch into another and leave what both have alone, so that it keeps its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyengine.commands import Clear, Command, Connect, Create, Delete, Disconnect, SetParam
from pyengine.errors import Fault, PatchError
from pyengine.patch import Node, Patch


@dataclass(frozen=True, slots=True)
class Edits:
    """build: to be sent before the commit. settings: of modules that stay, to be sent when it is heard.

    Sent earlier, a setting of a module that plays would change the sound that is still playing.
    """

    build: tuple[Command, ...]
    settings: tuple[Command, ...]


def edits(before: Patch, after: Patch) -> Edits:
    """Return what turns `before` into `after`: a module of the same id and type stays.

    Raises PatchError where a module would have to be given data for which there is no command.
    """
    kept = {id for id, node in after.nodes.items() if id in before.nodes and before.nodes[id].type == node.type}
    gone = set(before.nodes) - kept  # with voices all go that they own
    kept -= {id for id in kept if _owner(id) in gone}
    _check_data(kept, before, after)
    build: list[Command] = [Delete(id) for id in before.nodes if id not in kept and _owner(id) not in gone]
    build += [Create(id, node.type) for id, node in after.nodes.items() if id not in kept]
    for id, node in after.nodes.items():
        if id not in kept:
            build += [SetParam(id, name, value) for name, value in node.params.items()]
    there, wanted = _cables(before), _cables(after)
    stay = {ends for ends, row in there.items() if set(ends[:2]) <= kept and wanted.get(ends) == row}
    unplugged = [
        row for ends, row in there.items() if set(ends[:2]) <= kept and ends not in wanted
    ]  # the others went along
    build += [Disconnect(row["from"], row["to"]) for row in unplugged]
    build += [_connect(row) for ends, row in wanted.items() if ends not in stay]
    settings: list[Command] = []
    for id in kept:
        now, then = after.nodes[id].params, before.nodes[id].params
        spec = after.spec(id)
        for param in spec.params:
            value = now.get(param.name, param.default)
            if value != then.get(param.name, param.default):
                settings.append(SetParam(id, param.name, value))
    return Edits(tuple(build), tuple(settings))


def _check_data(kept: set[str], before: Patch, after: Patch) -> None:
    faults = []
    for id, node in after.nodes.items():
        own = before.nodes[id] if id in kept else _fresh(after, id)
        if dict(node.data) != dict(own.data):
            text = "its data cannot be sent to a running engine; render the patch, or play it from Python"
            faults.append(Fault(text, node=id))
    if faults:
        raise PatchError(faults)


def anew(after: Patch) -> Edits:
    """Return what makes a patch from nothing: all its modules are new."""
    made = edits(Patch(registry=after.registry), after)
    return Edits((Clear(), *made.build), made.settings)


def _cables(patch: Patch) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """Return (ids of the ends, names of the ends) -> row of a cable."""
    rows = zip(patch.cables, patch.to_dict()["cables"], strict=True)
    return {(cable.source, cable.dest, row["from"], row["to"]): row for cable, row in rows}


def _fresh(patch: Patch, id: str) -> Node:
    """Return a node as it is when it has just been created."""
    alone, owner = Patch(registry=patch.registry), _owner(id)
    if owner:
        alone.create(owner, patch.nodes[owner].type)
    return alone.create(id, patch.nodes[id].type).nodes[id]


def _owner(id: str) -> str:
    """Return the id of the voices that own a module, '' for none."""
    return id.partition(".")[0] if "." in id else ""


def _connect(row: dict[str, Any]) -> Connect:
    """Return the command for a row of a patch: what it says beside its ends goes along under the same name."""
    more = {name: value for name, value in row.items() if name not in ("from", "to")}
    return Connect(row["from"], row["to"], **more)

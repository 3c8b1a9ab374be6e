"""The commands that turn one patch into another and leave what both have alone, so that it keeps its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyengine.commands import Clear, Command, Connect, Create, Delete, Disconnect, SetParam
from pyengine.patch import Patch


@dataclass(frozen=True, slots=True)
class Edits:
    """build: to be sent before the commit. settings: of modules that stay, to be sent when it is heard.

    Sent earlier, a setting of a module that plays would change the sound that is still playing.
    """

    build: tuple[Command, ...]
    settings: tuple[Command, ...]


def edits(before: Patch, after: Patch) -> Edits:
    """Return what turns `before` into `after`: a module of the same id and type stays."""
    kept = {id for id, node in after.nodes.items() if id in before.nodes and before.nodes[id].type == node.type}
    build: list[Command] = [Delete(id) for id in before.nodes if id not in kept]
    build += [Create(id, node.type) for id, node in after.nodes.items() if id not in kept]
    for id, node in after.nodes.items():
        if id not in kept:
            build += [SetParam(id, name, value) for name, value in node.params.items()]
    cables, wanted = before.to_dict()["cables"], after.to_dict()["cables"]
    gone = [row for row in cables if row not in wanted and _ends(row) <= kept]  # others went with their module
    build += [Disconnect(row["from"], row["to"]) for row in gone]
    there = [row for row in cables if row in wanted and _ends(row) <= kept]
    build += [_connect(row) for row in wanted if row not in there]
    settings: list[Command] = []
    for id in kept:
        now, then = after.nodes[id].params, before.nodes[id].params
        spec = after.spec(id)
        for param in spec.params:
            value = now.get(param.name, param.default)
            if value != then.get(param.name, param.default):
                settings.append(SetParam(id, param.name, value))
    return Edits(tuple(build), tuple(settings))


def anew(after: Patch) -> Edits:
    """Return what makes a patch from nothing: all its modules are new."""
    made = edits(Patch(registry=after.registry), after)
    return Edits((Clear(), *made.build), made.settings)


def _ends(row: dict[str, Any]) -> set[str]:
    return {row["from"].partition(".")[0], row["to"].partition(".")[0]}


def _connect(row: dict[str, Any]) -> Connect:
    """Return the command for a row of a patch: what it says beside its ends goes along under the same name."""
    more = {name: value for name, value in row.items() if name not in ("from", "to")}
    return Connect(row["from"], row["to"], **more)

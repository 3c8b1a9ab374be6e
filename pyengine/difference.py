"""The commands that turn one patch into another and leave what both have alone, so that it keeps its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyengine.commands import (
    Clear,
    Command,
    Connect,
    Create,
    Delete,
    Disconnect,
    PatchSample,
    SeqClock,
    SeqDivision,
    SeqLane,
    SeqNotes,
    SeqPattern,
    SeqTarget,
    SeqVelocities,
    SetParam,
    SetVoices,
)
from pyengine.errors import Fault, PatchError
from pyengine.patch import Patch


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
    for id, node in after.nodes.items():  # what a module is given may name others
        build += _given(after, id, before.nodes[id].data if id in kept else {}, node.data)
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


def _cables(patch: Patch) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """Return (ids of the ends, names of the ends) -> row of a cable."""
    rows = zip(patch.cables, patch.to_dict()["cables"], strict=True)
    return {(cable.source, cable.dest, row["from"], row["to"]): row for cable, row in rows}


def _owner(id: str) -> str:
    """Return the id of the voices that own a module, '' for none."""
    return id.partition(".")[0] if "." in id else ""


def _given(patch: Patch, id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Command]:
    """Return the commands that give a module what it has besides parameters."""
    if before == after:
        return []
    if patch.spec(id).is_voices:
        return [SetVoices(id, after["voices"])]
    if patch.spec(id).data == "sample" and after:
        return [PatchSample(id, after["file"])]
    if patch.spec(id).data != "pattern":
        text = "its data cannot be sent to a running engine; render the patch, or play it from Python"
        raise PatchError(Fault(text, node=id))
    texts = {"pattern": SeqPattern, "notes": SeqNotes, "velocities": SeqVelocities}
    made: list[Command] = [
        command(id, after.get(key, "")) for key, command in texts.items() if before.get(key) != after.get(key)
    ]
    if before.get("targets") != after.get("targets"):
        made.append(SeqTarget(id, tuple(after.get("targets", ()))))
    if before.get("division", 4) != after.get("division", 4):
        made.append(SeqDivision(id, after.get("division", 4)))
    if before.get("clock") != after.get("clock"):
        made.append(SeqClock(id, after.get("clock", "")))
    lanes, wanted = before.get("lanes", {}), after.get("lanes", {})
    made += [SeqLane(id, name, "") for name in lanes if name not in wanted]
    return made + [SeqLane(id, name, text) for name, text in wanted.items() if lanes.get(name) != text]


def _connect(row: dict[str, Any]) -> Connect:
    """Return the command for a row of a patch: what it says beside its ends goes along under the same name."""
    more = {name: value for name, value in row.items() if name not in ("from", "to")}
    return Connect(row["from"], row["to"], **more)

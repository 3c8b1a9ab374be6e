"""Patches as the page draws them: the one that plays and the one that is pending, as one graph. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyengine.cues import cues
from pyengine.patch import Node, Patch

MAX_DRAWN = 1000  # nodes; a larger patch is cut, and says so
_STATES = {1: "gone", 2: "new", 3: "on"}


def draw(playing: Patch, pending: Patch) -> dict[str, Any]:
    """Return nodes, cables and cues of both patches. state: 'on' in both, 'new' in the pending one, 'gone' from it."""
    rows: list[dict[str, Any]] = []
    heard = {patch.nodes[id].handle for patch in (playing, pending) for id in patch.heard}
    for patch, other, state in ((playing, pending, "gone"), (pending, playing, "new")):
        for node in patch.nodes.values():
            twin = other.nodes.get(node.id)
            is_shared = twin is not None and twin.handle == node.handle
            if is_shared and patch is pending and playing is not pending:
                continue
            row = {"id": node.id, "type": node.type, "handle": node.handle, "values": dict(node.params)}
            row |= _data(node, twin if is_shared else None) | {"state": "on" if is_shared else state}
            rows.append(row | ({"is_heard": True} if node.handle in heard else {}))
        if playing is pending:
            break
    n_nodes = len(rows)
    rows = rows[:MAX_DRAWN]
    handles = {row["handle"] for row in rows}
    return {
        "n_nodes": n_nodes,
        "nodes": rows,
        "cables": _merged(playing, pending, _cables, handles),
        "cues": _merged(playing, pending, _cues, handles),
    }


def _data(node: Node, pending: Node | None) -> dict[str, Any]:
    """Return what a node is given besides parameters: as it is pending, and where that differs as it plays."""
    shown = node if pending is None else pending
    row: dict[str, Any] = {"data": dict(shown.data)} if shown.data else {}
    return row | ({"played": dict(node.data)} if shown.data != node.data else {})


def _merged(playing: Patch, pending: Patch, rows_of: Any, drawn: set[int]) -> list[dict[str, Any]]:
    """Return the lines between nodes that are drawn, which are named by handle: an id may stand for two of them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for patch, bit in ((playing, 1), (pending, 2)):
        for row in rows_of(patch):
            if row["from"] not in drawn or row["to"] not in drawn:
                continue
            before = found.get((row["from"], row["to"], row["text"]), {"in": 0})
            is_changed = bit == 2 and before["in"] == 1 and {k: v for k, v in before.items() if k != "in"} != row
            found[row["from"], row["to"], row["text"]] = {
                **row,
                "in": before["in"] | bit,
                **({"is_changed": True} if is_changed else {}),
            }
    return [{k: v for k, v in row.items() if k != "in"} | {"state": _STATES[row["in"]]} for row in found.values()]


def _cables(patch: Patch) -> Iterator[Mapping[str, Any]]:
    for cable in patch.cables:
        source, dest = patch.cable_text(cable)
        row: dict[str, Any] = {
            "from": patch.nodes[cable.source].handle,
            "to": patch.nodes[cable.dest].handle,
            "text": f"{source} → {dest}",
            "source": source,
            "dest": dest,
            "is_mod": cable.to_param,
        }
        if cable.depth != 1 or cable.offset != 0:
            row |= {"depth": cable.depth, "offset": cable.offset}
        yield row | ({"is_feedback": True} if cable.feedback else {})


def _cues(patch: Patch) -> Iterator[Mapping[str, Any]]:
    for cue in cues(patch):
        source, dest = patch.nodes[cue.source].handle, patch.nodes[cue.dest].handle
        yield {"from": source, "to": dest, "text": " ".join(cue.params)}

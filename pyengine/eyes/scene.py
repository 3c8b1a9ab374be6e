"""Patches as the page draws them: the one that plays and the one that is pending, as one graph. Pure."""

from __future__ import annotations

from typing import Any

from pyengine.patch import Patch

MAX_DRAWN = 1000  # nodes; a larger patch is cut, and says so


def draw(playing: Patch, pending: Patch) -> dict[str, Any]:
    """Return nodes and cables of both patches. state: 'on' in both, 'new' in the pending one only, 'gone' from it."""
    rows: list[dict[str, Any]] = []
    for patch, other, state in ((playing, pending, "gone"), (pending, playing, "new")):
        for node in patch.nodes.values():
            twin = other.nodes.get(node.id)
            is_shared = twin is not None and twin.handle == node.handle
            if is_shared and patch is pending and playing is not pending:
                continue
            row = {"id": node.id, "type": node.type, "handle": node.handle, "values": dict(node.params)}
            rows.append(row | {"state": "on" if is_shared else state})
        if playing is pending:
            break
    n_nodes = len(rows)
    rows = rows[:MAX_DRAWN]
    handles = {row["handle"] for row in rows}
    return {"n_nodes": n_nodes, "nodes": rows, "cables": _cables(playing, pending, handles)}


def _cables(playing: Patch, pending: Patch, drawn: set[int]) -> list[dict[str, Any]]:
    """Return the cables between nodes that are drawn, which are named by handle: an id may stand for two of them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for patch, bit in ((playing, 1), (pending, 2)):
        for cable in patch.cables:
            source, dest = patch.nodes[cable.source].handle, patch.nodes[cable.dest].handle
            if source not in drawn or dest not in drawn:
                continue
            text = patch.cable_text(cable)
            row = found.setdefault(
                (source, dest, *text),
                {"from": source, "to": dest, "text": " → ".join(text), "is_mod": cable.to_param, "in": 0},
            )
            row["in"] |= bit
    states = {1: "gone", 2: "new", 3: "on"}
    return [{k: v for k, v in row.items() if k != "in"} | {"state": states[row["in"]]} for row in found.values()]

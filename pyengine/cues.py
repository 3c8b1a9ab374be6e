"""What plays what without a cable: clocks lead sequences, sequences play modules and set parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyengine.errors import PatchError
from pyengine.patch import Node, Patch
from pyengine.sequence import clock_of, lanes_of, targets_of

_DATA = "pattern"  # of what plays others


@dataclass(frozen=True, slots=True)
class Cue:
    """source leads dest. params: what it sets there, () where it is followed or played as a whole."""

    source: str
    dest: str
    params: tuple[str, ...] = ()


def cues(patch: Patch) -> list[Cue]:
    """Return who leads whom, in the patch's order; what cannot be told of a patch that is unfinished is left out."""
    return [cue for node in patch.nodes.values() if patch.spec(node.id).data == _DATA for cue in _cues_of(patch, node)]


def _cues_of(patch: Patch, node: Node) -> Iterator[Cue]:
    try:
        yield Cue(clock_of(patch, node).id, node.id)
    except PatchError:
        pass  # there is none yet
    found: dict[str, list[str]] = {}
    try:
        for _, id, param in targets_of(patch, node):
            found.setdefault(id, []).extend([param.name] if param else [])
    except PatchError:
        pass  # a module was taken out: the commit will say so
    try:
        for id, param, _ in lanes_of(patch, node):
            found.setdefault(id, []).append(param.name)
    except PatchError:
        pass
    for id, params in found.items():
        yield Cue(node.id, id, tuple(dict.fromkeys(params)))

"""What nodes are given besides parameters: text in a patch, bytes in a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from pyengine.errors import Fault, PatchError, shown
from pyengine.specs import ParamSpec

Patch = Any  # of patch.py, which stands above this
Node = Any


class Kind(Protocol):
    """One kind of data, as ModuleSpec.data names it."""

    def check(self, patch: Patch, node: Node, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the data in its normal form, plain JSON. Raises PatchError that names the node."""
        ...

    def compile(self, patch: Patch, node: Node) -> bytes:
        """Return what the C module reads, b"" for nothing: a function of the patch alone."""
        ...


@runtime_checkable
class Player(Protocol):
    """A kind of data that plays other modules."""

    def closed(self, patch: Patch, node: Node) -> Iterator[tuple[str, ParamSpec]]:
        """Yield (id, gate) of the gates that its notes open."""
        ...


SAMPLE = b"pe-sample "
"""What the bytes of a sample begin with in a blueprint: its hash follows, and a plan is given what it stands for."""

KINDS: dict[str, Kind] = {}
_HOMES = {
    "pattern": ("pyengine.sequence", "Track"),
    "sample": ("pyengine.samples", "SampleData"),
    "voices": ("pyengine.polyphony", "Voices"),
}
"""Where the kinds are that are loaded when they are first asked for."""


def kind_of(name: str) -> Kind | None:
    """Return the kind of that name, None where there is none."""
    if name not in KINDS and name in _HOMES:
        module, maker = _HOMES[name]
        KINDS[name] = getattr(import_module(module), maker)()
    return KINDS.get(name)


def check(patch: Patch, node: Node, data: object) -> Mapping[str, Any]:
    """Return the data for a node in its normal form. Raises PatchError: its type takes none, or none like it."""
    kind = kind_of(patch.spec(node.id).data)
    if kind is None:
        raise PatchError(Fault(f"{node.type} takes no data; remove it", node=node.id))
    if not isinstance(data, Mapping):
        raise PatchError(Fault(f"data must be an object, not {shown(data)}", node=node.id))
    return kind.check(patch, node, data)


def compile_data(patch: Patch, node: Node) -> bytes:
    """Return the bytes that a node's module reads; b"" for none."""
    kind = kind_of(patch.spec(node.id).data)
    return kind.compile(patch, node) if kind is not None and node.data else b""


def closed_gates(patch: Patch) -> Iterator[tuple[str, ParamSpec]]:
    """Yield (id, gate) of the gates that notes open: they are closed at the start, unless somebody has set them."""
    for node in patch.nodes.values():
        kind = kind_of(patch.spec(node.id).data) if node.data else None
        if kind is not None and isinstance(kind, Player):
            yield from kind.closed(patch, node)

"""What nodes are given besides parameters: text in a patch, bytes in a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pyengine.errors import Fault, PatchError, shown

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


KINDS: dict[str, Kind] = {}


def check(patch: Patch, node: Node, data: object) -> Mapping[str, Any]:
    """Return the data for a node in its normal form. Raises PatchError: its type takes none, or none like it."""
    kind = KINDS.get(patch.spec(node.id).data)
    if kind is None:
        raise PatchError(Fault(f"{node.type} takes no data; remove it", node=node.id))
    if not isinstance(data, Mapping):
        raise PatchError(Fault(f"data must be an object, not {shown(data)}", node=node.id))
    return kind.check(patch, node, data)


def compile_data(patch: Patch, node: Node) -> bytes:
    """Return the bytes that a node's module reads; b"" for none."""
    kind = KINDS.get(patch.spec(node.id).data)
    return kind.compile(patch, node) if kind is not None and node.data else b""

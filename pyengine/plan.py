"""Patch -> native plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyengine import _native
from pyengine.errors import PatchError
from pyengine.patch import Op, Patch, parse_op


def plan_rows(patch: Patch) -> tuple[list[tuple[int, int]], list[tuple[int, int, int, int, int]]]:
    """Return (nodes, cables) as _native.Plan takes them, in the patch's stored order."""
    number = {id: i for i, id in enumerate(patch.nodes)}
    specs = [patch.spec(id) for id in patch.nodes]
    nodes = [(node.handle, spec.index) for node, spec in zip(patch.nodes.values(), specs, strict=True)]
    cables = [(number[c.source], c.source_port, number[c.dest], c.dest_port, int(c.to_param)) for c in patch.cables]
    return nodes, cables


def new_plan(patch: Patch, *, sample_rate_hz: float, max_block_frames: int, n_channels: int) -> _native.Plan:
    """Return the plan of a valid patch with the descriptors' defaults; nothing the user set is in it yet."""
    nodes, cables = plan_rows(patch)
    return _native.Plan(
        nodes,
        cables,
        sample_rate_hz=sample_rate_hz,
        max_block_frames=max_block_frames,
        n_channels=n_channels,
    )


def address(patch: Patch, op: Op) -> tuple[int, int, float]:
    """Return (handle, parameter index, value) of a checked 4-tuple. Raises PatchError for an unknown name."""
    kind, id, name, value = op
    spec = patch.spec(id)
    param = patch.gate_param(id) if kind == "gate" else spec.param(str(name), node=id)
    return patch.nodes[id].handle, param.index, float(value)


def prime(plan: _native.Plan, patch: Patch, ops: Iterable[Sequence[object]], sample_rate_hz: float) -> list[str]:
    """Apply prime ops at once and return a warning for each that names nothing in the patch."""
    warnings = []
    for op in ops:
        try:
            plan.set(*address(patch, parse_op(op, patch, sample_rate_hz)))
        except PatchError as error:
            warnings.append(str(error))
    return warnings

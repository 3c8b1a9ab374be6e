"""Patch -> native plan."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pyengine import _native
from pyengine.errors import EngineError, PatchError
from pyengine.node_data import SAMPLE, closed_gates, compile_data
from pyengine.patch import Node, Op, Patch, parse_op
from pyengine.specs import ParamSpec, registry

_DELAY = "feedback"  # the module type that a feedback cable goes through
_UINT32 = "I" if array("I").itemsize == 4 else "L"


class Blueprint(NamedTuple):
    """A patch in a handful of byte strings: all that a plan is built and primed from, however many nodes it has.

    types: all module types, in the order that the numbers in `nodes` mean. nodes, cables: as _native.Plan takes them;
    behind the patch's own nodes, of which those in voices come once for each voice, one for each feedback cable.
    settings: what was set, as Plan.set_all takes it. ids: of the patch's nodes, separated by spaces. data: what nodes
    are given. closed: the gates that notes open, as settings: what they have before anything is set.
    """

    types: tuple[str, ...]
    nodes: bytes
    cables: bytes
    settings: bytes
    ids: str
    data: tuple[bytes, ...] = ()
    closed: bytes = b""

    @classmethod
    def of(cls, patch: Patch) -> Blueprint:
        """Return the blueprint of a valid patch as it is now."""
        index = {spec.name: spec.index for spec in patch.registry.modules}
        data: list[bytes] = []
        at: dict[bytes, int] = {}  # samples are given once, whoever plays them
        nodes = []
        places = list(_places(patch))
        for node, copy in places:
            is_given = node.data and (not copy or patch.spec(node.id).data == "sample")
            content = compile_data(patch, node) if is_given else b""
            place = at.get(content, 0)
            if content and not place:
                data.append(content)
                place = at[content] = len(data)
            nodes.append(_native.NODE.pack(node.handle + copy, index[node.type], place))
        number = {(node.id, copy): n for n, (node, copy) in enumerate(places)}
        cables = b"".join(_cable_rows(patch, number, nodes, index.get(_DELAY, 0)))
        settings = _setting_rows(patch, ((node, param, value) for node, _, param, value in patch.settings()))
        closed = _setting_rows(patch, ((patch.nodes[id], param, 0.0) for id, param in closed_gates(patch)))
        names, ids = patch.registry.names, " ".join([node.id for node, _ in places])
        return cls(names, b"".join(nodes), cables, settings, ids, tuple(data), closed)

    def is_built_like(self, other: Blueprint) -> bool:
        """True when the plans of both are the same but for what was set."""
        return self._replace(settings=b"") == other._replace(settings=b"")

    @property
    def samples(self) -> list[str]:
        """The hashes of the samples that it plays."""
        return [content[len(SAMPLE) :].decode() for content in self.data if content.startswith(SAMPLE)]

    def plan(
        self,
        *,
        sample_rate_hz: float,
        max_block_frames: int,
        n_channels: int,
        samples: Mapping[str, _native.Data] | None = None,
    ) -> _native.Plan:
        """Return the plan, with the descriptors' defaults. samples: those that it plays, by hash. Raises
        UnknownNameError for a type not known here.
        """
        plan = _native.Plan(
            self._nodes_here(),
            self.cables,
            sample_rate_hz=sample_rate_hz,
            max_block_frames=max_block_frames,
            n_channels=n_channels,
            data=[_held(content, samples or {}) for content in self.data],
        )
        if self.closed:
            plan.set_all(self.closed)
        return plan

    def _nodes_here(self) -> bytes:
        """Return `nodes` with the numbers that the types have in this process."""
        if self.types == registry().names:
            return self.nodes
        index = [registry().get(name).index for name in self.types]
        nodes = array(_UINT32, self.nodes)
        nodes[1::3] = array(_UINT32, [index[n] for n in nodes[1::3]])
        return nodes.tobytes()

    def addresses(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield (id, parameter name, handle, parameter index) of every parameter of every node."""
        nodes = array(_UINT32, self.nodes)
        for id, handle, type in zip(self.ids.split(), nodes[0::3], nodes[1::3], strict=False):
            for param in registry().get(self.types[type]).params:
                yield id, param.name, handle, param.index


def _places(patch: Patch) -> Iterator[tuple[Node, int]]:
    """Yield the nodes of a patch as they sound, with the number of the copy: voice by voice what voices own."""
    voices = {module.name for module in patch.registry.modules if module.is_voices}
    for node in patch.nodes.values():
        if "." in node.id:
            continue  # it comes with its voices
        yield node, 0
        if node.type in voices:
            members = [patch.nodes[id] for id in patch.members(node.id)]
            for copy in range(patch.copies(members[0].id) if members else 0):
                for member in members:
                    yield member, copy


def _setting_rows(patch: Patch, settings: Iterable[tuple[Node, ParamSpec, float]]) -> bytes:
    row = _native.SETTING.pack
    return b"".join(
        [
            row(node.handle + k, param.index, value)
            for node, param, value in settings
            for k in range(patch.copies(node.id))
        ]
    )


def _cable_rows(patch: Patch, number: dict[tuple[str, int], int], nodes: list[bytes], delay: int) -> Iterator[bytes]:
    """Yield the cables; those with feedback go through a node of their own, added to `nodes`."""
    pack = _native.CABLE.pack
    for c in patch.cables:
        for at, (from_copy, to_copy) in enumerate(patch.pairs(c)):
            source, source_port = number[c.source, from_copy], c.source_port
            if c.feedback:
                yield pack(source, source_port, len(nodes), 0, 0, 1.0, 0.0)
                source, source_port = len(nodes), 0
                nodes.append(_native.NODE.pack(c.feedback + at, delay, 0))
            yield pack(source, source_port, number[c.dest, to_copy], c.dest_port, c.to_param, c.depth, c.offset)


def _held(content: bytes, samples: Mapping[str, _native.Data]) -> _native.Data:
    if not content.startswith(SAMPLE):
        return _native.Data(content)
    sha256 = content[len(SAMPLE) :].decode()
    if sha256 not in samples:
        raise EngineError(f"the sample {sha256[:12]}... is not at hand; it has to be read before a plan is made of it")
    return samples[sha256]


def new_plan(
    patch: Patch,
    *,
    sample_rate_hz: float,
    max_block_frames: int,
    n_channels: int,
    samples: Mapping[str, _native.Data] | None = None,
) -> _native.Plan:
    """Return the plan of a valid patch with the descriptors' defaults; nothing the user set is in it yet.

    samples: those that it plays, by hash.
    """
    return Blueprint.of(patch).plan(
        sample_rate_hz=sample_rate_hz, max_block_frames=max_block_frames, n_channels=n_channels, samples=samples
    )


def address(patch: Patch, op: Op) -> tuple[int, int, float]:
    """Return (handle, parameter index, value) of a checked 4-tuple. Raises PatchError for an unknown name."""
    kind, id, name, value = op
    spec = patch.spec(id)
    param = patch.gate_param(id) if kind == "gate" else spec.param(str(name), node=id)
    return patch.nodes[id].handle, param.index, float(value)


def all_addresses(patch: Patch, op: Op) -> list[tuple[int, int, float]]:
    """Return address() of every module that an op is for: of each voice's copy, where it is one of voices'."""
    handle, param, value = address(patch, op)
    return [(handle + k, param, value) for k in range(patch.copies(op[1]))]


def prime(plan: _native.Plan, patch: Patch, ops: Iterable[Sequence[object]], sample_rate_hz: float) -> list[str]:
    """Apply prime ops at once and return a warning for each that names nothing in the patch."""
    warnings = []
    for op in ops:
        try:
            for one in all_addresses(patch, parse_op(op, patch, sample_rate_hz)):
                plan.set(*one)
        except PatchError as error:
            warnings.append(str(error))
    return warnings

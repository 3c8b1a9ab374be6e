"""What in a patch is right and probably not meant, with what comes of it and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pyengine.patch import Node, Patch
from pyengine.specs import number_text

MAX_HINTS = 20
_MOST = 1000  # nodes, and cables: nobody writes more by hand, and a commit's answer waits for this
_EFFECTS = frozenset(  # silent without a cable to an input
    ("biquad_filter", "svf", "gain", "mixer", "pan", "drive", "delay", "reverb", "compressor", "limiter")
)
_DRUMS = frozenset(("kick", "snare", "hihat"))  # whose notes may well be all of one pitch
_NEXT_TO_NOTHING_MS = 2.0
_DEFAULTS_SHARE = 0.02


def hints(patch: Patch) -> list[str]:
    """Return a sentence for each thing in a valid patch that is probably not meant, the first 20."""
    if len(patch.nodes) > _MOST or patch.n_cables > _MOST:
        return []
    fed = {cable.dest for cable in patch.cables if not cable.to_param}
    used = {cable.source for cable in patch.cables}
    found = [
        f"node {id!r}: {text}" for id, node in patch.nodes.items() for text in _of(patch, node, id in fed, id in used)
    ]
    return found[:MAX_HINTS]


def _of(patch: Patch, node: Node, is_fed: bool, is_used: bool) -> Iterator[str]:
    spec = patch.spec(node.id)
    if not is_used and (spec.name == "lfo" or (spec.name == "adsr" and not is_fed)):
        yield f"no cable leads from it, so it is heard as it is; /patch/connect {node.id} MODULE.PARAM depth N"
    yield from _short_times(patch, node)
    if spec.name in _EFFECTS and not is_fed:
        yield f"no cable leads to an input of it, so it is silent; /patch/connect MODULE {node.id}"
    if spec.is_voices:
        yield from _unfollowed(patch, node)
    if spec.data == "pattern":
        if not node.data.get("pattern"):
            yield f"it has no pattern, so it plays nothing; /seq/pattern {node.id} 'X...x...'"
        if not node.data.get("targets") and not node.data.get("lanes"):
            yield f"it has no target, so it plays nothing; /seq/target {node.id} MODULE"


def _short_times(patch: Patch, node: Node) -> Iterator[str]:
    """Times that would be usual ones, were they in seconds."""
    for param in patch.spec(node.id).params:
        value = node.params.get(param.name, 0.0)
        if param.unit == "ms" and 0 < value <= min(_NEXT_TO_NOTHING_MS, _DEFAULTS_SHARE * param.default):
            given, ms = number_text(value), number_text(round(1000 * value, 6))
            yield f"{param.name}={given} ms is next to nothing; times are in ms: {given} s are {ms}"


def _unfollowed(patch: Patch, node: Node) -> Iterator[str]:
    """Voices of which nothing follows the notes: all copies sound the same, all the time."""
    outputs = patch.spec(node.id).outputs
    followed = {outputs[cable.source_port] for cable in patch.cables if cable.source == node.id}
    members = [(id, patch.spec(id)) for id in patch.members(node.id)]
    gated = [id for id, spec in members if spec.gate_param is not None and spec.gate_param.name == "gate"]
    pitched = [id for id, spec in members if spec.find_param("freq") is not None and spec.name not in _DRUMS]
    if not members:
        yield f"it owns no module, so its notes are not heard; /patch/create {node.id}.osc osc"
    elif "gate" not in followed:
        first = (
            f"{gated[0]}.gate" if gated else f"{node.id}.env.gate, where {node.id}.env is an adsr behind what sounds"
        )
        yield f"nothing follows its gate, so notes do not begin or end; /patch/connect {node.id}.gate {first}"
    if pitched and not followed & {"freq", "note"}:
        yield f"nothing follows its pitch, so all notes sound alike; /patch/connect {node.id}.freq {pitched[0]}.freq"

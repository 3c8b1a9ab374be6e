"""What `voices` play: how many copies of what they own, and which parameters follow the notes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from pyengine.errors import Fault, PatchError, shown
from pyengine.patch import Node, Patch
from pyengine.specs import ParamSpec, nearest_name

MAX_VOICES = 64

_HEAD, _BINDING = struct.Struct("=4I"), struct.Struct("=4I2d")  # voices.c
_MAGIC = 0x31636F76


class Voices:
    """The data of voices, a Kind of node_data.py."""

    def check(self, patch: Patch, node: Node, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return {'voices': 1..64}. Raises PatchError."""
        for key in data:
            if key != "voices":
                hint = "did you mean 'voices'? " if nearest_name(str(key), ("voices",)) else ""
                raise PatchError(Fault(f"{node.type} takes no {shown(key)}; {hint}known: voices", node=node.id))
        number = data.get("voices")
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_VOICES:
            text = f"voices={shown(number)} is no number of voices; give a whole number, 1..{MAX_VOICES}"
            raise PatchError(Fault(text, node=node.id, limit=MAX_VOICES))
        return {"voices": number}

    def compile(self, patch: Patch, node: Node) -> bytes:
        """Return the bytes for voices.c."""
        followers = sorted(
            (cable for cable in patch.cables if cable.source == node.id), key=lambda cable: cable.source_port
        )
        rows = [
            _BINDING.pack(c.source_port, patch.nodes[c.dest].handle, c.dest_port, 0, c.depth, c.offset)
            for c in followers
        ]
        return b"".join([_HEAD.pack(_MAGIC, node.data["voices"], len(rows), 0), *rows])

    def closed(self, patch: Patch, node: Node) -> Iterator[tuple[str, ParamSpec]]:
        """Yield the gates that notes open."""
        port = patch.spec(node.id).outputs.index("gate")
        for cable in patch.cables:
            if cable.source == node.id and cable.source_port == port:
                yield cable.dest, patch.spec(cable.dest).params[cable.dest_port]

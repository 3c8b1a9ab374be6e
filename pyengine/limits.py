"""What a patch may be: how large, and of which version."""

from __future__ import annotations

from collections.abc import Iterator

from pyengine.errors import Fault, PatchError

PATCH_VERSION = 1  # of what Patch.to_dict() returns
MAX_NODES = 16384  # PE_MAX_NODES and PE_MAX_CABLES of csrc/api.h; a test compares
MAX_CABLES = 65536
MAX_JSON_BYTES = 1 << 25  # twice what the largest patch takes, every value set and every id as long as it may be


def too_many(what: str, count: int, most: int) -> Iterator[PatchError]:
    if count > most:
        text = f"{count} {what} are more than the {most} a patch may have; delete {count - most}"
        yield PatchError(Fault(text, limit=most))

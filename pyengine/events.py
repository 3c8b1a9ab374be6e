"""What subscribers are told (/notify), as data. Docs and /engine/commands are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyengine import replies
from pyengine.replies import Field

TOPICS = ("commits", "slots", "recording", "refusals", "counters", "values")


@dataclass(frozen=True, slots=True)
class Event:
    """What subscribers of a topic are told. fields: as one JSON object or one by one. topic '': all are told."""

    address: str
    topic: str
    fields: tuple[Field, ...]
    help: str
    is_json: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return what /engine/commands tells of it."""
        return {
            "address": self.address,
            "topic": self.topic,
            "help": self.help,
            "reply": "json" if self.is_json else "values",
            "reply_fields": [field.as_dict() for field in self.fields],
        }


_GENERATION = Field("generation", "integer", "number of the patch")
_COMMITTED = tuple(
    field
    for field in replies.COMMIT
    if field.name in ("generation", "slot", "block", "frame", "late_blocks", "ready_ms", "carried", "new", "gone")
)

# The other counters go up all the time.
TROUBLE = tuple(
    field
    for field in replies.COUNTERS
    if field.name
    not in (
        "callbacks",
        "frames_requested",
        "frames_delivered",
        "blocks_played",
        "swaps",
        "worst_callback_ns",
        "clock_worst_late_ns",
        "compared_blocks",
    )
)

EVENTS: tuple[Event, ...] = (
    Event("/event/commit", "commits", _COMMITTED, "A commit is heard.", is_json=True),
    Event(
        "/event/rollback",
        "commits",
        (_GENERATION, Field("reason", "string", "why")),
        "A patch was taken back on probation; the one before plays.",
    ),
    Event(
        "/event/slot",
        "slots",
        (Field("slot", "integer", "0 or 1"), replies.SLOT[0], _GENERATION),
        "A slot has another state; at the beginning: how both stand.",
    ),
    Event(
        "/event/fallback",
        "slots",
        (
            Field("slot", "integer", "that is heard from now on"),
            Field("block", "integer", "from which", "blocks"),
            _GENERATION,
        ),
        "The other slot has taken over, since the one that was heard died or stayed behind.",
    ),
    Event("/event/recording", "recording", replies.STOPPED, "A recording has begun, ended, or lost frames.", True),
    Event("/event/session", "recording", replies.SESSION, "A session log has begun or ended.", True),
    Event(
        "/event/refused",
        "refusals",
        (Field("address", "string", "of the request"), Field("reason", "string", "why")),
        "Somebody's request was refused.",
    ),
    Event(
        "/event/counters",
        "counters",
        TROUBLE,
        "A counter of trouble has gone up.",
        is_json=True,
    ),
    Event(
        "/event/value",
        "values",
        (
            Field("id", "string", "of the module"),
            Field("param", "string", "its parameter"),
            Field("value", "number", "the newest", "the parameter's"),
        ),
        "Somebody has set a parameter or a gate; of what changes fast, the newest value 20 times a second.",
    ),
    Event(
        "/event/lost",
        "",
        (Field("count", "integer", "of events"),),
        "So many events were not told, since more came than can be.",
    ),
    Event("/event/expired", "", (), "The subscription has ended, since it was not renewed in time."),
)

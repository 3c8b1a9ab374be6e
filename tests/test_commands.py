from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pyengine.commands import Commit, DataEdit, SeqPattern, SetParam, Undo
from pyengine.errors import CommandError, CommitRefused, NativeError, NoReplyError, PatchError, PortInUseError


@pytest.mark.parametrize("kind", [Commit, Undo])
@pytest.mark.parametrize(
    "options",
    [
        {"crossfade_ms": -1},
        {"crossfade_ms": 1000.1},
        {"crossfade_ms": math.nan},
        {"crossfade_ms": "5"},
        {"crossfade_ms": True},
        {"timeout_ms": 0},
        {"timeout_ms": math.inf},
        {"allow_silence": "off"},
        {"allow_silence": 1},
    ],
)
def test_an_option_outside_its_range_is_refused(kind: type[Commit], options: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        kind(**options)


def test_options_at_the_ends_of_their_range_are_taken() -> None:
    assert Commit(0, True, 60_000) == Commit(crossfade_ms=0.0, allow_silence=True, timeout_ms=60_000.0)
    assert Undo() == Undo(None, False, None)


def test_commands_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SetParam("a", "b", 1).value = 2  # type: ignore[misc]


def test_a_refusal_survives_the_wire_and_the_pickle() -> None:
    refusal = CommitRefused("not finite", "osc1 gives NaN; lower its gain")
    assert str(refusal) == "commit refused (not finite): osc1 gives NaN; lower its gain"
    for again in (CommitRefused.from_text(str(refusal)), pickle.loads(pickle.dumps(refusal))):
        assert (again.reason, again.detail) == (refusal.reason, refusal.detail)
    assert CommitRefused.from_text("what?").reason == "invalid"
    with pytest.raises(ValueError):
        CommitRefused("because", "")


def test_errors_are_the_builtins_they_resemble() -> None:
    assert isinstance(PortInUseError("port 5005 is in use"), OSError)
    assert isinstance(NoReplyError("silence"), TimeoutError)
    assert pickle.loads(pickle.dumps(NativeError("no memory", 1))).status == 1
    assert str(PatchError("one thing")) == "one thing"


def test_an_edit_of_data_that_does_not_say_what_it_does_cannot_be_made() -> None:
    class Mute(DataEdit):
        kind = "pattern"

    with pytest.raises(TypeError, match="applied"):
        Mute()  # type: ignore[abstract]
    assert SeqPattern("seq1", "x...").applied({"notes": "C4"}) == {"notes": "C4", "pattern": "x..."}

"""Every exception of the package. A message says what, why, and how to fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

REFUSAL_REASONS = (
    "invalid",
    "silent",
    "not finite",
    "too slow",
    "late",
    "aborted",
    "busy",
    "worker died",
    "no standby",
    "rolled back",
    "edits pending",
)
_REFUSAL = re.compile(r"commit refused \(([a-z ]+)\): (.*)", re.DOTALL)


def shown(value: object, limit: int = 60) -> str:
    """Return repr(value), shortened: what came from outside may be of any length."""
    if isinstance(value, (str, bytes)) and len(value) > limit:
        return f"{value[:limit]!r}... ({len(value)} long)"
    try:
        text = repr(value)
    except Exception:  # a foreign __repr__, or an integer too long to print
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit + 2 else f"{text[:limit]}..."


class EngineError(Exception):
    """The base of all errors of pyengine."""


class NativeError(EngineError):
    """The C core returned a status other than PE_OK."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message


class Fault(NamedTuple):
    """One thing that is wrong in a patch. limit: the bound that was passed; nearest: a valid name.

    key: the place in the patch as data, such as 'nodes[2].params.freq'; file, line: where that is written.
    """

    message: str
    node: str = ""
    param: str = ""
    limit: float | None = None
    nearest: str = ""
    key: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        text = f"node {shown(self.node)}: {self.message}" if self.node else self.message
        if not self.file:
            return text
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {text}" if self.key else f"{place}: {text}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as plain data: its text, and what is known of the place."""
        return {name: value for name, value in self._asdict().items() if value not in ("", None)}


class PatchError(EngineError, ValueError):
    """A patch, or an edit of it, is wrong. Carries all faults; node, param, limit, nearest: of the first."""

    def __init__(self, faults: Iterable[Fault] | Fault | str) -> None:
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        if not self.faults:
            raise ValueError("a PatchError needs at least one Fault")
        super().__init__(self.faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return str(self.faults[0])
        return f"{len(self.faults)} faults: " + " ".join(f"[{i}] {f}" for i, f in enumerate(self.faults, 1))

    @property
    def node(self) -> str:
        return self.faults[0].node

    @property
    def param(self) -> str:
        return self.faults[0].param

    @property
    def limit(self) -> float | None:
        return self.faults[0].limit

    @property
    def nearest(self) -> str:
        return self.faults[0].nearest


class ParamRangeError(PatchError):
    """A value is not one the parameter takes."""


class UnknownNameError(PatchError, LookupError):
    """No such module type, id, port or parameter; `nearest` is the valid name most like it, or ''."""


def merged(errors: Sequence[PatchError]) -> PatchError:
    """Return one error with the faults of all; of their class where they share it."""
    classes = {type(error) for error in errors}
    kind = classes.pop() if len(classes) == 1 else PatchError
    return kind([fault for error in errors for fault in error.faults])


class CommandError(EngineError, ValueError):
    """A request is malformed."""


class CommitRefused(EngineError):
    """A commit changed nothing. reason: one of REFUSAL_REASONS; detail: why, and what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in REFUSAL_REASONS:
            raise ValueError(f"reason {reason!r} is none of {', '.join(REFUSAL_REASONS)}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"commit refused ({self.reason}): {self.detail}"

    @classmethod
    def from_text(cls, text: str) -> CommitRefused:
        """Return the refusal whose str() this is; any other text is the detail of an 'invalid' one."""
        match = _REFUSAL.fullmatch(text)
        if match and match[1] in REFUSAL_REASONS:
            return cls(match[1], match[2])
        return cls("invalid", text)


class DeviceError(EngineError):
    """The audio device is missing, refuses the format, or went away."""


class WorkerError(EngineError):
    """A worker process did not start, or died."""


class RecordingError(EngineError):
    """A recording could not be started, written or ended."""


class SessionError(EngineError):
    """A session log cannot be written, read or replayed."""


class PortInUseError(EngineError, OSError):
    """Another program has the OSC port."""


class NoReplyError(EngineError, TimeoutError):
    """The engine did not answer in time, or nothing listens there."""

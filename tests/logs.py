"""Session logs made by hand, and one of a whole engine in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rig import Rig

from pyengine import _native, session_file
from pyengine._native import Record
from pyengine.patch import Patch
from pyengine.session import SessionLog
from pyengine.session_file import Entry

BLOCK = 64


class Script:
    """The lines of a log, one call for each."""

    def __init__(self, **head: Any) -> None:
        config = _native.Config(block_frames=BLOCK, n_channels=1)
        self.entries: list[Entry] = [session_file.head_entry(config, "0.1.0") | head]
        self.n_records = 0

    def start(self, **row: Any) -> Script:
        whole = {"generation": 0, "block": 0, "seq": 0, "first_frame": 0, "plan": None, "image": ""}
        self.n_records = row.get("seq", 0)
        return self._add({"start": whole | row})

    def plan(self, generation: int, patch: Patch, *, source: int = 0, fade: int = 0) -> Script:
        return self._add({"plan": session_file.plan_row(generation, patch, patch.ops(), fade, source)})

    def restart(self, generation: int, patch: Patch, *, source: int, from_block: int, block: int, base: int) -> Script:
        row = session_file.plan_row(generation, patch, patch.ops(), 0, source)
        return self._add({"restart": row | {"from_block": from_block, "block": block, "base": base}})

    def send(self, *records: Record) -> Script:
        self._add({"records": [self.n_records + 1, [session_file.record_row(record) for record in records]]})
        self.n_records += len(records)
        return self

    def switch(self, generation: int) -> Script:
        return self.send(Record(0, 0, 0.0, switch_to=generation))

    def heard(self, block: int, generation: int, *, silence: int = 0, is_declicked: bool = False) -> Script:
        return self._add({"event": ["heard", block, block * BLOCK + silence, generation, int(is_declicked)]})

    def event(self, kind: str, block: int, frame: int, value: int = 0) -> Script:
        return self._add({"event": [kind, block, frame, 0, value]})

    def played(self, block: int, *decided: tuple[int, int], frames: int | None = None) -> Script:
        frames = block * BLOCK if frames is None else frames
        return self._add({"played": [block, frames], "decided": decided})

    def end(self) -> Script:
        return self._add({"end": 0})

    def _add(self, entry: Entry) -> Script:
        self.entries.append(entry)
        return self

    def lines(self) -> list[bytes]:
        return [session_file.encode(entry) for entry in self.entries]

    def write(self, path: Path) -> Path:
        path.write_bytes(b"".join(self.lines()))
        return path


def tone_script(n_blocks: int = 20) -> tuple[Script, Patch]:
    """A sine that sounds from block 2 on, with a setting at block 7."""
    patch = Patch().create("osc1", "simple_sine")
    script = Script().start().plan(1, patch).switch(1).heard(2, 1)
    script.send(Record(1, 0, 700.0)).played(n_blocks, (2, 1), (7, 2))
    return script, patch


class LoggedRig(Rig):
    """A rig whose every step is logged, as a supervisor does it."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(**options)
        self.log = SessionLog(
            self.segment,
            self.output,
            path.parent,
            look=lambda: None,
            drain=self.drain,
            after=lambda seconds, action: None,
        )
        self.log.begin(path)
        send, events = self.segment.send, self.segment.events

        def logged_send(records: Any) -> int:
            newest = send(records)
            assert newest
            self.log.records(newest - len(records) + 1, list(records))
            return newest

        self.segment.send = logged_send  # type: ignore[method-assign]
        self.segment.events = lambda: self.log.noting(events())  # type: ignore[method-assign]

    def drain(self) -> None:
        self.events += list(self.segment.events())

    def arm(self, patch: Patch, fade_frames: int = 0) -> tuple[int, int]:
        """Send the SWITCH to a patch on the standby; return (slot, generation)."""
        segment = self.segment
        slot = 1 - segment.active_slot
        self.generation += 1
        segment.reset_prime_ready(slot, self.generation)
        self.workers[slot].arm(self.plan(patch), self.generation, fade_frames)
        self.log.plan(self.generation, patch, patch.ops(), fade_frames, segment.slot_generation(slot))
        assert segment.set_prime_ready(slot, self.generation)
        segment.open_gate(self.generation)
        segment.send([Record(0, 0, 0.0, switch_to=self.generation)])
        return slot, self.generation

    def commit_logged(self, patch: Patch, fade_frames: int = 0) -> int:
        """Commit as Rig.commit does, and log the plan."""
        source = self.segment.slot_generation(1 - self.segment.active_slot)
        self.log.plan(self.generation + 1, patch, patch.ops(), fade_frames, source)
        return self.commit(patch, fade_frames)

    def close(self) -> None:
        self.driver.close()
        self.log.close()
        super().close()


@contextmanager
def logged_rig(path: Path, **options: Any) -> Iterator[LoggedRig]:
    with LoggedRig(path, **options) as rig:
        rig.record()
        yield rig

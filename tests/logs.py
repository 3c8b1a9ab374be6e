"""Session logs made by hand, and one of a whole engine in one process."""

from __future__ import annotations

import random
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

    def restart(
        self, generation: int, patch: Patch, *, source: int, from_block: int, block: int, base: int, image: str = ""
    ) -> Script:
        row = session_file.plan_row(generation, patch, patch.ops(), 0, source)
        return self._add({"restart": row | {"from_block": from_block, "block": block, "base": base, "image": image}})

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


class Mishaps:
    """Plays at random on a logged rig: commits, settings, late slots, falls to an older patch, silences."""

    def __init__(self, rig: LoggedRig, rng: random.Random) -> None:
        self.rig = rig
        self.rng = rng
        self._patches = {0: Patch()}
        self._next_handle = 1
        self._is_in_step = True

    def step(self) -> None:
        actions = [self.commit, self.commit, self.send, self.send, self.fall, self.be_silent, self.replicate]
        self.rng.choice(actions)()
        self.rig.advance(self.rng.randrange(1, 2500))
        if self.rng.random() < 0.5:
            self.rig.drain()

    def commit(self) -> None:
        if not self._is_in_step:
            return
        rig, segment = self.rig, self.rig.segment
        patch = self._next_patch()
        slot, generation = rig.arm(patch, self.rng.choice([0, 0, 100, 700]))
        self._patches[generation] = patch
        self._send_to(patch)
        if self.rng.random() < 0.4:  # it is late
            segment.set_playable(slot, False)
            rig.advance(self.rng.randrange(1, 800))
            segment.set_playable(slot, True)
        rig._until(lambda: segment.swapped_generation == generation)
        segment.close_gate()
        self._is_in_step = False

    def _next_patch(self) -> Patch:
        patch = self._patches[self.rig.segment.heard_generation].copy()
        patch.next_handle = max(patch.next_handle, self._next_handle)
        if self.rng.random() < 0.5 or not patch.nodes:
            n = patch.next_handle
            patch.create(f"osc{n}", "simple_sine").set(f"osc{n}", "freq", self.rng.uniform(50, 2000))
            if self.rng.random() < 0.5:
                patch.create(f"env{n}", "adsr").connect(f"osc{n}", f"env{n}")
        else:
            patch.delete(self.rng.choice(list(patch.nodes)))
        self._next_handle = patch.next_handle
        return patch

    def send(self) -> None:
        self._send_to(self._patches[self.rig.segment.heard_generation])

    def _send_to(self, patch: Patch) -> None:
        rng = self.rng
        records = []
        for node in patch.nodes.values():
            param = rng.randrange(2)
            value = rng.uniform(0, 0.5) if param else rng.uniform(0, 1000)
            frame = -1 if rng.random() < 0.5 else self.rig.output.frames + rng.randrange(3000)
            records.append(Record(node.handle, param, value, frame=frame, is_immediate=rng.random() < 0.2))
        if records:
            self.rig.segment.send(records)

    def fall(self) -> None:
        """Fall over to what the other slot has."""
        slot = self.rig.segment.active_slot
        self.rig.segment.set_playable(slot, False)
        self.rig.advance(self.rng.randrange(1, 500))
        self.rig.segment.set_playable(slot, True)

    def be_silent(self) -> None:
        segment = self.rig.segment
        for slot in (0, 1):
            segment.set_playable(slot, False)
        for _ in range(self.rng.randrange(1, 4)):
            self.rig.output.process(self.rng.randrange(1, 700))
        for slot in (0, 1):
            segment.set_playable(slot, True)

    def replicate(self) -> None:
        """Make the slot that is not heard a replica of the one that is."""
        self.rig.settle()
        active = self.rig.segment.active_slot
        generation = self.rig.segment.slot_generation(active)
        self.rig.replicate(self._patches[generation], active, generation, 700)
        self.rig.advance(self.rig.config.block_frames * 10)
        self._is_in_step = True

"""Replay of a session log: offline, bit for bit as it was played, or at another sample rate.

The same code renders as live (csrc/render.c): generations run side by side where more than one of them is heard
later on. Nothing goes block by block here where nothing happens: a render may be split anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyengine import _native, session_file
from pyengine.errors import CommandError, NativeError, PatchError, SessionError, shown
from pyengine.plan import new_plan, prime
from pyengine.recording import reason_to_write
from pyengine.samples import Samples
from pyengine.session_file import Heard, PlannedPatch, Restart, Session
from pyengine.specs import registry

SPAN_FRAMES = 1024  # longest render of one plan
CHUNK_FRAMES = 1 << 16  # of what is handed on
MAX_WAV_BYTES = 0xFFFFFFFF - 0x10000
Frames = npt.NDArray[np.float32]


@dataclass
class Replayed:
    """What a replay has found. is_damaged: a line in the log is, and what follows it is lost."""

    sample_rate_hz: float
    n_channels: int
    n_frames: int = 0
    first_frame: int = 0  # of the engine's output, at the log's rate
    generations: int = 0
    records: int = 0
    swaps: int = 0
    silences: int = 0
    silent_frames: int = 0
    is_damaged: bool = False
    is_cut: bool = False
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def replay(
    path: str | Path, *, ideal: bool = False, sample_rate: float | None = None, samples: str | Path = "."
) -> tuple[Frames, Replayed]:
    """Return what the session sounded like, as float32 (frames, channels), and the facts about it.

    ideal: without underruns, late swaps and fall-backs. sample_rate: Hz, None for the session's own, which alone
    gives the same bits. samples: the folder that the files of samplers lie in. Raises SessionError for a file that is
    no session log, or not one of this version, and where a sample is missing or is not the one that was played.
    """
    player = Player(session_file.read(path), ideal=ideal, sample_rate=sample_rate, samples=samples)
    chunks = list(player.chunks())
    frames = np.concatenate(chunks) if chunks else np.zeros((0, player.facts.n_channels), np.float32)
    return frames, player.facts


def replay_to_wav(
    path: str | Path,
    out: str | Path,
    *,
    ideal: bool = False,
    sample_rate: float | None = None,
    samples: str | Path = ".",
) -> Replayed:
    """Write what the session sounded like to a WAV file of floats, piece by piece; return the facts about it."""
    player = Player(session_file.read(path), ideal=ideal, sample_rate=sample_rate, samples=samples)
    facts = player.facts
    rate_hz = round(facts.sample_rate_hz)
    if rate_hz != facts.sample_rate_hz:
        raise SessionError(f"a WAV file cannot have the rate {facts.sample_rate_hz} Hz; give a whole number as rate")
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise SessionError(f"cannot write a WAV file: {error}; pip install soundfile") from error
    try:
        if Path(out).exists() and Path(out).samefile(path):
            raise SessionError(f"{shown(str(out))} is the session log itself; give another name")
        format = "WAV" if 4 * facts.n_channels * player.n_frames < MAX_WAV_BYTES else "RF64"
        with soundfile.SoundFile(str(out), "w", rate_hz, facts.n_channels, subtype="FLOAT", format=format) as file:
            for chunk in player.chunks():
                file.write(chunk)
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        raise SessionError(
            f"cannot write {shown(str(out))}: {reason_to_write(out, error)}; give another place"
        ) from error
    return facts


class Player:
    """Renders one session, once."""

    def __init__(
        self,
        session: Session,
        *,
        ideal: bool = False,
        sample_rate: float | None = None,
        samples: str | Path = ".",
    ) -> None:
        self.session = session
        rate_hz = session.sample_rate_hz if sample_rate is None else float(sample_rate)
        if not 1000 <= rate_hz <= 768000:
            raise CommandError(f"sample_rate={rate_hz:g} is outside 1000..768000 Hz")
        self._ratio = Fraction(rate_hz) / Fraction(session.sample_rate_hz)
        self._samples = Samples(samples, rate_hz)
        self.facts = Replayed(rate_hz, session.n_channels, first_frame=session.first_frame)
        self._commands = session.commands()
        self._scale_records()
        self._decision_blocks = np.array([block for block, _ in session.decisions], np.int64)
        self._decision_seqs = np.array([seq for _, seq in session.decisions], np.int64)
        self._switches = self._find_switches()
        self._switches_at: dict[int, list[tuple[int, int]]] = {}
        for generation, (seq, block) in self._switches.items():
            self._switches_at.setdefault(block, []).append((seq, generation))
        self._end_frame = session.block * session.block_frames  # counted in blocks' frames, at the log's rate
        self._silences = self._find_silences()  # (before this block, frames)
        self._heard = self._find_heard()
        if ideal:
            self._silences, self._heard = [], self._idealised(self._heard)
        self._needed = self._find_needed()
        self._runs: dict[int, _native.Replay] = {}
        self._snapshots: dict[int, _native.Replay] = {}
        self._out = _native.ReplayOut(rate_hz, session.n_channels)
        self._tell()

    def _tell(self) -> None:
        session, facts = self.session, self.facts
        facts.records = session.n_records
        facts.generations = len({heard.generation for heard in self._heard})
        facts.silences, facts.silent_frames = len(self._silences), sum(n for _, n in self._silences)
        facts.is_damaged |= session.is_damaged
        facts.is_cut = not session.is_ended
        if session.fault:
            facts.warnings.insert(0, f"{session.fault}; what was played up to there is replayed")
        if session.block and any(h.is_declicked and h.block == session.block for h in self._heard):
            facts.warnings.append("a declick begins with the log: its 5 ms are not as they were played")

    @property
    def n_frames(self) -> int:
        """Frames the replay will have."""
        begin = self.session.block * self.session.block_frames
        sound = self._at(self._end_frame) - self._at(begin)
        return sound + sum(self._at(n) for block, n in self._silences if self._is_before_end(block))

    # ---- where things are -----------------------------------------------------------------------------

    def _at(self, frame: int) -> int:
        """Return the position of a frame at the replay's rate."""
        n, d = self._ratio.numerator, self._ratio.denominator
        return frame if n == d else (2 * frame * n + d) // (2 * d)

    def _block_at(self, block: int) -> int:
        return self._at(min(block * self.session.block_frames, self._end_frame))

    def _is_before_end(self, block: int) -> bool:
        return block * self.session.block_frames <= self._end_frame

    def _scale_records(self) -> None:
        if self._ratio == 1:
            return
        frames = self._commands["frame"]
        for i in np.flatnonzero(frames >= 0):
            frames[i] = self._at(int(frames[i]))

    def _find_switches(self) -> dict[int, tuple[int, int]]:
        """Return generation -> (number of its SWITCH record, block that it is decided for)."""
        found = {}
        for i in np.flatnonzero(self._commands["kind"] == _native.SWITCH):
            seq = int(self._commands["seq"][i])
            at = int(np.searchsorted(self._decision_seqs, seq))
            if at < len(self._decision_blocks):
                found[int(self._commands["arg"][i])] = (seq, int(self._decision_blocks[at]))
        return found

    def _find_silences(self) -> list[tuple[int, int]]:
        """Return the silences as (before this block, frames), and find the end: by then so many frames were out."""
        session = self.session
        begin, left = self._end_frame, session.n_frames
        found = []
        silences = list(session.silences)
        if session.silent_from is not None:
            silences.append((session.silent_from[0], left))  # to the end
        for block, n_frames in silences:
            sound = block * session.block_frames - begin
            if left < sound:
                break
            begin, left = begin + sound, left - sound
            if left:
                found.append((block, min(left, n_frames)))
            left -= min(left, n_frames)
        self._end_frame = min(begin + left, (session.played + 1) * session.block_frames)
        return found

    def _find_heard(self) -> list[Heard]:
        """Return what is heard from which block on; where the log does not say what that is, the replay ends."""
        session = self.session
        heard = [Heard(session.block, session.generation, False)]
        known = {session.generation, 0, *(restart.planned.generation for restart in session.restarts)}
        known |= set(self._switches) & set(session.plans)
        for change in session.heard:
            if not self._is_before_end(change.block):
                break
            if change.generation not in known:
                text = f"block {change.block} is of generation {change.generation}, of which the log says nothing"
                self.facts.warnings.append(f"{text}; the replay ends there")
                self.facts.is_damaged = True
                self._end_frame = change.block * session.block_frames
                self._silences = [(block, n) for block, n in self._silences if block <= change.block]
                break
            heard.append(change)
        return heard

    def _idealised(self, heard: list[Heard]) -> list[Heard]:
        """Return what would have been heard without lateness: swaps at their block, no way back that did not last."""
        found: list[Heard] = []
        for i, change in enumerate(heard):
            before = found[-1] if found else None
            if before and change.generation == before.generation:
                continue
            if before and any(later.generation == before.generation for later in heard[i + 1 :]):
                continue  # bridged: what was heard before is heard again
            block = change.block
            is_declicked = change.is_declicked
            switch, planned = self._switches.get(change.generation), self.session.plans.get(change.generation)
            if before and switch and planned and planned.source == before.generation:
                block, is_declicked = max(switch[1], before.block), False
            found.append(Heard(block, change.generation, is_declicked))
        return found

    def _find_needed(self) -> dict[int, int]:
        """Return generation -> block that its run must be rendered up to."""
        needed: dict[int, int] = {}

        def need(generation: int, block: int) -> None:
            needed[generation] = max(needed.get(generation, -1), block)

        last = -(-self._end_frame // self.session.block_frames)
        ends = [*(change.block for change in self._heard[1:]), last]
        for change, end in zip(self._heard, ends, strict=True):
            if change.block < last or change.block == self.session.block:
                need(change.generation, min(end, last))
        restarts = {restart.planned.generation: restart for restart in self.session.restarts}
        for generation in sorted({*self._switches, *restarts}, reverse=True):
            if generation not in needed:
                continue
            if generation in restarts:
                need(restarts[generation].planned.source, restarts[generation].from_block)
            elif generation in self.session.plans and generation != self.session.generation:
                need(self.session.plans[generation].source, self._switches[generation][1])
        return needed

    # ---- rendering --------------------------------------------------------------------------------------

    def chunks(self) -> Iterator[Frames]:
        """Yield the sound, float32 (frames, channels), in pieces of CHUNK_FRAMES at most. Once."""
        n_channels = self.session.n_channels
        chunk, n = np.zeros((CHUNK_FRAMES, n_channels), np.float32), 0
        for replay, first, n_frames in self._pieces():
            done = 0
            while done < n_frames:
                step = min(n_frames - done, CHUNK_FRAMES - n)
                room = chunk[n : n + step]
                if replay is None:
                    self._out.silence(step, room)
                else:
                    self._out.play(replay, first + done, step, room)
                done += step
                n += step
                if n == CHUNK_FRAMES:
                    self.facts.n_frames += n
                    yield chunk
                    chunk, n = np.zeros((CHUNK_FRAMES, n_channels), np.float32), 0
        if n:
            self.facts.n_frames += n
            yield chunk[:n]

    def _edges(self) -> list[int]:
        """Return the blocks before which something happens."""
        session = self.session
        blocks = {session.block, *self._decision_blocks.tolist(), *(heard.block for heard in self._heard)}
        blocks |= {block for block, _ in self._silences}
        for restart in session.restarts:
            blocks |= {restart.from_block, restart.block}
        last = -(-self._end_frame // session.block_frames)
        return sorted({last, *(block for block in blocks if session.block <= block < last)})

    def _pieces(self) -> Iterator[tuple[_native.Replay | None, int, int]]:
        """Yield (run or None for silence, first frame, frames) of what is heard, one behind the other."""
        session = self.session
        self._begin()
        decided = session.seq
        edges = self._edges()
        decisions = dict(session.decisions)
        heard = {change.block: change for change in self._heard}
        silences: dict[int, list[int]] = {}
        for block, n in self._silences:
            silences.setdefault(block, []).append(n)
        generation = session.generation
        for block, until in zip(edges, [*edges[1:], edges[-1]], strict=True):
            if self._is_before_end(block):
                for n in silences.get(block, ()):
                    self._out.declick()
                    yield None, 0, self._at(n)
            first, n_frames = self._block_at(block), self._block_at(until) - self._block_at(block)
            if n_frames == 0:
                continue
            self._restart(block)
            if block in decisions:
                self._take(block, decided, decisions[block])
                decided = decisions[block]
            if block in heard:
                self.facts.swaps += heard[block].generation != generation
                generation = heard[block].generation
                if heard[block].is_declicked:
                    self._out.declick()
            run = self._run_of(generation)
            for other_generation, other in self._runs.items():
                # Not a block further than it was heard: that is where a patch that was taken back had crashed.
                if other is not run and self._needed.get(other_generation, -1) > block:
                    other.render(first, n_frames)
            yield run, first, n_frames
            self._forget(until)

    def _run_of(self, generation: int) -> _native.Replay:
        if generation not in self._runs and generation == 0:  # a fresh worker's: silence
            self._runs[0] = _native.Replay(self._plan(_empty(0)), 0)
        if generation not in self._runs:
            raise SessionError(f"the log does not say what generation {generation} is; a faulty engine wrote it")
        return self._runs[generation]

    def _begin(self) -> None:
        session = self.session
        planned = session.planned or _empty(session.generation)
        run = self._runs[session.generation] = _native.Replay(self._plan(planned), session.generation)
        if not session.image:
            return
        if self._ratio != 1:
            text = "the session was being played when its log began: at another rate it begins with the patch's values"
            self.facts.warnings.append(f"{text}, not with the states of then")
            return
        types = {row[1] for row in planned.row["nodes"]}
        versions = {spec.name: spec.state_version for spec in registry().modules}
        other = sorted(type for type in types if versions.get(type) != session.modules.get(type))
        if other:
            text = f"the states of {', '.join(other)} in the log are of another version of pyengine"
            self.facts.warnings.append(f"{text}: it begins with the patch's values")
            return
        _load(run, session.image)

    def _plan(self, planned: PlannedPatch) -> _native.Plan:
        patch, ops = planned.patch()
        rate_hz, n_channels = self.facts.sample_rate_hz, self.session.n_channels
        try:
            self._samples.resolve(patch)
        except PatchError as error:
            text = f"the session's patch of generation {planned.generation} plays what cannot be had: {error}"
            raise SessionError(f"{text}; say where the file of then lies with --samples") from error
        try:
            plan = new_plan(
                patch,
                sample_rate_hz=rate_hz,
                max_block_frames=SPAN_FRAMES,
                n_channels=n_channels,
                samples=self._samples.data(patch),
            )
            self.facts.warnings += prime(plan, patch, ops, rate_hz)
        except (NativeError, CommandError) as error:
            text = f"the session's patch of generation {planned.generation} cannot be rendered: {error}"
            raise SessionError(f"{text}; use the version it was played with") from error
        return plan

    def _restart(self, block: int) -> None:
        """Keep the states that a later restart begins with, and restart what begins here."""
        for restart in self.session.restarts:
            if restart.planned.generation not in self._needed:
                continue
            source = restart.planned.source
            if restart.from_block == block and source in self._runs:
                snapshot = _native.Replay(self._plan(restart.planned), source)
                _copy(snapshot, self._runs[source])
                self._snapshots[restart.planned.generation] = snapshot
            if restart.block == block:
                self._runs[restart.planned.generation] = self._restarted(restart)

    def _restarted(self, restart: Restart) -> _native.Replay:
        generation = restart.planned.generation
        run = _native.Replay(self._plan(restart.planned), generation)
        snapshot = self._snapshots.pop(generation, None)
        if snapshot is None and restart.image and self._ratio == 1:
            snapshot = _native.Replay(self._plan(restart.planned), generation)
            _load(snapshot, restart.image)
        if snapshot is None:
            if restart.planned.source != generation:  # it did not begin fresh
                text = f"generation {generation} begins with the patch's values"
                self.facts.warnings.append(f"{text}: the log does not reach back to its states")
            snapshot = _native.Replay(self._plan(restart.planned), generation)
        run.restart(snapshot, restart.base)
        return run

    def _take(self, block: int, decided: int, upto: int) -> None:
        """Take the records of a block, turning where a SWITCH says so."""
        first = self._block_at(block)
        for seq, generation in self._switches_at.get(block, ()):
            if generation not in self._needed or generation not in self.session.plans:
                continue
            self._take_all(decided, seq - 1, first)
            decided = seq - 1
            self._turn(self.session.plans[generation], block)
        self._take_all(decided, upto, first)

    def _take_all(self, decided: int, upto: int, first_frame: int) -> None:
        commands = self._commands[decided - self.session.seq : upto - self.session.seq]
        if len(commands):
            for run in self._runs.values():
                run.take(commands, first_frame)

    def _turn(self, planned: PlannedPatch, block: int) -> None:
        source, generation = planned.source, planned.generation
        run = self._run_of(source)
        if self._needed.get(source, -1) > block:
            before = self.session.plans.get(source) or self.session.planned or _empty(source)
            old = _native.Replay(self._plan(before), source)
            _copy(old, run)
            self._runs[source] = old
        else:
            self._runs.pop(source, None)
        run.turn(self._plan(planned), generation, self._at(planned.fade_frames))
        self._runs[generation] = run

    def _forget(self, block: int) -> None:
        """Drop the runs that are needed no more."""
        for generation in [g for g in self._runs if self._needed.get(g, -1) < block]:
            self._runs.pop(generation).close()


def _copy(run: _native.Replay, other: _native.Replay) -> None:
    try:
        run.copy(other)
    except NativeError as error:
        raise SessionError(
            f"two plans in the log should be equal and are not: {error}; a faulty engine wrote it"
        ) from error


def _load(run: _native.Replay, image: bytes) -> None:
    try:
        run.load(image)
    except NativeError as error:
        raise SessionError(
            f"a checkpoint in the log cannot be used: {error}; use the version it was played with"
        ) from error


def _empty(generation: int) -> PlannedPatch:
    return PlannedPatch(generation, generation, 0, {"nodes": [], "cables": [], "ops": []})

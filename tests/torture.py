"""What tests/test_torture.py and the benches do to an engine: end workers at any moment, tell what must be heard.

PYENGINE_LONG=1 asks for the full counts (`make torture`), PYENGINE_SEED=2 for other moments.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from live import Live, Samples, chain, stereo
from waiting import wait_until

from pyengine import CommitRefused, Engine, Patch, _native
from pyengine.commands import Clear, Command, Commit, Create, Gate, SetParam
from pyengine.plan import address

LONG = os.environ.get("PYENGINE_LONG") == "1"
SEED = int(os.environ.get("PYENGINE_SEED", "1"))
DECLICK_FRAMES = 240  # 5 ms
AHEAD_FRAMES = 200_000  # time-tagged settings wait in the schedule for so long, through many deaths
FREE_SPEED = 28 * 48000.0  # frames per second that the free-running clock may reach: only to choose moments by


def many(fast: int, full: int) -> int:
    return full if LONG else fast


def strike(engine: Engine, victim: str, how: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to the worker of the 'active' or 'standby' slot, or to 'both'; return how many there were."""
    supervisor: Any = engine._supervisor
    active = supervisor.segment.active_slot
    slots = {"active": [active], "standby": [1 - active], "both": [active, 1 - active]}[victim]
    workers = [worker for worker in map(supervisor.crew.workers.__getitem__, slots) if worker is not None]
    for worker in workers:
        worker.process.send_signal(how)
    return len(workers)


def deaths(engine: Engine) -> int:
    """Return how many workers have died; between two turns of the engine's loop, so that each is dealt with."""
    supervisor: Any = engine._supervisor
    return int(engine._ask(lambda: supervisor.crew.deaths))


def is_whole(engine: Engine) -> bool:
    """True while either worker could die without a trace in the sound."""
    supervisor: Any = engine._supervisor
    return bool(engine._ask(lambda: supervisor.mender.is_redundant and supervisor.commits.phase == "none"))


@dataclass
class Settings:
    """Time-tagged settings at random frames, to a live engine now and to an offline render later."""

    live: Live
    rng: random.Random
    first: int  # frame of the patch
    at: int = 0
    events: list[Any] = field(default_factory=list)

    def send(self, n: int) -> None:
        self.at = max(self.at, self.live.engine.frames + AHEAD_FRAMES)
        for _ in range(n):
            self.at += self.rng.randrange(1, 3000)
            command, op = self._one()
            self.live.send_at(self.at, command)
            self.events.append(((self.at - self.first) / 48000, op))

    def _one(self) -> tuple[Command, tuple[str, str, str | None, float]]:
        rng = self.rng
        if rng.random() < 0.2:
            is_open = rng.randrange(2)
            return Gate("env1", is_open), ("gate", "env1", None, is_open)
        id, param, low, high = rng.choice([("osc1", "freq", 100, 4000), ("filt1", "cutoff", 200, 8000)])
        value = float(rng.randrange(low, high))
        return SetParam(id, param, value), ("mod", id, param, value)

    def play_out(self) -> None:
        """Let the clock pass the last of them."""
        self.live.advance(max(0, self.at - self.live.engine.frames) + 4800)

    def offline(self, n_frames: int, patch: Patch) -> Samples:
        return stereo(patch, n_frames, events=self.events)


def torture_patch() -> Patch:
    """A sine through an envelope through a filter, and a silent filter that any setting may reach at any time."""
    return chain(3).create("mute1", "biquad_filter")


def play(engine: Any, patch: Patch) -> dict[str, Any]:
    """Commit a patch to an engine or through a client; return the report."""
    for node in patch.nodes.values():
        engine.create(node.id, node.type)
        for name, value in node.params.items():
            engine.set(node.id, name, value)
    for cable in patch.cables:
        engine.connect(*patch.cable_text(cable))
    report: dict[str, Any] = engine.commit(crossfade_ms=0)
    return report


@contextmanager
def while_it_runs(action: Any, after_s: float) -> Iterator[list[Any]]:
    """Call action() from another thread after a while; the list holds its result at the end."""
    results: list[Any] = []

    def later() -> None:
        time.sleep(after_s)
        results.append(action())

    thread = threading.Thread(target=later)
    thread.start()
    yield results
    thread.join()


# ---- on the real-time clock: what a machine that takes the processor away does to the sound is counted


class Watched:
    """A recorded engine on the real-time clock; every silence and every setting is known to the frame."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.engine = Engine("none", recordings=folder, **({"probation_ms": 0, "lead_blocks": 8} | options))
        self.supervisor: Any = self.engine._supervisor
        self.silences: list[list[int]] = []  # [frame of the output, frames], 0 while it lasts
        self.resumed_ns: list[float] = []  # when each ended
        self._on_event = self.supervisor._on_event
        self.supervisor._on_event = self._note
        self.first = int(play(self.engine, torture_patch())["block"]) * 64
        self._at = 0
        self._events: list[Any] = []
        self.settle()
        self.engine.record_start("take.wav")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *exc: object) -> None:
        self.engine.close()

    def _note(self, event: _native.Event) -> None:
        if event.kind == "underrun":
            self.silences.append([event.frame, 0])
        elif event.kind == "resumed":
            self.silences[-1][1] = event.value
            self.resumed_ns.append(self.put_out_ns(event.frame))
        self._on_event(event)

    def put_out_ns(self, frame: int) -> float:
        """Return when the callback put out a frame of late, on the clock of time.monotonic_ns."""
        newest, at_ns = self.supervisor._audio.time()
        return float(at_ns - 1e9 * (newest - frame) / 48000)

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.engine.status()["counters"]
        return counters

    @property
    def engine_frame(self) -> int:
        """The frame that is due in engine time, which stands still in every silence."""
        return int(self.supervisor.segment.play_block) * 64

    def settle(self, n_frames: int = 0) -> None:
        """Wait until both slots render and a worker is in reserve, and for so many frames of sound."""
        wait_until(lambda: is_whole(self.engine) and self.supervisor.crew.is_reserve_ready, 30)
        until = self.engine_frame + n_frames
        wait_until(lambda: self.engine_frame >= until, 30)

    def send(self, op: tuple[str, str, str | None, float]) -> None:
        """Let a setting take effect at an exact frame, a good second from now."""
        self._at = max(self._at, self.engine_frame + 60_000) + 333
        handle, param, value = address(self.supervisor.desk.committed, op)
        record = _native.Record(handle, param, value, frame=self._at)
        self.engine._loop.call(lambda: self.supervisor.intake.send([record]))
        self.expect(self._at, op)

    def expect(self, frame: int, op: tuple[str, str, str | None, float]) -> None:
        """A setting was sent that takes effect at this frame of engine time."""
        self._at = max(self._at, frame)
        self._events.append(((frame - self.first) / 48000, op))

    def assert_right(self) -> dict[str, int]:
        """The recording is the patch with its settings, bit for bit, but for silences, declicked and counted. Returns
        the counters.
        """
        self.settle(max(0, self._at - self.engine_frame) + 4800)
        report = self.engine.record_stop()
        counters = self.counters()
        wait_until(lambda: sum(n for _, n in self.silences) >= counters["frames_underrun"])
        x, _ = soundfile.read(self.folder / report["name"], dtype="float32", always_2d=True)
        begin = report["first_frame"]
        assert report["lost_frames"] == counters["events_lost"] == counters["fallbacks"] == 0
        earlier = [n for frame, n in self.silences if frame < begin]
        skipped = begin - sum(earlier) - self.first
        offline = stereo(torture_patch(), skipped + len(x), events=self._events)
        silences = [(frame - begin, n) for frame, n in self.silences if begin <= frame < begin + len(x)]
        y = with_silences(offline[skipped:], silences, len(x))
        (wrong,) = np.nonzero((x != y).any(axis=1))
        assert len(wrong) == 0, f"{len(wrong)} of {len(x)} frames differ, first {wrong[:3]}; silences {silences}"
        return counters


def with_silences(sound: Samples, silences: Sequence[tuple[int, int]], n_frames: int) -> Samples:
    """Return what the callback puts out: the sound, interrupted by silences (frame, frames), declicked at both ends."""
    out = np.zeros((n_frames, sound.shape[1]), np.float32)
    offset, left, at, read = out[0], 0, 0, 0

    def put(piece: Samples, is_declicked: bool) -> None:
        nonlocal offset, left, at
        if len(piece) == 0:
            return
        if is_declicked:
            offset, left = out[at - 1] - piece[0], DECLICK_FRAMES
        n_ramp = min(left, len(piece))
        ramp = np.arange(left, left - n_ramp, -1, dtype=np.float32) / np.float32(DECLICK_FRAMES)
        out[at : at + len(piece)] = piece
        out[at : at + n_ramp] += offset * ramp[:, None]
        left -= n_ramp
        at += len(piece)

    for number, (frame, n) in enumerate([*silences, (n_frames, 0)]):
        piece = sound[read : read + frame - at]
        read += len(piece)
        put(piece, number > 0)
        put(np.zeros_like(out[: min(n, n_frames - at)]), True)
    return out


# ---- in the middle of a commit


@dataclass
class Sounding:
    """A tone that is heard alone: its id, and the frame from which it began."""

    id: str
    freq_hz: float
    frame: int

    def samples(self, first: int, last: int) -> Samples:
        """Return frames first to last of a recording that it alone is in."""
        return self._offline(last)[first - self.frame : last - self.frame]

    def _offline(self, last: int) -> Samples:
        patch = Patch().create(self.id, "simple_sine").set(self.id, "freq", self.freq_hz)
        return stereo(patch, max(0, last - self.frame))

    def is_heard(self, x: Samples, first: int) -> npt.NDArray[np.bool_]:
        """Tell of each frame of a recording, that begins at frame `first`, whether it is this tone, bit for bit."""
        own = np.full_like(x, np.nan)
        begin = max(0, self.frame - first)
        own[begin:] = self.samples(first + begin, first + len(x))
        is_it: npt.NDArray[np.bool_] = (x == own).all(axis=1)
        return is_it


class Committing:
    """Commits one tone after the other to an engine on the free-running clock; each may be disturbed at a phase."""

    def __init__(self, live: Live) -> None:
        self.live, self.engine = live, live.engine
        self.supervisor: Any = live.engine._supervisor
        self.n = 0
        self.sounding = Sounding("", 0.0, 0)

    @property
    def phase(self) -> str:
        if self.supervisor.mender.is_on_probation:
            return "probation"
        phase: str = self.supervisor.commits.phase
        return phase

    def begin(self, freq_hz: float) -> list[Any]:
        """Submit a commit of another tone; return the list that its answers come into."""
        self.n += 1
        answers: list[Any] = []
        new = f"osc{self.n}"
        edits = [Clear(), Create(new, "simple_sine"), SetParam(new, "freq", freq_hz)]
        commands = [(command, lambda _: None) for command in edits] + [(Commit(timeout_ms=20_000), answers.append)]
        self.engine._loop.call(lambda: self.engine._dispatcher.group(commands, time.monotonic(), None))  # type: ignore
        return answers

    def strike_at(self, phase: str, after_s: float, victim: str, answers: list[Any]) -> str:
        """Kill when the commit has come to a phase and a while has passed; return the phase at that moment."""
        until = time.monotonic() + 5.0
        while self.phase != phase and not answers and time.monotonic() < until:
            time.sleep(0.0001)
        time.sleep(after_s)
        found = "done" if self.phase == "none" else self.phase
        strike(self.engine, victim)
        return found

    def strike_behind(self, step: str, after_s: float, victim: str) -> None:
        """Kill a while after a step of the next commit ('_prime', 'on_primed'), or at its begin ('on_swap'): in the
        engine's own loop, so that not even a busy machine misses the moment.
        """
        commits = self.supervisor.commits
        do_step = getattr(commits, step)

        def with_strike(*args: Any) -> None:
            delattr(commits, step)
            if step == "on_swap":
                strike(self.engine, victim)
            do_step(*args)
            if step != "on_swap":
                until = time.monotonic() + after_s
                while time.monotonic() < until:
                    pass
                strike(self.engine, victim)

        setattr(commits, step, with_strike)

    def settle(self, answers: list[Any]) -> None:
        """Let the clock go on until the commit has been answered and both slots render what is to be heard."""

        def is_settled() -> bool:
            self.live.advance(640)
            return bool(answers) and self.phase == "none" and is_whole(self.engine)

        wait_until(is_settled, 30)

    def conclude(self, freq_hz: float, answers: list[Any]) -> str:
        """Check that the answer, the patch that is told and the sound of the last moment agree; return the outcome."""
        answer, dump = answers[-1], self.live.client.dump()
        new = f"osc{self.n}"
        if isinstance(answer, CommitRefused):
            assert answer.reason in ("worker died", "late", "rolled back", "no standby"), answer
            assert [node["id"] for node in dump["pending"]["nodes"]] == [new], "the edits are kept"
        else:
            assert answer["new"] == [new]
            self.sounding = Sounding(new, freq_hz, answer["frame"] - 64 * answer["late_blocks"])
        assert [node["id"] for node in dump["committed"]["nodes"]] == [self.sounding.id]
        return answer.reason if isinstance(answer, CommitRefused) else "happened"

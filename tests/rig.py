"""A whole engine in one process: two render threads, the output and a driver, without a supervisor.

with Rig(block_frames=64) as rig:
    rig.record()
    frame = rig.commit(Patch().create("osc1", "simple_sine"))
    rig.advance(48000)
    samples = rig.read_tap()  # float32 (frames, channels), from frame 0 on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from waiting import wait_until

from pyengine import _native
from pyengine.output import Driver, open_driver
from pyengine.patch import Patch
from pyengine.plan import new_plan, prime


class Rig:
    """Two workers, an output and a driver. device, as open_driver takes it; requests: sizes to cycle through.

    On the free-running clock every step is exact: a request is allowed only when both slots have rendered
    all they may, so that a loaded machine changes nothing.
    """

    def __init__(
        self,
        device: str = "free",
        *,
        block_frames: int = 64,
        lead: int = 2,
        requests: Sequence[int] = (),
        n_channels: int = 2,
        sample_rate_hz: float = 48000.0,
        tap_frames: int = 1 << 18,
        priority: int = 0,
        checkpoint_blocks: int = 0,
        checkpoint_pieces: int = 0,
        may_rest: bool = False,
    ) -> None:
        config = _native.Config(
            sample_rate_hz=sample_rate_hz,
            block_frames=block_frames,
            n_channels=n_channels,
            lead_blocks=lead,
            tap_frames=tap_frames,
            is_free_running=device == "free",
            checkpoint_blocks=checkpoint_blocks,
            checkpoint_pieces=checkpoint_pieces,
            may_rest=may_rest,
        )
        self.segment = _native.Segment.create(config)
        self.config = config
        self.workers = [_native.Worker(self.segment, slot) for slot in range(2)]  # by slot
        self.former: list[_native.Worker] = []  # given up, but perhaps not at an end
        self.seats = [0, 1]  # of those workers
        self.rendering = {0, 1}  # slots whose workers go on
        for slot, worker in enumerate(self.workers):
            worker.start(priority)
            worker.join(_native.Join(self.plan(Patch()), 0), 60_000)
            self.segment.set_alive(slot, True)
            self.segment.set_playable(slot, True)
        self.output = _native.Output(self.segment)
        self._driver: Driver | None = None
        try:
            self._driver = open_driver(
                device,
                self.output,
                sample_rate_hz=sample_rate_hz,
                block_frames=block_frames,
                n_channels=n_channels,
                priority=priority,
            )
            assert not requests or self.clock.set_requests(requests)
        except BaseException:
            self.close()  # the render threads use the segment
            raise
        self.generation = 0
        self.events: list[_native.Event] = []

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()
        for worker in [*self.workers, *self.former]:
            worker.close()
        self.output.close()
        self.segment.close()

    @property
    def driver(self) -> Driver:
        assert self._driver is not None
        return self._driver

    @property
    def clock(self) -> _native.Clock:
        assert self.driver.clock is not None
        return self.driver.clock

    @property
    def is_free(self) -> bool:
        return self.config.is_free_running

    def counters(self) -> dict[str, int]:
        return self.segment.counters()

    def record(self) -> None:
        """Feed the tap from the next request on."""
        self.output.record(True)

    def read_tap(self) -> npt.NDArray[np.float32]:
        """Return what was recorded since the last call, as float32 (frames, channels)."""
        data = b"".join(iter(lambda: self.segment.read_tap(1 << 16), b""))
        return np.frombuffer(data, np.float32).reshape(-1, self.config.n_channels)

    def settle(self) -> None:
        """Wait until all slots that go on have rendered as far ahead as they may."""
        segment = self.segment
        wait_until(
            lambda: all(
                segment.slot_rests(slot) or segment.render_head(slot) >= segment.play_block + segment.effective_lead
                for slot in self.rendering
            ),
            60.0,
        )

    def advance(self, n_frames: int, timeout_s: float = 30.0) -> None:
        """Put out n_frames more, and on the free-running clock no frame beyond."""
        until = self.output.frames + n_frames
        if self.is_free:
            self.settle()
            self.clock.allow(until)
            assert self.clock.wait(until, int(timeout_s * 1000)), f"{self.output.frames} of {until} frames"
        wait_until(lambda: self.output.frames >= until, timeout_s)

    def _until(self, predicate: Callable[[], object]) -> None:
        """Go on block by block until predicate()."""
        for _ in range(10_000):
            if predicate():
                return
            self.advance(self.config.block_frames)
        raise AssertionError(f"not within {self.output.frames} frames: {predicate}")

    def plan(self, patch: Patch) -> _native.Plan:
        rate_hz = self.config.sample_rate_hz
        plan = new_plan(
            patch,
            sample_rate_hz=rate_hz,
            max_block_frames=self.config.block_frames,
            n_channels=self.config.n_channels,
        )
        prime(plan, patch, patch.ops(), rate_hz)
        return plan

    def drain(self) -> list[_native.Event]:
        """Fetch the events that came since the last call; they are also kept in `events`."""
        new = list(self.segment.events())
        self.events += new
        return new

    def send(self, *records: _native.Record) -> int:
        """Send records once both slots wait: the block that takes them is then always the same one."""
        self.settle()
        newest = self.segment.send(records)
        assert newest
        return newest

    # ---- commits -------------------------------------------------------------------------------------

    def switch(self, patch: Patch, fade_frames: int = 0) -> int:
        """Switch the patch in on the standby, return the first frame of it; the other slot goes on as it was."""
        segment = self.segment
        standby = 1 - segment.active_slot
        self.generation += 1
        generation = self.generation
        segment.reset_prime_ready(standby, generation)
        self.workers[standby].arm(self.plan(patch), generation, fade_frames)
        assert segment.set_prime_ready(standby, generation)
        segment.open_gate(generation)
        self.send(_native.Record(0, 0, 0.0, switch_to=generation))
        self._until(lambda: segment.swapped_generation == generation)
        segment.close_gate()
        new = self.drain()
        return next(e.frame for e in new if e.kind == "swap" and e.generation == generation)

    def commit(self, patch: Patch, fade_frames: int = 0) -> int:
        """Switch the patch in, make the other slot its replica, return the first frame of it."""
        standby = 1 - self.segment.active_slot
        first = self.switch(patch, fade_frames)
        self.replicate(patch, standby, self.generation, fade_frames)
        return first

    def replicate(self, patch: Patch, source: int, generation: int, fade_frames: int = 0) -> None:
        """Let the other slot join what `source` plays, once that has faded, from a checkpoint."""
        self.advance(fade_frames + self.config.block_frames)
        self.segment.set_pin(1 - source, 0)
        self.checkpoint(source)
        self.join(1 - source, [(generation, patch, 0)])
        self.segment.set_pin(1 - source, _native.NO_PIN)

    # ---- deaths, checkpoints and joins ------------------------------------------------------------------

    def checkpoint(self, slot: int) -> _native.Event:
        """Let a slot write a checkpoint of what it runs, and return what it told of it."""
        segment, found = self.segment, list[_native.Event]()

        def is_told() -> bool:
            new = (e for e in self.drain() if e.kind == "checkpoint" and e.source == segment.seat(slot))
            found.extend(e for e in new if e.generation == generation)
            return bool(found)

        self.drain()
        generation = segment.slot_generation(slot)
        segment.request_checkpoint(slot, generation)
        wait_until(is_told, 60.0)
        return found[-1]

    def stop(self, slot: int) -> None:
        """End a slot's worker, as a death does; its ring stays as it is."""
        self.rendering.discard(slot)
        self.workers[slot].close()
        self.segment.set_alive(slot, False)

    def start(self, slot: int, seat: int) -> None:
        """Start another worker, in this seat, for a slot whose worker is at an end or given up; it has yet to join."""
        self.former.append(self.workers[slot])
        self.rendering.discard(slot)
        self.segment.set_shutdown(seat, False)
        self.workers[slot] = _native.Worker(self.segment, seat)
        self.workers[slot].start(0)
        self.seats[slot] = seat

    def begin(self, chain: Sequence[tuple[int, Patch, int]]) -> _native.Join:
        """Return a join through (generation, patch, fade frames)s, from the newest checkpoint of the first one."""
        (generation, patch, _), *more = chain
        join = _native.Join(self.plan(patch), generation)
        join.load(self.segment, generation)
        for generation, patch, fade_frames in more:
            join.then(self.plan(patch), generation, fade_frames)
        return join

    def join(self, slot: int, chain: Sequence[tuple[int, Patch, int]]) -> None:
        """Let a slot's worker join what its chain leads to, from a checkpoint."""
        self.take(slot, self.begin(chain))

    def take(self, slot: int, join: _native.Join) -> None:
        """Let a slot's worker take a join; from then on its ring is the slot's, and it counts as alive."""
        self.workers[slot].join(join, 60_000)
        self.segment.set_seat(slot, self.seats[slot])
        self.segment.set_alive(slot, True)
        self.rendering.add(slot)
        self.workers[slot].collect()

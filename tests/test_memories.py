"""The memories of delays and reverbs: what a checkpoint costs with them, what a commit and a death leave of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import Live, assert_same
from memory import checkpoint_places
from rig import Rig

from pyengine import Patch
from pyengine.commands import Gate
from pyengine.errors import EngineError

LINE_BYTES = 131072 * 4  # of a delay at 48 kHz


def delays(n: int) -> Patch:
    patch = Patch().create("osc", "simple_sine")
    for i in range(n):
        patch.create(f"d{i}", "delay").connect("osc", f"d{i}")
    return patch


def test_a_checkpoint_of_twenty_delays_copies_what_is_new_and_nothing_else() -> None:
    n_delays, n_frames = 20, 6400
    with Rig() as rig:
        rig.commit(delays(n_delays))
        for _ in range(2):  # one in each place
            rig.advance(n_frames)
            rig.settle()
            rig.checkpoint(0)
        place = min(checkpoint_places(rig.segment, 0), key=lambda p: p.stamp)  # the next one is written here
        n_before, block = len(place.states), place.block
        assert n_before > n_delays * LINE_BYTES
        at = place.states_at
        memory = rig.segment._memory
        poison = bytes([0xA5]) * n_before
        plain = n_before - n_delays * LINE_BYTES  # states, at their beginning: the counts are read there
        memory[at + plain : at + n_before] = poison[plain:]
        rig.advance(n_frames)
        rig.settle()
        rig.checkpoint(0)
        states = np.frombuffer(place.states, np.uint8)[plain:]
        n_copied = int(np.count_nonzero(states.view(np.uint32) != 0xA5A5A5A5)) * 4
        n_new = (place.block - block) * 64 * 4 * n_delays
    assert 0.9 * n_new < n_copied <= n_new  # a sample may happen to be what the poison is
    assert n_copied < n_before / 8  # since the checkpoint before the last: at most 0.4 s of 2.7 s in this test


def test_more_memory_than_a_checkpoint_holds_is_refused_and_the_sound_goes_on(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        live.client.create("osc", "simple_sine")
        live.commit()
        for i in range(70):
            live.client.create(f"d{i}", "delay")
            live.client.connect("osc", f"d{i}")
        with pytest.raises(EngineError, match="more than the 33554432"):
            live.commit()
        live.advance(4800)
        assert np.abs(live.samples()[-4000:]).max() > 0.1


def echo(live: Live) -> int:
    """Commit a string in a room with an echo; return the frame at which it is plucked, once both slots are in step."""
    client = live.client
    for id, type in (("k", "pluck"), ("d", "delay"), ("r", "reverb")):
        client.create(id, type)
    client.connect("k", "d")
    client.connect("d", "r")
    client.set("d", "feedback", 0.8)
    client.set("d", "time", 123.4)
    client.set("r", "mix", 0.5)
    live.commit()
    live.await_redundancy()
    live.client.record_stop()
    live.record()
    start = int(live.engine.status()["frames"]) + 4800
    live.send_at(start, Gate("k", 1))
    live.advance(20000)
    return start


def take(folder: Path, what: Any = None) -> np.ndarray:
    """Return the sound from the pluck on, after `what` was done in the middle of the echo."""
    folder.mkdir()
    with Live(folder, crossfade_ms=0) as live:
        echo(live)
        if what is not None:
            what(live)
        live.advance(60000)
        sound = live.samples()
    return sound[int(np.flatnonzero(sound[:, 0])[0]) :][:60000]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    sound = take(tmp_path_factory.mktemp("echo") / "take")
    assert np.abs(sound[40000:]).max() > 1e-3
    return sound


def test_a_commit_in_the_middle_of_an_echo_carries_it_to_the_bit(tmp_path: Path, undisturbed: np.ndarray) -> None:
    def commit(live: Live) -> None:
        live.client.create("idle", "gain")  # nothing comes into it: it adds +0
        live.commit()
        live.advance(3000)
        live.await_redundancy()
        live.client.delete("idle")
        live.commit()

    assert_same(take(tmp_path / "commit", commit), undisturbed)


def test_kills_in_the_middle_of_an_echo_change_no_bit(tmp_path: Path, undisturbed: np.ndarray) -> None:
    def kill(live: Live) -> None:
        for _ in range(2):
            live.kill([slot["state"] for slot in live.status()["slots"]].index("active"))
            live.advance(6000)
            live.await_redundancy()  # the joiner's memories come from a checkpoint and what follows it

    assert_same(take(tmp_path / "kill", kill), undisturbed)


def test_both_workers_killed_in_the_middle_of_an_echo_lose_none_of_it(tmp_path: Path, undisturbed: np.ndarray) -> None:
    def kill(live: Live) -> None:
        live.kill(0)
        live.kill(1)
        live.await_redundancy()  # the free-running clock waits for the block that is due

    assert_same(take(tmp_path / "both", kill), undisturbed)

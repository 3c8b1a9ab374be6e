"""Banks and instruction sets change no bit: of what is heard, and of the states behind it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Live

import pyengine
from pyengine import Patch, _native
from pyengine.errors import NativeError
from pyengine.plan import address, new_plan, prime

RATE_HZ = 48000.0
ISAS = _native.isa_names()
Event = tuple[int, tuple[str, str, Any, Any]]


@contextmanager
def built_for(isa: str | None = None, *, banks: bool = True) -> Iterator[None]:
    """Plans built inside run on this instruction set, with or without banks."""
    kept = {name: os.environ.get(name) for name in ("PYENGINE_ISA", "PYENGINE_BANKS")}
    os.environ["PYENGINE_ISA"] = isa or ""
    os.environ["PYENGINE_BANKS"] = "1" if banks else "0"
    _native._registry.cache_clear()
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        _native._registry.cache_clear()


def played(patch: Patch, n_frames: int, events: list[Event], block_frames: int) -> tuple[bytes, int, int]:
    """Return the sound, the hash of the states behind it, and how many nodes are in banks."""
    records = [_native.Record(*address(patch, op), frame=frame) for frame, op in sorted(events, key=lambda e: e[0])]
    out = np.zeros((n_frames, 1), np.float32)
    with new_plan(patch, sample_rate_hz=RATE_HZ, max_block_frames=block_frames, n_channels=1) as plan:
        assert prime(plan, patch, patch.ops(), RATE_HZ) == []
        plan.render(_native.commands(records), len(records), n_frames, block_frames, out)
        assert np.any(out) and np.isfinite(out).all()
        return out.tobytes(), plan.state_hash, plan.n_banked


def chain(patch: Patch, i: int) -> None:
    patch.create(f"o{i}", "simple_sine").create(f"e{i}", "adsr").create(f"f{i}", "biquad_filter")
    patch.connect(f"o{i}", f"e{i}").connect(f"e{i}", f"f{i}")


def pair(patch: Patch, i: int) -> None:
    """Two sines summed into a filter, in an envelope."""
    for name, kind in (("o", "simple_sine"), ("p", "simple_sine"), ("f", "biquad_filter"), ("e", "adsr")):
        patch.create(f"{name}{i}", kind)
    patch.connect(f"o{i}", f"f{i}").connect(f"p{i}", f"f{i}").connect(f"f{i}", f"e{i}")


def envelope(patch: Patch, i: int) -> None:
    patch.create(f"e{i}", "adsr")


def shared(patch: Patch, i: int) -> None:
    """An envelope on a sine that all such voices hear, and on one of its own."""
    if "lfo" not in patch.nodes:
        patch.create("lfo", "simple_sine")
    patch.create(f"o{i}", "simple_sine").create(f"e{i}", "adsr")
    patch.connect("lfo", f"e{i}").connect(f"o{i}", f"e{i}")


def modulated(patch: Patch, i: int) -> None:
    """Frequency modulation: a cable to a parameter keeps a node out of a bank, what follows it may be in one."""
    patch.create(f"m{i}", "simple_sine").create(f"o{i}", "simple_sine").create(f"f{i}", "biquad_filter")
    patch.connect(f"m{i}", f"o{i}.freq").connect(f"o{i}", f"f{i}").set(f"m{i}", "gain", 10.0)


def mixed(patch: Patch, i: int) -> None:
    """Voices that are not heard themselves: they go into one filter."""
    if "mix" not in patch.nodes:
        patch.create("mix", "biquad_filter")
    patch.create(f"o{i}", "simple_sine").create(f"e{i}", "adsr").connect(f"o{i}", f"e{i}").connect(f"e{i}", "mix")


def vca(patch: Patch, i: int) -> None:
    """A sine through an amplifier whose cv is an envelope."""
    patch.create(f"o{i}", "simple_sine").create(f"e{i}", "adsr").create(f"g{i}", "gain")
    patch.connect(f"o{i}", f"g{i}").connect(f"e{i}", f"g{i}.cv")


SHAPES: list[Callable[[Patch, int], None]] = [chain, pair, envelope, shared, modulated, mixed, vca]


def random_value(rng: np.random.Generator, name: str) -> float:
    ranges = {
        "freq": (1, 9000),
        "gain": (0, 0.5),
        "cutoff": (20, 20000),
        "q": (0.2, 9),
        "mode": (0, 7),
        "gain_db": (-9, 9),
    }
    low, high = ranges.get(name, (0, 1) if name == "sustain" else (0, 20))
    value = float(rng.uniform(low, high))
    return round(value) if name == "mode" else value


def scene(seed: int, n_frames: int) -> tuple[Patch, list[Event]]:
    """Return a patch of some shapes, some of them many times, and changes of anything at any frame."""
    rng = np.random.default_rng(seed)
    patch, i = Patch(), 0
    for _ in range(rng.integers(1, 4)):
        add, n = SHAPES[rng.integers(len(SHAPES))], int(rng.choice([1, 3, 5, 6, 7, 16, 17, 30]))
        for _ in range(n):
            add(patch, i)
            i += 1
    ids, events = list(patch.nodes), []
    for id in ids:
        for param in patch.spec(id).params:
            if rng.integers(3) == 0 and param.name != "gate":
                patch.set(id, param.name, random_value(rng, param.name))
    for _ in range(int(rng.integers(0, 60))):
        id, frame = str(rng.choice(ids)), int(rng.integers(0, n_frames))
        param = rng.choice([p.name for p in patch.spec(id).params])
        if param == "gate":
            events.append((frame, ("gate", id, None, int(rng.integers(2)))))
        else:
            events.append((frame, ("mod", id, str(param), random_value(rng, str(param)))))
    return patch, events


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), block_frames=st.sampled_from([64, 64, 256, 96, 48, 37, 1]))
def test_banks_instruction_sets_and_blocks_change_no_bit(seed: int, block_frames: int) -> None:
    patch, events = scene(seed, 1500)
    with built_for("", banks=False):
        sound, states, n_banked = played(patch, 1500, events, 64)
    assert n_banked == 0
    for isa in ISAS:
        with built_for(isa):
            assert played(patch, 1500, events, block_frames)[:2] == (sound, states), isa


@pytest.mark.parametrize("shape", SHAPES)
def test_many_equal_voices_are_rendered_together(shape: Callable[[Patch, int], None]) -> None:
    patch = Patch()
    for i in range(32):
        shape(patch, i)
    n_alone = {shared: 1, mixed: 1, modulated: 32}.get(shape, 0)  # what feeds all, or is modulated
    assert played(patch, 64, [], 64)[2] == len(patch.nodes) - n_alone


def test_a_voice_among_few_goes_alone() -> None:
    patch = Patch()
    for i in range(3):
        chain(patch, i)
    assert played(patch, 64, [], 64)[2] == 0


def test_ten_thousand_nodes_are_rendered_as_they_are_one_by_one() -> None:
    patch = Patch()
    for i in range(3333):
        chain(patch, i)
        patch.set(f"o{i}", "freq", 100.0 + i).set(f"o{i}", "gain", 1e-3).set(f"f{i}", "cutoff", 500.0 + i)
    events = [(300, ("gate", f"e{i}", None, 0)) for i in range(0, 3333, 7)]
    together = played(patch, 640, events, 64)
    assert together[2] == 3 * (3333 // 16 * 16)  # the last five are too few for a bank
    with built_for("", banks=False):
        assert played(patch, 640, events, 64)[:2] == together[:2]


def test_voices_at_rest_wake_up_where_they_would_be() -> None:
    """A bank that has rested for long is woken by one gate: its sine has gone on meanwhile."""
    patch = Patch()
    for i in range(22):
        chain(patch, i)
        patch.set(f"o{i}", "freq", 331.0 + 17 * i).set(f"e{i}", "release", 5.0).set(f"f{i}", "cutoff", 4000.0)
    closed: list[Event] = [(100, ("gate", f"e{i}", None, 0)) for i in range(22)]
    events: list[Event] = [*closed, (40_003, ("gate", "e3", None, 1)), (60_001, ("mod", "f9", "cutoff", 900.0))]
    with built_for("", banks=False):
        alone = played(patch, 70_000, events, 64)
    together = played(patch, 70_000, events, 64)
    assert together[2] == 66 and alone[:2] == together[:2]
    x = np.frombuffer(together[0], np.float32)
    assert not np.any(x[20_000:40_003]) and np.any(x[40_003:41_000])


def edit_to(live: Live, before: range, wanted: range) -> None:
    """Make the pending patch hold these voices; those that were there stay."""
    for i in sorted(set(before) - set(wanted)):
        for name in "oef":
            live.client.delete(f"{name}{i}")
    for i in sorted(set(wanted) - set(before)):
        voice = Patch()
        chain(voice, i)
        for node in voice.nodes.values():
            live.client.create(node.id, node.type)
        for cable in voice.cables:
            live.client.connect(*voice.cable_text(cable))
        live.client.set(f"o{i}", "freq", 200.0 + 31 * i)


def test_a_voice_moves_between_bank_and_single_at_any_commit(tmp_path: Path) -> None:
    """Played with banks, a worker killed on the way; replayed without, and on every instruction set."""
    log, before = tmp_path / "moves.session", range(0)
    with Live(tmp_path, session=log) as live:
        for step, wanted in enumerate((range(3), range(20), range(1, 3), range(1, 30), range(12, 17))):
            edit_to(live, before, wanted)
            live.commit(crossfade_ms=2)
            live.advance(1000)
            live.client.set(f"o{wanted[0]}", "freq", 1000.0 + step)
            live.client.gate(f"e{wanted[-1]}", step % 2)
            if step == 3:
                live.kill(live.status()["active_slot"])
            live.advance(3000)
            before = wanted
        heard = live.samples()
    assert np.any(heard)
    for isa in ISAS:
        for banks in (True, False):
            with built_for(isa, banks=banks):
                sound, _ = pyengine.replay(log)
            n = min(len(sound), len(heard))
            assert n > 15_000 and sound[:n].tobytes() == heard[:n].tobytes(), (isa, banks)


def heard_alone(_: Patch) -> None:
    """The chain as it is."""


def driven(patch: Patch) -> None:
    """A cable moves the oscillator's frequency."""
    patch.create("lfo1", "lfo").connect("lfo1", "o0.freq")


def gated(patch: Patch) -> None:
    """A cable opens and closes the envelope."""
    patch.create("lfo1", "lfo").set("lfo1", "freq", 5.0).connect("lfo1", "e0.gate")


def tapped(patch: Patch) -> None:
    """The filter hears the oscillator beside the envelope."""
    patch.connect("o0", "f0")


def tapped_for_a_cutoff(patch: Patch) -> None:
    """The oscillator goes into the envelope, and moves the filter."""
    patch.connect("o0", "f0.cutoff")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("also", [heard_alone, driven, gated, tapped, tapped_for_a_cutoff])
def test_an_oscillator_that_multiplies_by_an_envelope_that_stands_has_the_bits_of_both(
    also: Callable[[Patch], None], isa: str
) -> None:
    """In blocks of 64 it does, in blocks of 256 (which are rendered chunk by chunk) each node goes by itself."""
    patch = Patch()
    chain(patch, 0)
    patch.set("o0", "gain", 1.0)
    also(patch)
    events: list[Event] = [
        (4000, ("mod", "e0", "sustain", 0.4)),
        (5000, ("mod", "o0", "freq", 80.0)),
        (5010, ("mod", "f0", "cutoff", 300.0)),
        (6000, ("mod", "o0", "gain", 0.0)),
        (7000, ("mod", "o0", "gain", 16.0)),
        (7001, ("mod", "e0", "sustain", 1.0)),
        (8000, ("mod", "e0", "sustain", 0.0)),
        (9000, ("mod", "e0", "sustain", 0.5)),
        (10000, ("gate", "e0", None, 0)),
        (22000, ("mod", "o0", "freq", 3000.0)),
        (23000, ("gate", "e0", None, 1)),
        (23001, ("gate", "e0", None, 0)),
        (35000, ("gate", "e0", None, 1)),
    ]
    with built_for(isa):
        by_itself = played(patch, 40_000, events, 256)
        for block_frames in (64, 48, 37):
            assert played(patch, 40_000, events, block_frames) == by_itself, block_frames


def test_a_ramp_to_minus_0_leaves_the_states_of_one_to_0() -> None:
    """The gain's ramp ends in the middle of a vector, the cutoff's goes on: only the sign of 0 could differ."""
    patch = Patch().create("o", "simple_sine").create("f", "biquad_filter").connect("o", "f")
    patch.set("f", "mode", "peak").set("f", "gain_db", 6.0)
    hashes = set()
    for zero, block_frames, isa in itertools.product((0.0, -0.0), (64, 37, 1), ISAS):
        events: list[Event] = [(100, ("mod", "f", "gain_db", zero)), (100, ("mod", "f", "cutoff", 3000.0))]
        with built_for(isa):
            hashes.add(played(patch, 384, events, block_frames)[1])
    assert len(hashes) == 1


def test_an_unknown_instruction_set_is_refused_with_those_there_are() -> None:
    with built_for("avx1024"), pytest.raises(NativeError, match=r"PYENGINE_ISA='avx1024' names no .*sse2|base"):
        _native.describe_modules()

"""What holds for every module of the registry; a new module is covered by its row there."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace

import drive
import numpy as np
import pytest
from drive import Command, Module, Param, Samples
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine.samples import encode

N_FRAMES = 3000
MODULES = [m for m in drive.modules().values() if m.n_outputs]  # event nodes have no audio: tests/test_seq.py
DATA = {"sampler": encode(np.random.default_rng(1).uniform(-1, 1, (1000, 2)).astype(np.float32))}
EFFECTS = [m for m in MODULES if set(m.inputs) - {"sync"}]  # a sync input is not heard itself
SEEDS = st.integers(0, 2**32 - 1)
SPLITS = st.lists(st.integers(1, 400), min_size=1, max_size=12)

# What makes steps of its own is looked at in its smoothest setting.
SMOOTHEST = {"noise": ("color", 2.0), "osc": ("shape", 3.0)}

every_module = pytest.mark.parametrize("module", MODULES, ids=lambda m: m.name)
every_effect = pytest.mark.parametrize("module", EFFECTS, ids=lambda m: m.name)
property_based = settings(max_examples=25, deadline=None)


@dataclass(frozen=True)
class Scenario:
    """Random input, cables and changes for one module, a function of the seed."""

    commands: list[Command]
    inputs: list[Samples | None]
    cables: dict[str, Samples]


def random_value(rng: np.random.Generator, p: Param) -> float:
    pick = rng.integers(4)
    high = min(p.high, max(40.0, 2 * p.low)) if p.unit == "ms" else p.high  # longer segments would outlast the run
    value = p.low if pick == 0 else high if pick == 1 else float(rng.uniform(p.low, high))
    return float(round(value)) if p.is_integer or p.is_gate else value


def random_cable(rng: np.random.Generator, p: Param) -> Samples:
    if p.is_gate:
        return np.repeat(rng.integers(0, 2, N_FRAMES // 50 + 1), 50)[:N_FRAMES].astype(np.float32)
    return (rng.uniform(-1.2, 1.2, N_FRAMES) * (p.high - p.low)).astype(np.float32)


def scenario(module: Module, seed: int, *, loudness: float = 1.0) -> Scenario:
    rng = np.random.default_rng(seed)
    commands = []
    for frame in sorted(rng.integers(0, N_FRAMES, 16)) if module.params else ():
        p = module.params[rng.integers(len(module.params))]
        commands.append(Command(int(frame), p.name, random_value(rng, p), bool(rng.integers(5) == 0)))
    inputs: list[Samples | None] = [
        (rng.uniform(-loudness, loudness, N_FRAMES)).astype(np.float32) if rng.integers(8) else None
        for _ in range(module.n_inputs)
    ]
    cables = {p.name: random_cable(rng, p) for p in module.params if p.takes_cable and rng.integers(3) == 0}
    return Scenario(commands, inputs, cables)


def play(
    module: Module, s: Scenario, *, splits: list[int] | None = None, fill: int = 0, isa: int | None = None
) -> drive.Result:
    return drive.run(
        module.name,
        N_FRAMES,
        commands=s.commands,
        inputs=s.inputs,
        cables=s.cables,
        splits=splits or [64],
        fill=fill,
        isa=isa,
        data=DATA.get(module.name, b""),
    )


def assert_same(a: drive.Result, b: drive.Result) -> None:
    for x, y in zip(a.outputs, b.outputs, strict=True):
        np.testing.assert_array_equal(x.view(np.uint32), y.view(np.uint32))
    assert a.state == b.state


@every_module
@property_based
@given(seed=SEEDS, splits=SPLITS)
def test_any_split_into_blocks_gives_the_same_bits(module: Module, seed: int, splits: list[int]) -> None:
    s = scenario(module, seed)
    assert_same(play(module, s, splits=splits), play(module, s, splits=[N_FRAMES]))


@every_module
@property_based
@given(seed=SEEDS)
def test_single_frames_give_the_same_bits_as_one_block(module: Module, seed: int) -> None:
    s = scenario(module, seed)
    assert_same(play(module, s, splits=[1]), play(module, s, splits=[N_FRAMES]))


@every_module
@property_based
@given(seed=SEEDS, splits=SPLITS)
def test_every_instruction_set_gives_the_same_bits(module: Module, seed: int, splits: list[int]) -> None:
    s = scenario(module, seed)
    for isa in range(drive.n_isas()):
        assert_same(play(module, s, splits=splits, isa=isa), play(module, s, splits=[N_FRAMES], isa=0))


@every_module
def test_a_ramp_alone_gives_the_same_bits_for_any_split(module: Module) -> None:
    tone = np.sin(np.arange(N_FRAMES) * 0.05).astype(np.float32)
    for p in (p for p in module.params if p.is_ramped):
        changes = [Command(100, p.name, p.low), Command(700, p.name, p.high)]
        s = Scenario(changes, [tone] * module.n_inputs, {})
        assert_same(play(module, s, splits=[7, 1, 64]), play(module, s, splits=[N_FRAMES]))


@every_module
@property_based
@given(seed=SEEDS, at=st.integers(0, N_FRAMES - 1))
def test_reset_equals_new(module: Module, seed: int, at: int) -> None:
    s = scenario(module, seed)
    after = [replace(c, frame=c.frame - at) for c in s.commands if c.frame >= at]
    before = [c for c in s.commands if c.frame < at]
    later = [c for c in s.commands if c.frame >= at]
    whole = replace(s, commands=[*before, Command(at, kind="reset"), *later])
    rest = drive.run(
        module.name,
        N_FRAMES - at,
        commands=after,
        inputs=[None if x is None else x[at:] for x in s.inputs],
        cables={name: x[at:] for name, x in s.cables.items()},
        data=DATA.get(module.name, b""),
    )
    result = play(module, whole)
    assert_same(drive.Result([x[at:] for x in result.outputs], result.state), rest)


@every_module
@property_based
@given(seed=SEEDS, loudness=st.sampled_from([1e-30, 1.0, 1e6, 1e10]))
def test_output_is_finite_and_bounded_for_any_changes(module: Module, seed: int, loudness: float) -> None:
    result = play(module, scenario(module, seed, loudness=loudness))
    for x in result.outputs:
        assert np.all(np.abs(x) <= 1e6)  # false for NaN too; PE_SAMPLE_LIMIT


@every_effect
@property_based
@given(seed=SEEDS)
def test_effects_keep_silence_silent(module: Module, seed: int) -> None:
    silent = replace(scenario(module, seed), inputs=[np.zeros(N_FRAMES, np.float32)] * module.n_inputs)
    for x in play(module, silent).outputs:
        assert not np.any(x)


@pytest.mark.parametrize(
    ("module", "param"),
    [(m, p) for m in MODULES for p in m.params if p.is_ramped],
    ids=lambda x: x.name,
)
def test_a_ramp_makes_no_step_above_a_bound(module: Module, param: Param) -> None:
    n, at = 14400, 7200  # by 150 ms the start of each module is over; so is the ramp 150 ms after the change
    tone = np.sin(2 * np.pi * 300 * np.arange(n) / drive.RATE_HZ).astype(np.float32)
    target = 2 * param.default if param.unit == "Hz" else (param.default + param.high) / 2
    commands = [Command(at, param.name, target)]
    if module.name in SMOOTHEST:
        commands.insert(0, Command(0, *SMOOTHEST[module.name], True))
    if param.name == "gain_db":
        commands.insert(0, Command(0, "mode", 5, True))  # the low shelf: the tone lies in it
    inputs = [None if name == "sync" else tone for name in module.inputs]
    out = drive.run(module.name, n, commands=commands, inputs=inputs).out
    steps = np.abs(np.diff(out.astype(float)))
    settled = max(steps[at - 1000 : at - 1].max(), steps[-1000:].max())
    ramp_frames = param.ramp_us * drive.RATE_HZ / 1e6
    # Beside the signal's own steps: the whole range in equal parts over the ramp. Twice that, as the response
    # need not be linear in the parameter; a change without a ramp of 200 frames or more is far above it.
    # A turn of phase goes through the whole range and back, at most as steep as a sine.
    steepness = 4.0 * abs(target - param.default) if param.unit == "turns" else 1.0
    bound = settled + 2 * steepness * np.abs(out).max() / ramp_frames
    assert steps[at - 1 : -1000].max() <= bound


@every_module
@property_based
@given(seed=SEEDS)
def test_state_does_not_depend_on_what_memory_held_before(module: Module, seed: int) -> None:
    s = scenario(module, seed)
    assert_same(play(module, s, fill=0x00), play(module, s, fill=0xA5))


def test_compiled_modules_call_nothing() -> None:
    """No libm, no allocation: beyond the modules themselves only what a compiler may make of a loop."""
    _, _, objects = drive.build()
    allowed = {"memcpy", "memset", "memmove", "stack_chk_fail"} | {"divmodti4", "divti3", "modti3"}  # of 128 bits
    for path in objects:
        listing = subprocess.run(["nm", "-u", str(path)], check=True, capture_output=True, text=True).stdout
        undefined = {line.split()[-1].lstrip("_") for line in listing.splitlines()}
        foreign = {u for u in undefined if not u.startswith("pe_module_")}
        assert foreign <= allowed, path.name

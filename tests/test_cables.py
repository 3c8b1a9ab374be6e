"""Depth, offset and feedback of cables; left and right."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from live import Live

from pyengine import Patch, render
from pyengine.errors import PatchError

RATE_HZ = 48000
DELAY = 64  # frames of a feedback cable

Samples = npt.NDArray[np.float32]


def tone(freq_hz: float = 440.0, gain: float = 0.25) -> Patch:
    return Patch().create("osc1", "simple_sine").set("osc1", "freq", freq_hz).set("osc1", "gain", gain)


def mono(patch: Patch, n_frames: int = 4800, block_frames: int = 64) -> Samples:
    return render(patch, frames=n_frames, channels=1, block_frames=block_frames)[:, 0]


# ---- depth and offset


def test_a_cable_puts_out_x_times_depth_plus_offset() -> None:
    plain, scaled = tone().create("g", "gain"), tone().create("g", "gain")
    plain.connect("osc1", "g")
    scaled.connect("osc1", "g", -0.5, 0.125)
    expected = mono(plain) * np.float32(-0.5) + np.float32(0.125)
    np.testing.assert_array_equal(mono(scaled), expected)


def test_a_scaled_cable_to_a_parameter_is_in_its_unit() -> None:
    """A constant 1 through depth 110, offset 30 raises 300 Hz to 440 Hz."""
    level = Patch().create("one", "simple_sine").set("one", "freq", 0.0)  # a sine that stands at 0
    level.create("osc1", "simple_sine").set("osc1", "freq", 300.0).connect("one", "osc1.freq", 110.0, 140.0)
    np.testing.assert_array_equal(mono(level), mono(tone(440.0, 0.2)))


def test_cables_of_one_input_are_scaled_each_for_itself() -> None:
    both = tone().create("osc2", "simple_sine").set("osc2", "freq", 660.0).create("g", "gain")
    both.connect("osc1", "g", 0.5).connect("osc2", "g", 2.0, -0.25)
    first, second = tone(), Patch().create("osc2", "simple_sine").set("osc2", "freq", 660.0)
    expected = mono(first).astype(float) * 0.5 + mono(second).astype(float) * 2.0 - 0.25
    np.testing.assert_allclose(mono(both), expected, atol=2e-7)


def test_a_cable_that_is_there_takes_another_depth_and_keeps_its_place() -> None:
    patch = tone().create("osc2", "simple_sine").create("g", "gain").connect("osc1", "g").connect("osc2", "g")
    patch.connect("osc1", "g", 0.5)
    assert [(c.source, c.depth) for c in patch.cables] == [("osc1", 0.5), ("osc2", 1.0)]
    with pytest.raises(PatchError, match="there already"):
        patch.connect("osc1", "g", 0.5)
    patch.disconnect("osc1", "g")
    assert [c.source for c in patch.cables] == ["osc2"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e7, "much", None, True])
def test_a_depth_that_is_no_number_is_refused(number: object) -> None:
    with pytest.raises(PatchError, match=r"depth=.* of a cable is not a number within"):
        tone().create("g", "gain").connect("osc1", "g", number)


def test_depth_offset_and_feedback_are_in_the_json_and_come_back() -> None:
    patch = tone().create("g", "gain").connect("osc1", "g", 0.5, 0.25).connect("g", "osc1.freq", 40.0, feedback=True)
    rows = patch.to_dict()["cables"]
    assert rows == [
        {"from": "osc1", "to": "g", "depth": 0.5, "offset": 0.25},
        {"from": "g", "to": "osc1.freq", "depth": 40.0, "feedback": True},
    ]
    again = Patch.from_json(patch.to_json())
    assert again == patch and mono(again).tobytes() == mono(patch).tobytes()
    assert patch != Patch.from_json(patch.to_json().replace("40.0", "41.0"))


@pytest.mark.parametrize("block_frames", [1, 37, 64, 500])
def test_blocks_change_no_bit_of_scaled_cables_and_feedback(block_frames: int) -> None:
    patch = tone().create("g", "gain").create("osc2", "simple_sine")
    patch.connect("osc1", "g", 0.7, 0.01).connect("g", "osc2.freq", 300.0, 100.0)
    patch.connect("osc2", "g", 0.4, feedback=True).connect("osc2", "osc1.freq", 55.0, feedback=True)
    assert mono(patch, 3000, block_frames).tobytes() == mono(patch, 3000, 3000).tobytes()


# ---- feedback


def test_feedback_is_heard_64_frames_later_and_again() -> None:
    """A step through a loop of gain 1/2: it rises by half of what it rose by before, every 64 frames."""
    patch = Patch().create("zero", "simple_sine").set("zero", "freq", 0.0).create("g", "gain")
    patch.connect("zero", "g", 1.0, 1.0).connect("g", "g", 0.5, feedback=True)
    steps = mono(patch, 6 * DELAY)
    np.testing.assert_array_equal(steps, np.repeat([2 - 0.5**n for n in range(6)], DELAY).astype(np.float32))


def test_a_module_that_feeds_back_only_is_still_heard() -> None:
    patch = tone().connect("osc1", "osc1.freq", 100.0, feedback=True)
    assert np.abs(mono(patch)).max() > 0.2


def test_a_cycle_needs_feedback_and_the_refusal_says_so() -> None:
    patch = tone().create("g", "gain").connect("osc1", "g").connect("g", "osc1.freq", 10.0)
    with pytest.raises(PatchError, match="make it a feedback cable"):
        patch.validate()
    patch.connect("g", "osc1.freq", 10.0, feedback=True).validate()
    with pytest.raises(PatchError, match="make it a feedback cable"):
        tone().connect("osc1", "osc1.freq")


def test_a_loop_that_grows_stays_finite() -> None:
    patch = tone().create("g", "gain").connect("osc1", "g").connect("g", "g", 100.0, feedback=True)
    x = mono(patch, 48_000)
    assert np.all(np.isfinite(x)) and np.abs(x).max() <= 1.1e8


# ---- left and right


def stereo(position: float) -> Patch:
    return tone().create("pan1", "pan").set("pan1", "position", position).connect("osc1", "pan1")


def test_ports_named_left_and_right_are_heard_there_alone() -> None:
    sound = render(stereo(-1.0), frames=4800, channels=2)
    assert np.abs(sound[:, 0]).max() > 0.2 and np.abs(sound[:, 1]).max() < 1e-6
    sound = render(stereo(1.0), frames=4800, channels=2)
    assert np.abs(sound[:, 1]).max() > 0.2 and np.abs(sound[:, 0]).max() < 1e-6


def test_a_stereo_patch_renders_two_channels_by_itself_and_mono_adds_them_up() -> None:
    sides = render(stereo(0.3), frames=4800)
    assert sides.shape == (4800, 2)
    np.testing.assert_allclose(mono(stereo(0.3)), sides.sum(axis=1), atol=1e-7)
    assert render(tone(), frames=64).shape == (64, 1)


def test_what_has_one_output_is_heard_on_both_sides_beside_what_has_two() -> None:
    patch = stereo(-1.0).create("osc2", "simple_sine").set("osc2", "freq", 660.0)
    alone = mono(Patch().create("osc2", "simple_sine").set("osc2", "freq", 660.0))
    sound = render(patch, frames=4800, channels=2)
    np.testing.assert_allclose(sound[:, 1], alone, atol=1e-6)
    left = render(stereo(-1.0), frames=4800, channels=2)[:, 0]
    np.testing.assert_allclose(sound[:, 0], alone + left, atol=1e-6)


def test_one_name_means_both_sides() -> None:
    patch = stereo(0.0).create("pan2", "pan").connect("pan1", "pan2")
    assert [patch.cable_text(c) for c in patch.cables][1:] == [("pan1.left", "pan2"), ("pan1.right", "pan2")]
    assert Patch.from_json(patch.to_json()) == patch
    patch.disconnect("pan1", "pan2")
    assert patch.n_cables == 1


def test_banks_beside_stereo_modules_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyengine import _native

    patch = stereo(0.5)
    for i in range(20):
        patch.create(f"v{i}", "simple_sine").set(f"v{i}", "freq", 100.0 + 7 * i).set(f"v{i}", "gain", 0.02)
    banked = render(patch, frames=1000, channels=2)
    monkeypatch.setenv("PYENGINE_BANKS", "0")
    _native._registry.cache_clear()
    single = render(patch, frames=1000, channels=2)
    monkeypatch.undo()
    _native._registry.cache_clear()
    assert banked.tobytes() == single.tobytes()


# ---- live


def test_a_kill_and_a_commit_change_no_bit_of_a_loop_of_two_feedbacks(tmp_path: Path) -> None:
    """Frequencies that modulate each other through feedback: chaotic, so that one wrong bit would be heard soon."""
    with Live(tmp_path) as live:
        for source, dest in itertools.pairwise(["osc1", "osc2", "osc1"]):
            if source == "osc1":
                live.client.create("osc1", "simple_sine")
                live.client.create("osc2", "simple_sine")
                live.client.create("pan1", "pan")
            live.client.connect(source, f"{dest}.freq", 3000.0, 100.0, feedback=True)
        live.client.connect("osc1", "pan1")
        live.client.set("pan1", "position", -0.5)
        start = live.commit(crossfade_ms=0)["frame"]
        live.advance(9600)
        live.await_redundancy()  # a patch that has no second worker yet falls back to the one before
        live.kill(live.status()["active_slot"])
        live.advance(9600)
        live.client.create("filt1", "biquad_filter")  # silent: it has no input
        live.commit(crossfade_ms=0)
        live.advance(9600)
        patch = Patch.from_json(live.client.dump()["committed"])
        heard = live.samples()[start:]
    expected = render(patch, frames=len(heard), channels=2)
    assert len(heard) > 28_000 and np.any(heard[:, 0] != heard[:, 1])
    assert heard.tobytes() == expected.tobytes()


def test_of_a_module_with_several_outputs_the_first_is_heard_as_its_name_alone_means() -> None:
    plain = tone().create("svf1", "svf").connect("osc1", "svf1")
    named = tone().create("svf1", "svf").connect("osc1", "svf1").create("g", "gain").connect("svf1.low", "g")
    np.testing.assert_array_equal(mono(plain), mono(named))

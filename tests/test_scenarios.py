"""The four scenarios of the user's plan, over UDP on the free-running clock, measured in the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from live import (
    Live,
    assert_same,
    chain,
    frequency_hz,
    rms,
    second_difference,
    smallest_peak,
    stereo,
    tone,
)

from pyengine import PatchError, render

FADE = 240  # 5 ms
AROUND = 480  # 10 ms before a swap and 10 ms after it
STEADY = 2400  # 50 ms
PERIOD = 110  # of 440 Hz, rounded up: no window of it is silent
IN_STEP_HZ = 750.0  # its period is one block of 64 frames: it starts each block at phase 0


def create_chain(live: Live, n: int) -> None:
    live.client.create("osc1", "simple_sine")
    for source, dest, type in [("osc1", "env1", "adsr"), ("env1", "filt1", "biquad_filter")][: n - 1]:
        live.client.create(dest, type)
        live.client.connect(source, dest)


def assert_smooth(x: np.ndarray, frame: int, *steady: np.ndarray) -> None:
    """The largest second difference of the 20 ms around a swap is at most 1.1 x that of what is heard beside it."""
    own = max(second_difference(part) for part in steady)
    assert second_difference(x[max(0, frame - AROUND) : frame + AROUND]) <= 1.1 * own


@pytest.mark.parametrize("n_modules", [1, 2, 3])
def test_a_patch_of_osc_env_filter_is_heard_from_its_first_commit_on(tmp_path: Path, n_modules: int) -> None:
    with Live(tmp_path) as live:
        create_chain(live, n_modules)
        frame = live.commit()["frame"]
        live.advance(24000)
        x = live.samples()[:, 0]
    offline = render(chain(n_modules), frames=len(x) - frame)[:, 0]
    assert not x[:frame].any()
    assert frequency_hz(x[frame + 1000 :]) == pytest.approx(440, abs=0.01)
    assert smallest_peak(x[frame + FADE // 2 :], PERIOD) > 0.005
    assert rms(x[-STEADY:]) == pytest.approx(rms(offline[-STEADY:]), rel=1e-6)
    assert_smooth(x, frame, offline[:AROUND])  # an attack begins at once: it is the patch's own
    assert_same(x[frame + FADE :], offline[FADE:])  # the fade from silence changes nothing after it


def test_an_envelope_is_heard_from_its_first_frame_on(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        create_chain(live, 2)
        frame = live.commit(crossfade_ms=0)["frame"]
        live.advance(9600)
        x = live.samples()
    assert_same(x[frame:], stereo(chain(2), len(x) - frame))
    levels = [float(np.abs(x[frame + at : frame + at + PERIOD]).max()) for at in (0, 200, 430, 5000)]
    assert levels[0] < levels[1] < levels[2]  # attack: 10 ms
    assert levels[2] > levels[3]  # decay, then sustain 0.7
    assert levels[3] == pytest.approx(0.2 * 0.7, rel=0.01)


def test_a_chain_that_grows_in_three_commits_never_falls_silent_and_keeps_its_phase(tmp_path: Path) -> None:
    frames = []
    with Live(tmp_path) as live:
        for n, (id, type) in enumerate([("osc1", "simple_sine"), ("env1", "adsr"), ("filt1", "biquad_filter")]):
            live.client.create(id, type)
            if n:
                live.client.connect(["osc1", "env1"][n - 1], id)
            report = live.commit()
            frames.append(report["frame"])
            assert report["carried"] == ["osc1", "env1"][:n]
            assert report["late_blocks"] == 0
            live.advance(14400)
        x = live.samples()[:, 0]
        counters = live.counters()
    one, two, three = frames
    tone_alone = render(tone(), frames=len(x) - one)[:, 0]
    assert smallest_peak(x[one + FADE // 2 :], PERIOD) > 0.02
    assert_smooth(x, one, x[one + STEADY : two])
    for frame in frames[1:]:
        assert_smooth(x, frame, x[frame - AROUND - STEADY : frame - AROUND], x[frame + 4 * STEADY :][:STEADY])
    # osc1's phase: bit for bit that of a render never interrupted, by an envelope too
    assert_same(x[one + FADE : two], tone_alone[FADE : two - one])
    at_sustain = slice(two + 7200, three)
    assert np.allclose(x[at_sustain], 0.7 * tone_alone[at_sustain.start - one : three - one], atol=1e-6)
    assert frequency_hz(x[three + 4800 :]) == pytest.approx(440, abs=0.01)
    levels = [rms(x[end - STEADY : end]) for end in (two, three, len(x))]
    assert levels[0] == pytest.approx(0.2 / np.sqrt(2), rel=0.01)
    assert levels[1] == pytest.approx(0.7 * levels[0], rel=0.01)
    assert levels[2] == pytest.approx(levels[1], rel=0.1)  # lowpass at 2 kHz
    assert counters["frames_underrun"] == 0
    assert counters["frames_requested"] == counters["frames_delivered"]


def test_a_swap_is_a_crossfade_of_the_old_tone_going_on_and_the_new_one_from_its_first_frame(
    tmp_path: Path,
) -> None:
    with Live(tmp_path) as live:
        live.client.create("osc1", "simple_sine")
        live.client.set("osc1", "freq", IN_STEP_HZ)
        live.commit(crossfade_ms=0)
        live.advance(4800)
        live.client.create("env1", "adsr")
        live.client.connect("osc1", "env1")
        frame = live.commit()["frame"]
        live.advance(4800)
        x = live.samples()[frame:]
    old = stereo(tone(IN_STEP_HZ), len(x))
    new = stereo(chain(2, freq=IN_STEP_HZ), len(x))
    assert_same(x[FADE:], new[FADE:])
    t = ((np.arange(FADE) + 1) / FADE)[:, None]
    weight = t * t * (3 - 2 * t)
    assert np.allclose(x[:FADE], old[:FADE] + weight * (new[:FADE] - old[:FADE]), atol=1e-6)


def test_parameters_set_before_the_commit_are_respected(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        create_chain(live, 3)
        for id, param, value in [
            ("osc1", "frequency", 660.0),
            ("osc1", "gain", 0.5),
            ("env1", "attack", 2.0),
            ("env1", "sustain", 0.9),
            ("filt1", "filter_mode", "highpass"),
            ("filt1", "resonance", 0.7),
        ]:
            live.client.set(id, param, value)
        frame = live.commit(crossfade_ms=0)["frame"]
        live.advance(9600)
        x = live.samples()[frame:]
    patch = chain(3, freq=660.0, gain=0.5).set("env1", "attack", 2.0).set("env1", "sustain", 0.9)
    patch.set("filt1", "mode", "highpass").set("filt1", "q", 0.7)
    assert_same(x, stereo(patch, len(x)))
    assert frequency_hz(x[4800:, 0]) == pytest.approx(660, abs=0.01)


def test_a_gate_closed_before_the_commit_stays_closed_until_it_is_opened(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        create_chain(live, 2)
        live.client.gate("env1", "off")
        frame = live.commit()["frame"]  # warm-up forces gates open: it is not refused as silent
        live.advance(4800)
        live.client.gate("env1", "on")
        live.advance(4800)
        x = live.samples()[frame:]
    assert not x[:4800].any()
    assert rms(x[-STEADY:]) == pytest.approx(0.2 * 0.7 / np.sqrt(2), rel=0.02)


def test_commands_right_behind_a_commit_reach_new_carried_and_deleted_modules(tmp_path: Path) -> None:
    """All of them leave in one go: the commit is priming while its followers arrive."""
    from pyengine import commands as c

    with Live(tmp_path) as live:
        for id in ("osc1", "osc2"):
            live.client.create(id, "simple_sine")
        live.commit()
        live.advance(4800)
        live.client.delete("osc2")
        live.client.create("osc3", "simple_sine")
        live.client.create("env1", "adsr")
        live.client.connect("osc3", "env1")
        deleted = c.SetParam("osc2", "gain", 0.4)  # plays until the swap
        futures = live.engine.submit_bundle([c.Commit(crossfade_ms=0), deleted])
        for command in (
            c.SetParam("osc1", "freq", IN_STEP_HZ),  # carried
            c.SetParam("osc1", "gain", 0.0),
            c.SetParam("osc3", "freq", 660.0),  # new
            c.Gate("env1", 0),
        ):
            futures += live.engine.submit_bundle([command])
        report = futures[0].result(10)
        for future in futures[1:]:
            future.result(10)
        live.client.gate("env1", 1)
        live.client.sync()
        live.advance(9600)
        dump = live.client.dump()
        with pytest.raises(PatchError, match="osc2"):
            live.client.set("osc2", "gain", 0.1)
        x = live.samples()[:, 0]
        assert live.status()["commands_lost"] == 0
    nodes = {node["id"]: node["params"] for node in dump["committed"]["nodes"]}
    assert nodes == {"osc1": {"freq": 750, "gain": 0}, "osc3": {"freq": 660}, "env1": {"gate": 1}}
    assert report["gone"] == ["osc2"] and report["carried"] == ["osc1"]
    assert frequency_hz(x[-4800:]) == pytest.approx(660, abs=0.01)  # osc3 alone
    assert rms(x[-STEADY:]) == pytest.approx(0.2 * 0.7 / np.sqrt(2), rel=0.02)


def test_a_commit_of_an_unchanged_patch_changes_no_bit(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        create_chain(live, 3)
        frame = live.commit(crossfade_ms=0)["frame"]
        for n in range(20):
            live.advance(64 * n + 13)
            live.commit(crossfade_ms=20)
        for _ in range(20):  # one right behind the other: the standby has only just joined
            live.commit()
        live.advance(960)
        counters = live.counters()
        x = live.samples()[frame:]
    assert_same(x, stereo(chain(3), len(x)))
    assert counters["swaps"] == 41
    assert counters["declicks"] == 0

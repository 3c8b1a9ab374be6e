"""Samples from the file to the sound: what is refused and why, held once, in every process, through every death."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from live import Live

from pyengine import Patch, render, replay, samples
from pyengine.channel import Channel
from pyengine.commands import Gate
from pyengine.errors import EngineError, PatchError, SessionError
from pyengine.plan import Blueprint

RATE = 48000


def sweep(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 + 300 * t) * t)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "sweep.wav", sweep(), RATE, subtype="FLOAT")
    return tmp_path


def sampler(file: str = "sweep.wav", **values: float) -> Patch:
    patch = Patch().create("s", "sampler").give("s", {"file": file})
    for name, value in values.items():
        patch.set("s", name, value)
    return patch


# ---- files ------------------------------------------------------------------------------------------------


def test_a_sample_is_played_offline_to_the_bit(folder: Path) -> None:
    out = render(sampler(gate=1), frames=40000, samples=folder)
    assert out.shape == (40000, 2)
    np.testing.assert_array_equal(out[:, 0], sweep()[:40000])


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_24")])
def test_other_formats_are_read(folder: Path, format: str, subtype: str) -> None:
    name = f"other.{format.lower()}"
    soundfile.write(folder / name, sweep(), RATE, format=format, subtype=subtype)
    out = render(sampler(name, gate=1), frames=40000, samples=folder)
    np.testing.assert_allclose(out[:, 0], sweep()[:40000], atol=1e-4)


def test_another_rate_is_resampled_on_loading(folder: Path) -> None:
    soundfile.write(folder / "cd.wav", sweep(1.0, 44100), 44100, subtype="FLOAT")
    out = render(sampler("cd.wav", gate=1), frames=40000, samples=folder)
    np.testing.assert_allclose(out[200:, 0], sweep()[200:40000], atol=1e-4)  # soxr, VHQ


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.wav", "is not in the samples folder"),
        ("swep.wav", "did you mean 'sweep.wav'"),
        ("../sweep.wav", "leads out of the samples folder"),
        ("/etc/passwd", "leads out of the samples folder"),
        ("link.wav", "leads out of the samples folder through a link"),
        ("text.wav", "is not audio"),
        ("empty.wav", "is empty"),
        ("six.wav", "has 6 channels"),
        ("nan.wav", "NaN or infinite"),
        ("sub", "is not in the samples folder"),
    ],
)
def test_what_is_no_sample_is_refused_with_the_reason(folder: Path, name: str, words: str) -> None:
    (folder / "link.wav").symlink_to("/etc/passwd")
    (folder / "text.wav").write_text("no sound at all")
    (folder / "sub").mkdir()
    soundfile.write(folder / "empty.wav", np.zeros((0, 1)), RATE)
    soundfile.write(folder / "six.wav", np.zeros((10, 6)), RATE)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan]), RATE, subtype="FLOAT")
    with pytest.raises(PatchError, match="node 's': ") as caught:
        render(sampler(name), frames=10, samples=folder)
    assert words in str(caught.value)


def test_a_huge_sample_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_SAMPLE_BYTES", 100_000)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(PatchError, match="more than the 0 MB allowed"):
        render(sampler(), frames=10, samples=folder)


@pytest.mark.parametrize(
    "data", [{}, {"file": ""}, {"file": 3}, {"file": "a", "sha256": "x"}, {"name": "a.wav"}, {"file": "a\n"}]
)
def test_data_that_are_no_sample_are_refused(data: dict[str, Any]) -> None:
    patch = Patch().create("s", "sampler")
    if not data:
        data = {"file": None}
    with pytest.raises(PatchError, match="node 's'"):
        patch.give("s", data)


def test_a_hash_in_the_patch_must_be_that_of_the_file(folder: Path) -> None:
    sha256 = hashlib.sha256((folder / "sweep.wav").read_bytes()).hexdigest()
    right, wrong = (
        Patch().create("s", "sampler").give("s", {"file": "sweep.wav", "sha256": h}) for h in (sha256, "0" * 64)
    )
    assert render(right, frames=10, samples=folder).shape == (10, 2)
    with pytest.raises(PatchError, match="is not the file that the patch was made with"):
        render(wrong, frames=10, samples=folder)


def test_a_patch_file_names_the_sample(folder: Path) -> None:
    patch = Patch.from_json({"version": 1, "nodes": [{"id": "s", "type": "sampler", "sample": "sweep.wav"}]})
    assert patch.node("s").data == {"file": "sweep.wav"}
    assert Patch.from_json(patch.to_json()) == patch


def test_a_hundred_nodes_hold_one_sample(folder: Path) -> None:
    patch = Patch()
    for i in range(100):
        patch.create(f"s{i}", "sampler").give(f"s{i}", {"file": "sweep.wav"})
    with samples.Samples(folder, RATE) as held:
        held.resolve(patch)
        assert len(held) == 1
        blueprint = Blueprint.of(patch)
        assert len(blueprint.data) == 1 and len(blueprint.data[0]) < 100
        assert len(held.data(patch)) == 1


def test_every_voice_plays_the_sample(folder: Path) -> None:
    patch = Patch().create("v", "voices").give("v", {"voices": 3})
    patch.create("v.s", "sampler").give("v.s", {"file": "sweep.wav"}).connect("v.gate", "v.s.gate")
    with samples.Samples(folder, RATE) as held:
        held.resolve(patch)
        assert len(Blueprint.of(patch).data) == 2  # of the voices, and the sample once
        blueprint = Blueprint.of(patch)
        given = [blueprint.nodes[i + 8 : i + 12] for i in range(0, len(blueprint.nodes), 12)]
        assert sum(int.from_bytes(g, "little") > 0 for g in given) == 4


# ---- descriptors through a channel -------------------------------------------------------------------------


def test_descriptors_arrive_with_their_messages_in_order() -> None:
    import socket

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    here, there = Channel(ours), Channel(theirs)
    files = [os.memfd_create(f"t{i}") for i in range(20)]
    received: list[dict[str, Any]] = []
    for i, fd in enumerate(files):
        os.write(fd, str(i).encode())
        here.send([{"type": "filler", "bytes": bytes(40000)}])  # the socket is full by and by
        here.hand({"type": "sample", "number": i}, fd)
        os.close(fd)
    while len(received) < 40:
        here.flush()
        received += there.receive() or []
    handed = [m for m in received if m["type"] == "sample"]
    assert [m["number"] for m in handed] == list(range(20))
    for m in handed:
        assert os.pread(m["descriptor"], 10, 0) == str(m["number"]).encode()
        os.close(m["descriptor"])
    here.close()
    there.close()


# ---- live ---------------------------------------------------------------------------------------------------


def live(folder: Path, **options: Any) -> Live:
    return Live(folder, samples=folder, **options)


def active(engine: Live) -> int:
    return [slot["state"] for slot in engine.status()["slots"]].index("active")


def play(engine: Live, file: str = "sweep.wav") -> dict[str, Any]:
    engine.client.create("s", "sampler")
    facts = engine.client.sample("s", file)
    engine.commit()
    return facts


def test_a_worker_is_killed_in_the_middle_of_a_sample_and_no_bit_differs(folder: Path) -> None:
    with live(folder) as engine:
        facts = play(engine)
        assert facts["frames"] == RATE and facts["channels"] == 1 and facts["file_rate"] == RATE
        engine.await_redundancy()
        start = engine.engine.status()["frames"] + 4800
        engine.send_at(start, Gate("s", 1))
        engine.advance(15000)
        engine.kill(active(engine))
        engine.advance(9000)
        engine.await_redundancy()  # a joiner was given the sample too
        engine.kill(active(engine))
        engine.advance(40000)
        sound = engine.samples()
    expected = sweep()[: RATE - 96]
    np.testing.assert_array_equal(sound[start : start + len(expected), 0], expected)
    np.testing.assert_array_equal(sound[start : start + len(expected), 1], expected)


def test_a_commit_in_the_middle_of_a_sample_carries_it_to_the_bit(folder: Path) -> None:
    with live(folder, crossfade_ms=0) as engine:
        play(engine)
        engine.await_redundancy()
        start = int(engine.engine.status()["frames"]) + 4800
        engine.send_at(start, Gate("s", 1))
        engine.advance(12000)
        engine.client.create("idle", "gain")  # nothing comes into it: it adds +0
        engine.commit()
        engine.advance(30000)
        sound = engine.samples()
    np.testing.assert_array_equal(sound[start : start + 36000, 0], sweep()[:36000])


@pytest.mark.parametrize("name", ["absent.wav", "text.wav", "../x.wav"])
def test_a_bad_sample_is_refused_over_osc_and_the_sound_goes_on(folder: Path, name: str) -> None:
    (folder / "text.wav").write_text("no sound")
    with live(folder) as engine:
        play(engine)
        engine.client.gate("s", 1)
        engine.advance(4800)
        with pytest.raises(EngineError, match="sample"):
            engine.client.sample("s", name)
        assert engine.client.dump()["pending"]["nodes"][0]["data"]["file"] == "sweep.wav"
        engine.advance(4800)
        assert np.abs(engine.samples()[-4000:]).max() > 0.1


def test_a_sample_that_is_gone_at_the_commit_refuses_it(folder: Path) -> None:
    with live(folder) as engine:
        engine.client.create("s", "sampler")
        engine.client.sample("s", "sweep.wav")
        (folder / "sweep.wav").unlink()
        with pytest.raises(EngineError, match="is not in the samples folder"):
            engine.commit()


def test_a_session_with_a_sample_replays_to_the_bit_and_refuses_another_file(folder: Path) -> None:
    with live(folder, session=folder / "s.session") as engine:
        play(engine)
        engine.client.gate("s", 1)
        engine.advance(30000)
        sound = engine.samples()
    again, _ = replay(folder / "s.session", samples=folder)
    assert np.any(sound[-20000:]) and len(again) >= len(sound)
    np.testing.assert_array_equal(again[: len(sound)], sound)
    soundfile.write(folder / "sweep.wav", sweep()[::-1], RATE, subtype="FLOAT")
    with pytest.raises(SessionError, match="is not the file"):
        replay(folder / "s.session", samples=folder)
    (folder / "sweep.wav").unlink()
    with pytest.raises(SessionError, match="is not in the samples folder"):
        replay(folder / "s.session", samples=folder)

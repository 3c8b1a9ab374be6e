"""The pieces under examples/pieces: each plays, is whole, and has its onsets where its patterns say."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_seq import edges, passes, rounded

from pyengine import Patch, render
from pyengine.patch_file import load_patch
from pyengine.sequence import parse_division, parse_pattern

ROOT = Path(__file__).resolve().parents[1]
PIECES = sorted((ROOT / "examples" / "pieces").glob("*.toml"))
RATE_HZ = 48000
SECONDS = 12

every_piece = pytest.mark.parametrize("path", PIECES, ids=lambda path: path.stem)


def test_there_are_two_pieces() -> None:
    assert len(PIECES) >= 2


@every_piece
def test_a_piece_is_heard_whole_and_not_clipped(path: Path) -> None:
    x = render(load_patch(path), seconds=SECONDS, channels=2)
    assert np.isfinite(x).all()
    assert 0.1 < np.abs(x).max() < 1.0
    for at in range(0, SECONDS - 1):  # no second of it is silent
        assert np.sqrt(np.mean(x[at * RATE_HZ : (at + 1) * RATE_HZ] ** 2)) > 0.003
    assert abs(x.mean()) < 0.01


def alone(piece: Patch, track: str) -> Patch:
    """Return the track on a gate that is heard as it is, with the clock and whatever mutes it."""
    patch = piece.copy().clear()
    for id, node in piece.nodes.items():
        if piece.spec(id).events and not piece.spec(id).is_voices:
            patch.create(id, node.type).keep_values(id, node.params)
    patch.create("gate", "adsr")
    for name, value in {"attack": 0, "decay": 0, "sustain": 1, "release": 0}.items():
        patch.set("gate", name, value)
    data = piece.nodes[track].data
    patch.give(track, {key: data[key] for key in ("pattern", "division") if key in data} | {"targets": ["gate"]})
    for id, node in piece.nodes.items():
        lanes = {name: text for name, text in node.data.get("lanes", {}).items() if name.startswith(f"{track}.")}
        if lanes:
            patch.give(id, {"pattern": "x", "division": node.data.get("division", 4), "lanes": lanes})
    return patch


def wanted_onsets(piece: Patch, track: str, n_frames: int) -> list[int]:
    """Return where the hits of a track lie, by fractions, from the text of the piece alone."""
    clock, node = piece.nodes["clock1"].params, piece.nodes[track]
    steps = parse_pattern(node.data["pattern"])
    num, den = parse_division(node.data.get("division", 4))
    swing = Fraction(rounded(Fraction(clock.get("swing", 0.0)) * 2**32), 2**32) if num >= 2 * den else Fraction(0)
    bars = next(
        (
            n.data["lanes"][f"{track}.mute"].split()
            for n in piece.nodes.values()
            if f"{track}.mute" in n.data.get("lanes", {})
        ),
        ["off"],
    )
    beat_frames = Fraction(60 * RATE_HZ) / Fraction(clock["bpm"])
    seed, probability = int(node.params.get("seed", 0)), node.params.get("probability", 1.0)
    found, k = [], 0
    while True:
        beat = (k + (swing if k % 2 else 0)) * den / num
        frame = rounded(beat * beat_frames)
        if frame >= n_frames:
            return found
        is_muted = bars[int(beat // 4) % len(bars)] == "on"
        if steps[k % len(steps)].is_hit and not is_muted and passes(seed, k, probability):
            found.append(frame)
        k += 1


@every_piece
def test_every_track_of_a_piece_has_its_onsets_where_its_pattern_says(path: Path) -> None:
    piece = load_patch(path)
    tracks = [id for id, node in piece.nodes.items() if node.data.get("targets")]
    assert len(tracks) >= 5
    n_frames = SECONDS * 3 * RATE_HZ
    for track in tracks:
        x = render(alone(piece, track).set(track, "length", 0.1), frames=n_frames)[:, 0]
        wanted = wanted_onsets(piece, track, n_frames)
        assert edges(x) == wanted, track
        assert len(wanted) >= 4, track


def test_a_piece_is_played_by_an_engine(tmp_path: Path) -> None:
    script, piece = ROOT / "examples" / "play_piece.py", PIECES[0]
    done = subprocess.run([sys.executable, str(script), str(piece), "3"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    x, rate = soundfile.read(tmp_path / f"{piece.stem}.wav")
    assert rate == RATE_HZ
    assert len(x) > 2 * RATE_HZ
    assert np.abs(x[RATE_HZ:]).max() > 0.05

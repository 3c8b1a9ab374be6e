"""pyengine listen FILE, and its picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from matplotlib import image
from sounds import RATE_HZ, at_places, kick, sine

from pyengine import cli
from pyengine.ears import describe
from pyengine.ears.picture import draw, spectrogram
from pyengine.ears.sound import as_sound
from pyengine.errors import EngineError


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Two seconds: 440 Hz on the left, 880 Hz on the right from 1 s on."""
    x = np.stack([sine(440, 2.0), np.concatenate([np.zeros(RATE_HZ), sine(880, 1.0)])], 1)
    path = tmp_path / "tone.wav"
    soundfile.write(path, x, RATE_HZ, subtype="FLOAT")
    return path


def listen(capsys: Any, *words: object) -> tuple[int, str, str]:
    code = cli.main(["listen", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_file_is_described_in_words_and_figures(tone: Path, capsys: Any) -> None:
    code, out, err = listen(capsys, tone)
    assert (code, err) == (cli.EXIT_OK, "")
    assert out.startswith("2 s, stereo, 48000 Hz.")
    assert "clicks    none" in out
    assert "pitch     440 Hz, A4" in out


def test_with_json_it_is_one_object_and_nothing_else(tone: Path, capsys: Any) -> None:
    code, out, _ = listen(capsys, tone, "--json")
    assert code == cli.EXIT_OK
    found = json.loads(out)
    assert found["pitch"]["note"] == "A4"
    samples, rate_hz = soundfile.read(tone, dtype="float32", always_2d=True)
    assert found == json.loads(describe(samples, rate_hz).as_json())


def test_a_part_of_a_file_was_there_before_where_it_begins(tone: Path, capsys: Any) -> None:
    found = json.loads(listen(capsys, tone, "--from", 0.25, "--to", 0.75, "--json")[1])
    assert found["frames"] == RATE_HZ // 2
    assert found["onsets"]["n"] == 0
    assert found["stereo"]["only"] == "left"


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("nothing.wav",), "there is no such file", cli.EXIT_ENGINE),
        (("{folder}",), "it is a folder", cli.EXIT_ENGINE),
        (("{text}",), "no sound file", cli.EXIT_ENGINE),
        (("{tone}", "--from", "2.5"), "the file has 2 s", cli.EXIT_USAGE),
        (("{tone}", "--from", "-1"), "give seconds, 0..2", cli.EXIT_USAGE),
        (("{tone}", "--to", "nan"), "give seconds, 0..2", cli.EXIT_USAGE),
        (("{tone}", "--from", "1", "--to", "0.5"), "there is nothing", cli.EXIT_USAGE),
        (("{tone}", "--picture", "{tone}"), "File exists", cli.EXIT_ENGINE),
        (("{tone}", "--picture", "{folder}/no/a.png"), "No such file", cli.EXIT_ENGINE),
        (("{tone}", "--seconds", "2"), "of a FILE give --from", cli.EXIT_USAGE),
        (("--from", "2"), "give --seconds", cli.EXIT_USAGE),
        (("{huge}",), "choose at most 350 s", cli.EXIT_USAGE),
    ],
)
def test_what_cannot_be_listened_to_says_why(
    words: tuple[str, ...], text: str, code: int, tone: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "a.txt").write_text("no sound")
    huge = tmp_path / "huge.flac"
    if "{huge}" in words:
        with soundfile.SoundFile(huge, "w", RATE_HZ, 2) as file:
            for _ in range(18):
                file.write(np.zeros((1_000_000, 2), np.float32))
    places = {"tone": tone, "folder": tmp_path, "text": tmp_path / "a.txt", "huge": huge}
    found, out, err = listen(capsys, *(word.format(**places) for word in words))
    assert (found, out) == (code, "")
    assert text in err


def test_an_empty_file_and_one_frame_are_described(tmp_path: Path, capsys: Any) -> None:
    for n_frames, text in ((0, "no frame"), (1, "mono")):
        path = tmp_path / f"{n_frames}.wav"
        soundfile.write(path, np.full(n_frames, 0.1), RATE_HZ)
        code, out, _ = listen(capsys, path, "--picture", tmp_path / f"{n_frames}.png")
        assert code == cli.EXIT_OK
        assert text in out


# ---- the picture -----------------------------------------------------------------------------------------------


def test_the_picture_is_a_png_with_a_wave_a_spectrum_and_marks(tmp_path: Path, capsys: Any) -> None:
    x = at_places(kick(), [24_000 * k for k in range(6)], 3 * RATE_HZ) + sine(1000, 3.0, 0.1)
    x[50_000] += 0.5
    soundfile.write(tmp_path / "a.wav", x, RATE_HZ, subtype="FLOAT")
    code, out, _ = listen(capsys, tmp_path / "a.wav", "--picture", tmp_path / "a.png", "--json")
    assert code == cli.EXIT_OK
    assert json.loads(out)["picture_path"] == str(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n")
    pixels = image.imread(tmp_path / "a.png")[:, :, :3]
    assert pixels.shape == (900, 1300, 3)
    wave = pixels[20:250, 80:1150]
    red, green, blue = wave[:, :, 0], wave[:, :, 1], wave[:, :, 2]
    green_columns = np.flatnonzero(((green > red + 0.15) & (green > blue + 0.1)).mean(axis=0) > 0.3)
    assert len(np.flatnonzero(np.diff(green_columns) > 20)) == 4  # five of six onsets: one lies on the axis
    assert ((red > green + 0.4) & (red > blue + 0.4)).mean(axis=0).max() > 0.3  # the click
    assert pixels[260:660, 80:1150].std() > 0.1  # the spectrogram


@pytest.mark.parametrize("hz", [60.0, 440.0, 5000.0])
def test_a_tone_is_one_line_of_the_spectrogram_at_its_height(hz: float) -> None:
    level, top_hz = spectrogram(as_sound(sine(hz, 1.0), RATE_HZ))
    rows = level[len(level) // 2]
    highest = int(np.argmax(rows))
    assert 30 * (top_hz / 30) ** ((highest + 0.5) / len(rows)) == pytest.approx(hz, rel=0.06)
    assert rows.max() > -3
    assert np.count_nonzero(rows > -20) < 40


@pytest.mark.parametrize("n_channels", [1, 2, 5, 8])
@pytest.mark.parametrize("rate_hz", [8000, 192000])
def test_every_sound_can_be_drawn(n_channels: int, rate_hz: int, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((4000, n_channels)).astype(np.float32)
    draw(x, rate_hz, describe(x, rate_hz), tmp_path / "a.png")
    with pytest.raises(EngineError, match="File exists"):
        draw(x, rate_hz, describe(x, rate_hz), tmp_path / "a.png")


def test_without_matplotlib_the_picture_says_what_to_install(
    tone: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    code, _, err = listen(capsys, tone, "--picture", tmp_path / "a.png")
    assert code == cli.EXIT_ENGINE
    assert "pip install 'pyengine[plot]'" in err
    assert not (tmp_path / "a.png").exists()

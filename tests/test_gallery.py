"""The patches of examples/patches sound as their first lines say, and take what these say to send."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from shell import pyengine

from pyengine import Engine, load_patch
from pyengine.cli import main
from pyengine.drawing import as_graph, as_list
from pyengine.ears import Description, describe
from pyengine.patch_file import FORMATS, patch_of, text_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "patches"
FILES = sorted(FOLDER.glob("*.toml"))
EXAMPLES = sorted(FOLDER.parent.rglob("*.toml"))
# What is heard of each: a pitch, or a partial that stands out, in Hz; None where there is none that stays.
PITCHES_HZ = {
    "bass": 55.0,
    "bells": 440.0,
    "drone": 55.0,
    "dub": 196.0,
    "fm": 440.0,
    "groove": None,
    "marbles": 659.26,
    "pad": 261.63,
    "pumping": 659.26,
    "robot": None,
    "strings": 440.0,
    "sync": 110.0,
    "wind": None,
    "wobble": 82.41,
}
CENTS = 15.0
BEATS_S = {"groove": 0.5, "pumping": 60 / 124}  # of the bass drum
LIMITER_S = 0.005  # by which it is late


def line_of(path: Path, begin: str) -> str:
    found = re.search(rf"^# {begin}(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{path.name} does not say '{begin}'"
    return found[1].strip()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Description]:
    """Return what each sounds like, rendered by the command in its first lines."""
    folder, found = tmp_path_factory.mktemp("gallery"), {}
    for path in FILES:
        words = shlex.split(line_of(path, "pyengine render"))
        assert words[0] == path.name
        out = folder / words[words.index("-o") + 1]
        words[0], words[words.index("-o") + 1] = str(path), str(out)
        assert main(["render", *words]) == 0
        found[path.stem] = describe(*soundfile.read(out, dtype="float32", always_2d=True))
    return found


def test_every_patch_is_known_here() -> None:
    assert {path.stem for path in FILES} == set(PITCHES_HZ)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_neither_silent_nor_too_loud_and_does_not_click(path: Path, sounds: dict[str, Description]) -> None:
    figures = sounds[path.stem].as_dict()
    assert -40 < figures["level"]["rms_dbfs"] < -8 and figures["level"]["peak_dbfs"] < 0
    assert figures["summary"].endswith("No clicks, dropouts, clipping or DC."), figures["summary"]


@pytest.mark.parametrize("name", [name for name, hz in PITCHES_HZ.items() if hz])
def test_it_has_the_pitch_it_should_have(name: str, sounds: dict[str, Description]) -> None:
    figures, wanted_hz = sounds[name].as_dict(), PITCHES_HZ[name]
    assert wanted_hz is not None
    heard_hz = [figures["pitch"]["hz"], *(partial["hz"] for partial in figures["partials"])]
    assert min(abs(1200 * math.log2(hz / wanted_hz)) for hz in heard_hz) < CENTS, heard_hz


@pytest.mark.parametrize("name", BEATS_S)
def test_the_bass_drum_comes_on_the_beat(name: str, sounds: dict[str, Description]) -> None:
    onsets_s = sounds[name].as_dict()["onsets"]["times_s"]
    for beat in range(4):
        assert min(abs(at_s - LIMITER_S - beat * BEATS_S[name]) for at_s in onsets_s) < 0.004, onsets_s


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_can_be_written_again_and_drawn(path: Path) -> None:
    patch = load_patch(path, sample_rate_hz=48000)
    assert all(patch_of(text_of(patch, kind), kind) == patch for kind in FORMATS)
    assert as_graph(patch, 200) and len(as_list(patch).splitlines()) == len(patch.nodes)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_all_that_is_in_it_stands_in_the_order_in_which_the_engine_writes_it(path: Path) -> None:
    """Nodes before cables, a node's type before its parameters; in the cables a name may stand for left and right."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    written = tomllib.loads(text_of(load_patch(path), "toml"))
    assert list(found) == list(written)
    assert json.dumps(found["nodes"], indent=1) == json.dumps(written["nodes"], indent=1)
    order = ["from", "to", "depth", "offset", "feedback"]
    assert all(list(row) == [key for key in order if key in row] for row in found["cables"] + written["cables"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("recordings")
    with Engine("none", osc_port=0, recordings=folder, prime_timeout_ms=20_000) as engine:
        yield engine


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_running_engine_takes_it_and_what_it_says_to_send(path: Path, engine: Engine) -> None:
    address = ["--port", str(engine.osc_port), "--timeout", "30"]
    loaded = pyengine("patch", "load", path, "--allow-silence", *address)
    assert loaded.returncode == 0, loaded.stderr
    lines = line_of(path, "Send:").replace("; ", "\n")
    sent = pyengine("send", "-", *address, stdin=lines)
    assert sent.returncode == 0, sent.stderr
    assert len(re.findall("^done ", sent.stdout, re.MULTILINE)) == len(lines.splitlines())

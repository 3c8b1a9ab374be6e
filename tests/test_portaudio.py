"""End to end through PortAudio, against real sound servers that the tests start and stop themselves.

PortAudio starts once in a process, so each engine is a process of its own: PLAYER below. What came out on
the other side is compared with what `render` gives, sample by sample. A run in which the machine took the
processor away, as the server, the capture or the engine counted, may be repeated.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from rig import wait_until

import pyengine
from pyengine.patch import Patch

HERE = Path(__file__).parent
ATTEMPTS = 6
Frames = npt.NDArray[np.float32]
Environment = dict[str, str]

# Plays on DEVICE and records into FOLDER; each line on stdin is a step, each line on stdout its answer.
PLAYER = """
import json, logging, sys
from pathlib import Path
from rig import Rig, wait_until
from pyengine.errors import DeviceError
from pyengine.output import describe_devices
from pyengine.patch import Patch
from pyengine.recording import Recorder
device, folder, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
logging.basicConfig(level=logging.INFO)

def tell(**what):
    print(json.dumps(what), flush=True)

try:
    rig = Rig(device, lead=8, **settings)
except DeviceError as error:
    tell(error=str(error))
    sys.exit()
tell(kind=rig.driver.kind, description=rig.driver.description, devices=describe_devices())
for line in sys.stdin:
    if line == "commit\\n":
        recorder = Recorder(rig.segment, rig.output, folder)
        recorder.start("played.wav")
        rig.commit(Patch().create("osc1", "simple_sine"))
        tell(is_alive=rig.driver.is_alive)
    if line == "close\\n":
        largest_request = rig.driver.request_frames
        is_alive = rig.driver.is_alive
        rig.driver.close()
        recorder.close()
        tell(counters=rig.counters(), is_alive=is_alive, largest_request=largest_request)
rig.close()
"""

# A whole engine on DEVICE, as above.
ENGINE = """
import json, logging, sys
from pyengine import Engine
device, folder, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
logging.basicConfig(level=logging.INFO)

def tell(what):
    print(json.dumps(what), flush=True)

with Engine(device, lead_blocks=8, block_frames=256, recordings=folder, prime_timeout_ms=20_000) as engine:
    tell(engine.status())
    for line in map(str.strip, sys.stdin):
        if line == "commit":
            engine.record_start("played.wav")
            engine.create("osc1", "simple_sine")
            tell(engine.commit(crossfade_ms=0))
        if line == "status":
            tell(engine.status())
        if line == "close":
            engine.record_stop()
            status = engine.status()  # while it plays: its numbers are not all of one instant
            engine.close()
            tell(status)
"""


class Player:
    """An engine in a process of its own."""

    def __init__(
        self, device: str, folder: Path, environment: Environment, program: str = PLAYER, **settings: Any
    ) -> None:
        self._log = folder / "player.log"
        self._errors = self._log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, device, str(folder), json.dumps(settings)],
            env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.hello = self.answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.answer()

    def await_kind(self, kind: str) -> Any:
        """Return the status of an engine once its output is of that kind."""
        answers: list[Any] = []

        def is_it() -> bool:
            answers.append(self.ask("status"))
            return bool(answers[-1]["output_kind"] == kind)

        wait_until(is_it, 60.0, 0.02)
        return answers[-1]

    def await_frames(self, n_frames: int) -> Any:
        """Return the status of an engine once it has put out so many frames more."""
        before = self.ask("status")["frames"]
        wait_until(lambda: self.ask("status")["frames"] >= before + n_frames, 60.0, 0.02)
        return self.ask("status")

    def end(self) -> int:
        """Let it come to its end, and return its exit code."""
        self.process.communicate(timeout=60)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            if file is not None:
                file.close()


@contextlib.contextmanager
def running(*command: str, environment: Environment, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program and end it, by its pid, if it has not ended itself."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    try:
        import sounddevice  # noqa: F401
    except Exception as error:
        pytest.skip(f"no PortAudio: {error}")


def rendered(n_frames: int) -> Frames:
    return pyengine.render(Patch().create("osc1", "simple_sine"), frames=n_frames, channels=2)


def from_first_sound(samples: Frames) -> Frames:
    """Return the samples from where render's frame 0 must be."""
    lead_in = int(np.flatnonzero(rendered(64).any(axis=1))[0])
    sounding = np.flatnonzero(samples.any(axis=1))
    assert len(sounding), "nothing came out"
    return samples[sounding[0] - lead_in :]


def first_difference(samples: Frames) -> int:
    """Return the first frame that is not bit for bit what render gives; -1 for none."""
    different = np.flatnonzero((samples != rendered(len(samples))).any(axis=1))
    return int(different[0]) if len(different) else -1


# ---- JACK ---------------------------------------------------------------------------------------------

N_CAPTURED = 36_000


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that records what a JACK client puts out."""
    need("jackd", "cc")
    program = tmp_path_factory.mktemp("jack") / "jack_capture"
    source = str(HERE / "c" / "jack_capture.c")
    done = subprocess.run(
        ["cc", "-std=gnu11", "-O1", "-o", str(program), source, "-ljack"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no JACK headers to compile against (libjack-jackd2-dev): {done.stderr[:200]}")
    return program


Jack = tuple[Environment, "subprocess.Popen[str]"]


def forget_dead_servers() -> None:
    """A JACK server that was killed stays in a list of eight for ever; where none runs, the list may go."""
    names = {(p / "comm").read_text().strip() for p in Path("/proc").glob("[0-9]*") if (p / "comm").exists()}
    if names & {"jackd", "jackdbus", "pipewire"}:
        return
    for left in Path("/dev/shm").glob("jack*"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def jackd(name: str, period: int) -> list[str]:
    # -r: no real-time priority; -S: the server waits for its clients in every period
    return ["jackd", "-n", name, "-r", "-S", "-t", "5000", "-d", "dummy", "-r", "48000", "-p", str(period)]


def forget_killed_server(name: str, environment: Environment, log: Path) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return
    for left in shared.glob(f"jack*_{name}_*"):
        left.unlink()
    # it is still in JACK's list of at most eight: one more of its name takes the place and gives it back
    with running(*jackd(name, 256), environment=environment, log=log):
        wait_until((shared / f"jack_{name}_0_0").exists)


@pytest.fixture
def jack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jack]:
    """Start a JACK server without a sound card, of its own name; the parameter is its period in frames."""
    need("jackd")
    forget_dead_servers()
    name = f"pyengine{os.getpid()}"
    environment = {**os.environ, "JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1"}
    log = tmp_path / "jackd.log"
    with running(*jackd(name, request.param), environment=environment, log=log) as server:
        yield environment, server
    if server.returncode == -signal.SIGKILL:
        forget_killed_server(name, environment, log)


def captured(capture: Path, jack: Jack, device: str, folder: Path) -> tuple[Frames, Any, str]:
    """Play a tone; return what came out at JACK, the player's counters, and the capture's own count."""
    environment, _ = jack
    file = folder / "captured.raw"
    command = [str(capture), "PortAudio", "2", str(N_CAPTURED), str(file)]
    with running(*command, environment=environment, log=folder / "capture.log") as recording:
        assert recording.stdout is not None
        assert recording.stdout.readline() == "ready\n", (folder / "capture.log").read_text()
        with Player(device, folder, environment) as player:
            assert player.hello["kind"] == "portaudio", player.hello
            assert "JACK Audio" in player.hello["description"]
            assert recording.stdout.readline() == "connected\n"
            player.ask("commit")
            counts = recording.stdout.readline().strip()
            result = player.ask("close")
            assert recording.wait(20) == 0
            assert player.end() == 0
    return np.fromfile(file, np.float32).reshape(-1, 2), result, counts


@pytest.mark.parametrize(
    ("jack", "device"),
    [(64, "auto"), (100, "system"), (256, " SYSTEM "), (1024, "auto")],
    indirect=["jack"],
    ids=["64", "100", "256", "1024"],
)
def test_what_jack_gets_is_bit_for_bit_what_render_gives(
    jack: Jack, device: str, capture: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    period = request.node.callspec.params["jack"]
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        samples, result, counts = captured(capture, jack, device, folder)
        n_captured, n_xruns, n_gaps = (int(n) for n in counts.split())
        c = result["counters"]
        assert n_captured == len(samples) == N_CAPTURED
        assert c["frames_requested"] == c["frames_delivered"] + c["frames_underrun"]
        assert result["largest_request"] == period  # the server's own, not ours cut to pieces
        assert result["is_alive"]
        sound = from_first_sound(samples)
        different_at = first_difference(sound)
        if different_at >= 0 and (n_xruns or n_gaps or c["frames_underrun"]):
            continue
        assert different_at == -1
        assert len(sound) > N_CAPTURED // 4
        file, _ = soundfile.read(folder / "played.wav", dtype="float32", always_2d=True)
        assert np.array_equal(from_first_sound(file)[: len(sound)], sound[: len(from_first_sound(file))])
        return
    pytest.fail(f"in none of {ATTEMPTS} runs did the machine keep up: {counts} {c}")


@pytest.mark.parametrize("jack", [256], indirect=True)
def test_a_jack_device_that_cannot_be_had_is_a_clear_error(jack: Jack, capture: Path, tmp_path: Path) -> None:
    environment, _ = jack
    command = [str(capture), "nobody", "1", "1", str(tmp_path / "none.raw")]
    with running(*command, environment=environment, log=tmp_path / "capture.log") as ready:
        assert ready.stdout is not None
        assert ready.stdout.readline() == "ready\n"
        with Player("system", tmp_path, environment, sample_rate_hz=44100.0) as player:
            assert "its default rate is 48000 Hz" in player.hello["error"]
            assert player.end() == 0
        with Player("NAME", tmp_path, environment) as player:
            assert "'system' (JACK Audio Connection Kit)" in player.hello["error"]
            assert player.end() == 0
        with Player("auto", tmp_path, environment, sample_rate_hz=44100.0) as player:
            assert player.hello["kind"] == "realtime"
            assert player.end() == 0
        assert (tmp_path / "player.log").read_text().count("its default rate is 48000 Hz") == 1


@pytest.mark.parametrize("jack", [256], indirect=True)
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_jack_server_that_goes_away_takes_nothing_with_it(
    jack: Jack, how: str, capture: Path, tmp_path: Path
) -> None:
    environment, server = jack
    command = [str(capture), "nobody", "1", "1", str(tmp_path / "none.raw")]
    with running(*command, environment=environment, log=tmp_path / "capture.log") as ready:
        assert ready.stdout is not None
        assert ready.stdout.readline() == "ready\n"
        with Player("auto", tmp_path, environment) as player:
            assert player.ask("commit")["is_alive"]
            getattr(server, how)()
            server.wait(20)
            wait_until(lambda: ready.poll() is not None)  # the other client has noticed
            assert not player.ask("close")["is_alive"]
            assert player.end() == 0
        log = (tmp_path / "player.log").read_text()
        assert log.count("output left open") == 1
        assert "recording ended name='played.wav'" in log
        assert len(soundfile.read(tmp_path / "played.wav")[0]) > 0


def captured_from_now_on(capture: Path, environment: Environment, folder: Path) -> tuple[Frames, str]:
    """Return what an engine that plays already puts out at JACK, and the capture's own count."""
    file = folder / "captured.raw"
    command = [str(capture), "pyengine-[0-9]*-2", "2", str(N_CAPTURED), str(file)]
    with running(*command, environment=environment, log=folder / "capture.log") as recording:
        assert recording.stdout is not None
        assert recording.stdout.readline() == "ready\n", (folder / "capture.log").read_text()
        assert recording.stdout.readline() == "connected\n"
        counts = recording.stdout.readline().strip()
        assert recording.wait(60) == 0
    return np.fromfile(file, np.float32).reshape(-1, 2), counts


def is_part_of(part: Frames, whole: Frames) -> bool:
    starts = np.flatnonzero((whole[: len(whole) - len(part) + 1] == part[0]).all(axis=1))
    return any(np.array_equal(whole[start : start + len(part)], part) for start in starts)


def lost_and_found(how: str, capture: Path, folder: Path) -> tuple[Frames, Any, str]:
    """Play on a JACK server that ends and is started again; return what the new one got, the engine's last status
    and the capture's count.
    """
    name = f"pyengine{os.getpid()}"
    environment = {**os.environ, "JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1"}
    log = folder / "jackd.log"
    with contextlib.ExitStack() as stack:
        # somebody else's, all the while: where none runs, another test may clear JACK's list of servers
        stack.enter_context(running(*jackd(f"{name}b", 1024), environment=environment, log=folder / "other.log"))
        first = stack.enter_context(running(*jackd(name, 64), environment=environment, log=log))
        wait_until((Path("/dev/shm") / f"jack_{name}_0_0").exists)
        player = stack.enter_context(Player("auto", folder, environment, ENGINE))
        assert player.hello["output_kind"] == "portaudio", player.hello
        assert player.hello["output_switches"] == 0
        player.ask("commit")
        player.await_frames(4800)
        getattr(first, how)()
        first.wait(20)
        status = player.await_kind("realtime")
        assert status["output_switches"] == 1
        assert status["output_is_alive"]
        later = player.await_frames(4800)
        assert later["play_block"] > status["play_block"]
        stack.enter_context(running(*jackd(name, 64), environment=environment, log=log))
        status = player.await_kind("portaudio")
        assert status["output_switches"] == 2
        assert "JACK Audio" in status["output"]
        assert status["play_block"] > later["play_block"]
        samples, counts = captured_from_now_on(capture, environment, folder)
        result = player.ask("close")
        assert player.end() == 0, (folder / "player.log").read_text()
    if how == "kill":
        forget_killed_server(name, environment, log)
    return samples, result, counts


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_when_jack_is_back_the_patch_plays_on_as_if_nothing_had_been(how: str, capture: Path, tmp_path: Path) -> None:
    forget_dead_servers()
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        samples, result, counts = lost_and_found(how, capture, folder)
        c = result["counters"]
        assert result["output_switches"] == 2
        assert result["worker_deaths"] == 0
        log = (folder / "player.log").read_text()
        assert log.count("WARNING:pyengine.outlet:output gone") == 1
        assert log.count("WARNING:pyengine.outlet:output is back") == 1
        n_captured, n_xruns, n_gaps = (int(n) for n in counts.split())
        assert n_captured == len(samples) == N_CAPTURED
        played, _ = soundfile.read(folder / "played.wav", dtype="float32", always_2d=True)
        if c["frames_underrun"] or c["tap_lost_frames"]:
            continue
        assert first_difference(from_first_sound(played)) == -1  # over to the clock and back, not a sample lost
        if not is_part_of(samples, played) and (n_xruns or n_gaps):
            continue
        assert is_part_of(samples, played)
        return
    pytest.fail(f"in none of {ATTEMPTS} runs did the machine keep up: {counts} {c}")


# ---- PulseAudio ---------------------------------------------------------------------------------------

ALSA_TO_PULSE = "pcm.pulse { type pulse }\nctl.pulse { type pulse }\npcm.!default { type pulse }\n"
PLUGIN = "libasound_module_pcm_pulse.so"


@pytest.fixture
def pulse_home(tmp_path: Path) -> Environment:
    """Return the environment of a PulseAudio server of our own."""
    need("pulseaudio", "parec", "pactl")
    if not glob.glob(f"/usr/lib*/alsa-lib/{PLUGIN}") and not glob.glob(f"/usr/lib*/*/alsa-lib/{PLUGIN}"):
        pytest.skip(f"ALSA's way to PulseAudio is not installed: {PLUGIN} (libasound2-plugins)")
    home = tmp_path / "pulse"
    home.mkdir(mode=0o700)
    (home / "asound.conf").write_text(ALSA_TO_PULSE)
    (home / "client.conf").write_text("autospawn = no\nenable-shm = no\n")
    return {
        **os.environ,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PULSE_RUNTIME_PATH": str(home),
        "PULSE_SERVER": f"unix:{home / 'native'}",
        "PULSE_CLIENTCONFIG": str(home / "client.conf"),
        "ALSA_CONFIG_PATH": str(home / "asound.conf"),
        "JACK_DEFAULT_SERVER": "none",
    }


@contextlib.contextmanager
def pulse_server(environment: Environment) -> Iterator[subprocess.Popen[str]]:
    """Run it, with nothing but a null sink."""
    home = Path(environment["HOME"])
    socket = home / "native"
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes"]
    command += ["-L", "module-null-sink sink_name=null format=float32le rate=48000 channels=2"]
    command += ["-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    with running(*command, environment=environment, log=home / "log") as server:
        wait_until(lambda: socket.exists() or server.poll() is not None)
        assert server.poll() is None, (home / "log").read_text()
        yield server


@pytest.fixture
def pulse(pulse_home: Environment) -> Iterator[Environment]:
    with pulse_server(pulse_home):
        yield pulse_home


def monitored(environment: Environment, folder: Path, n_frames: int) -> tuple[Frames, Any]:
    """Play a tone; return what came out of the null sink, and the player's counters."""
    file = folder / "monitor.raw"
    command = ["parec", "-d", "null.monitor", "--format=float32le", "--rate=48000", "--channels=2"]
    command += ["--raw", "--latency-msec=10", "--record", str(file)]
    size: Callable[[], int] = lambda: file.stat().st_size if file.exists() else 0  # noqa: E731
    with running(*command, environment=environment, log=folder / "parec.log"):
        wait_until(size)
        with Player("auto", folder, environment) as player:
            assert player.hello["kind"] == "portaudio", player.hello
            player.ask("commit")
            until = size() + 8 * (n_frames + 9600)
            wait_until(lambda: size() > until)
            result = player.ask("close")
            assert player.end() == 0
    n_whole = size() // 8 * 2
    return np.fromfile(file, np.float32, count=n_whole).reshape(-1, 2), result


def is_one_tone(sound: Frames) -> bool:
    """Pitch, level and wholeness at once: one sine of 440 Hz fits all of it to less than a 16-bit step."""
    t = np.arange(len(sound)) / 48000
    basis = np.stack([np.sin(2 * np.pi * 440 * t), np.cos(2 * np.pi * 440 * t)], axis=1)
    fit = np.linalg.lstsq(basis, sound.astype(np.float64), rcond=None)[0]
    is_loud = np.allclose(np.hypot(*fit), np.abs(rendered(4800)).max(), rtol=1e-3)
    return bool(is_loud and np.abs(sound - basis @ fit).max() < 1 / 32768)


def test_what_pulseaudio_gets_is_the_tone_without_a_gap(pulse: Environment, tmp_path: Path) -> None:
    n_frames = 24_000  # half a second, over fifty times PortAudio's buffer: anywhere, as a busy machine does make gaps
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        samples, result = monitored(pulse, folder, 3 * n_frames)
        c = result["counters"]
        assert c["frames_requested"] == c["frames_delivered"] + c["frames_underrun"]
        sound = from_first_sound(samples)
        starts = range(0, len(sound) - n_frames, n_frames // 8)
        if any(is_one_tone(sound[start : start + n_frames]) for start in starts):
            return
    pytest.fail(f"in none of {ATTEMPTS} runs was the tone whole for half a second: {c}")


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_when_pulseaudio_is_back_the_patch_plays_on(how: str, pulse_home: Environment, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(pulse_server(pulse_home))
        player = stack.enter_context(Player("auto", tmp_path, pulse_home, ENGINE))
        assert player.hello["output_kind"] == "portaudio", player.hello
        player.ask("commit")
        player.await_frames(4800)
        getattr(first, how)()
        first.wait(20)
        (Path(pulse_home["HOME"]) / "native").unlink(missing_ok=True)
        assert player.await_kind("realtime")["output_switches"] == 1
        player.await_frames(4800)
        stack.enter_context(pulse_server(pulse_home))
        assert player.await_kind("portaudio")["output_switches"] == 2
        player.await_frames(4800)
        result = player.ask("close")
        assert player.end() == 0, (tmp_path / "player.log").read_text()
    c = result["counters"]
    assert (result["worker_deaths"], result["output_switches"]) == (0, 2)
    played, _ = soundfile.read(tmp_path / "played.wav", dtype="float32", always_2d=True)
    if not c["frames_underrun"] and not c["tap_lost_frames"]:  # otherwise the machine did not keep up
        assert first_difference(from_first_sound(played)) == -1

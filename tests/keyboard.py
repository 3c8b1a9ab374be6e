"""A JACK server without a sound card, and a keyboard: a process with a JACK MIDI output that plays what it is told.

with jack_server(tmp_path) as environment, Keyboard(environment) as keys:
    sent_s = keys.play([[0x90, 60, 100], [0x80, 60, 0]], gap_s=0.1)  # Unix seconds of each
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_portaudio import forget_dead_servers, forget_killed_server, running
from waiting import wait_until

_PLAYS = """
import json, sys, time
import rtmidi
out = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, name=sys.argv[1])
out.open_virtual_port("out")
print("{}", flush=True)
for line in sys.stdin:
    told = json.loads(line)
    sent = []
    for message in told["messages"]:
        out.send_message(message)
        sent.append(time.time())
        if told["gap_s"]:
            time.sleep(told["gap_s"])
    print(json.dumps(sent), flush=True)
"""


def need_jack_midi() -> None:
    """Skip the test where jackd or a python-rtmidi for JACK is missing."""
    if shutil.which("jackd") is None:
        pytest.skip("there is no jackd; Debian: apt install jackd2")
    rtmidi = pytest.importorskip("rtmidi", reason="there is no python-rtmidi; pip install 'pyengine[midi]'")
    if rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api():
        pytest.skip("this python-rtmidi was built without JACK; install libjack-jackd2-dev and build it anew")


def may_be_realtime() -> bool:
    """Say whether this user may use SCHED_FIFO; without it JACK's own threads are late at any load."""
    try:
        was = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, *was)
    except (AttributeError, OSError):
        return False
    return True


@contextlib.contextmanager
def jack_server(folder: Path, name: str, period_frames: int) -> Iterator[tuple[dict[str, str], Any]]:
    """Run a server of that name; yield the environment of its clients, and its process."""
    need_jack_midi()
    forget_dead_servers()
    environment = {**os.environ, "JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1"}
    environment["JACK_NO_START_SERVER"] = "1"
    log = folder / "jackd.log"
    # no -S: a server that waits for its clients would wait for one that is killed, and nobody be told that it has gone
    priority = [] if may_be_realtime() else ["-r"]
    command = ["jackd", "-n", name, *priority, "-t", "2000", "-d", "dummy", "-r", "48000", "-p", str(period_frames)]
    with running(*command, environment=environment, log=log) as server:
        wait_until(lambda: server.poll() is not None or (Path("/dev/shm") / f"jack_{name}_0_0").exists(), 20.0)
        assert server.poll() is None, log.read_text(errors="replace")[-500:]
        try:
            yield environment, server
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(1)
            server.kill()  # one that has had two clients at once does not end by itself
    if server.returncode == -signal.SIGKILL:
        forget_killed_server(name, environment, log)


class Keyboard:
    """The process. Its output is called NAME:out."""

    def __init__(self, environment: dict[str, str], name: str = "keys") -> None:
        self.port = f"{name}:out"
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PLAYS, name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the keyboard has ended"
        return json.loads(line)

    def play(self, messages: list[list[int]], gap_s: float = 0.0) -> list[float]:
        """Send messages, each gap_s after the one before; return when, in Unix seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"messages": messages, "gap_s": gap_s}) + "\n")
        self.process.stdin.flush()
        sent: list[float] = self._answer()
        return sent

    def __enter__(self) -> Keyboard:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Take leave of the server; again does no harm."""
        if self.process.poll() is None:
            try:
                self.process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Be gone from one moment to the next, as one that is unplugged."""
        self.process.kill()
        self.process.communicate()

"""A JACK server without a sound card, for as long as a bench takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_portaudio import forget_dead_servers, forget_killed_server, running
from waiting import wait_until


def need_jack() -> None:
    """Skip the bench where there is no JACK server to start, or no PortAudio to reach it."""
    if shutil.which("jackd") is None:
        pytest.skip("there is no jackd; Debian: apt install jackd2")
    try:
        import sounddevice  # noqa: F401
    except Exception as error:
        pytest.skip(f"there is no PortAudio ({error}); Debian: apt install libportaudio2")


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
def jack_server(folder: Path, period_frames: int = 64) -> Iterator[dict[str, str]]:
    """Run `jackd -d dummy -r 48000 -p 64` under a name of its own; yield the environment of its clients."""
    need_jack()
    forget_dead_servers()
    name = f"pyengine-bench-{os.getpid()}"
    environment = {"JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1", "JACK_NO_START_SERVER": "1"}
    realtime = [] if may_be_realtime() else ["-r"]
    command = ["jackd", "-n", name, *realtime, "-t", "5000", "-d", "dummy", "-r", "48000", "-p", str(period_frames)]
    log = folder / "jackd.log"
    with running(*command, environment={**os.environ, **environment}, log=log) as server:
        shared = Path("/dev/shm")
        if shared.is_dir():
            wait_until(lambda: server.poll() is not None or any(shared.glob(f"jack_{name}_*")), 20.0)
        if server.poll() is not None:
            pytest.skip(f"jackd does not start here: {log.read_text(errors='replace').strip()[-300:]}")
        yield environment
    if server.returncode == -signal.SIGKILL:
        forget_killed_server(name, {**os.environ, **environment}, log)

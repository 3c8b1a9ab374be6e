"""What plays: the device, and while it is gone the real-time clock in its place.

`look` is called by the engine's loop all the time and never waits. What may take long, or never end, is done
elsewhere: whether the device is back is asked by a process that ends afterwards (PortAudio lists devices only
while it starts), and opening it is done by a thread of its own, which is left alone if it takes too long. The
output has one caller at any time: the clock's thread is joined before the device's port is opened, and the
port of a device that has gone is shut before the clock is started.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pyengine import _native, output, portaudio
from pyengine.errors import DeviceError, EngineError
from pyengine.output import ClockDriver, Driver, PortAudioDriver, open_driver

logger = logging.getLogger(__name__)

LOOKS_TO_STALL = 30  # looks, ten a second, without a request: the device counts as gone
RETRY_S, SLOW_RETRY_S, QUICK_TRIES = 1.0, 5.0, 60
PROBE_TIMEOUT_S = 10.0
ATTEMPT_TIMEOUT_S = 20.0
FAILURES_ALLOWED = 10  # to open a device that said it could be: each costs some memory for ever
_BOOT = "import sys; sys.path[:] = {path!r}; from pyengine.outlet import main; main({request!r})"


class Watch:
    """Decides what to do about a device; takes times and counts as arguments."""

    def __init__(self) -> None:
        self._calls = -1
        self._n_still = 0
        self._n_tries = 0
        self._n_failures = 0
        self._next_s = 0.0
        self._told = ""

    def is_gone(self, is_alive: bool, calls: int) -> bool:
        """True when the device has ended, or has made no request for LOOKS_TO_STALL looks."""
        self._n_still = self._n_still + 1 if calls == self._calls else 0
        self._calls = calls
        return not is_alive or self._n_still >= LOOKS_TO_STALL

    def has_gone(self, now_s: float) -> None:
        """It is looked for from now on."""
        self._calls, self._n_still, self._n_tries, self._n_failures, self._told = -1, 0, 0, 0, ""
        self._next_s = now_s + RETRY_S

    def is_due(self, now_s: float) -> bool:
        """Whether to look for it now."""
        return now_s >= self._next_s and not self.is_hopeless

    @property
    def is_hopeless(self) -> bool:
        return self._n_failures >= FAILURES_ALLOWED

    def has_tried(self, now_s: float, why: str, has_failed: bool) -> bool:
        """An attempt came to nothing. why: '' if the device is just not there. True: say so, it is news."""
        self._n_tries += 1
        self._n_failures += has_failed
        self._next_s = now_s + (RETRY_S if self._n_tries < QUICK_TRIES else SLOW_RETRY_S)
        is_news = why not in ("", self._told) or (has_failed and self.is_hopeless)
        self._told = why or self._told
        return is_news


class Attempt:
    """One look for the device, and the way back to it; its result is for whoever started it."""

    def __init__(self, port: _native.Port, started_s: float) -> None:
        self.port = port
        self.started_s = started_s
        self.why = ""
        self.has_failed = False  # after the device had been found
        self.is_over = False
        self.is_cancelled = False
        self.process: subprocess.Popen[bytes] | None = None

    def cancel(self) -> None:
        """Whatever comes of it is not wanted any more."""
        self.is_cancelled = True
        process = self.process
        if process is not None and process.poll() is None:
            process.kill()


class Outlet:
    """A Driver that outlives its device: goes over to the real-time clock and back. Arguments: those of open_driver.

    After a device that was opened has gone, it is looked for: by its own name, or what it was asked for by.
    """

    def __init__(
        self,
        device: str,
        audio: _native.Output,
        *,
        sample_rate_hz: float,
        block_frames: int,
        n_channels: int,
        priority: int,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked = device
        self._audio = audio
        self._sample_rate_hz = sample_rate_hz
        self._block_frames = block_frames
        self._priority = priority
        self._now_s = now_s
        self._watch = Watch()
        self._lock = threading.Lock()  # held by whoever changes the driver; never for long
        self._attempt: Attempt | None = None
        self._is_closed = False
        self._is_leaving = False
        self._gone_at = 0, 0.0
        self.switches = 0
        self._driver: Driver = open_driver(
            device,
            audio,
            sample_rate_hz=sample_rate_hz,
            block_frames=block_frames,
            n_channels=n_channels,
            priority=priority,
        )
        self._device = self._driver.device if isinstance(self._driver, PortAudioDriver) else None

    # ---- a Driver -----------------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        return self._driver.kind

    @property
    def description(self) -> str:
        return self._driver.description

    @property
    def request_frames(self) -> int:
        return self._driver.request_frames

    @property
    def is_realtime(self) -> bool:
        return self._driver.is_realtime

    @property
    def latency_s(self) -> float:
        return self._driver.latency_s

    @property
    def is_alive(self) -> bool:
        return self._driver.is_alive

    @property
    def clock(self) -> _native.Clock | None:
        return self._driver.clock

    def close(self) -> bool:
        """End what plays, and a way back to the device; twice without harm. False: as for a Driver."""
        with self._lock:
            self._is_closed = True
            attempt, self._attempt = self._attempt, None
            is_quiet = self._driver.close()
        if attempt is not None:
            attempt.cancel()
        return is_quiet

    def __repr__(self) -> str:
        return f"<Outlet {self.description} switches={self.switches}>"

    # ---- over to the clock ----------------------------------------------------------------------------

    def look(self) -> None:
        """See to it that something plays, and that the device does when it can. Never waits; ten times a second."""
        if self._device is None or not self._lock.acquire(blocking=False):
            return  # no device was there from the start, or it is just being handed over to
        try:
            if self._is_closed:
                return
            if isinstance(self._driver, PortAudioDriver):
                self._look_at_device(self._driver)
            else:
                self._look_for_device(self._device)
        finally:
            self._lock.release()

    def _look_at_device(self, driver: PortAudioDriver) -> None:
        calls = self._audio.segment.counter("callbacks")
        self._is_leaving = self._is_leaving or self._watch.is_gone(driver.is_alive, calls)
        if not self._is_leaving or not driver.leave():  # at the next look, if its thread is in the output
            return
        self._driver = ClockDriver(
            self._audio,
            is_free=False,
            sample_rate_hz=self._sample_rate_hz,
            request_frames=self._block_frames,
            priority=self._priority,
        )
        self._is_leaving = False
        self.switches += 1
        now_s = self._now_s()
        self._gone_at = self._audio.frames, now_s
        self._watch.has_gone(now_s)
        logger.warning(
            "output gone, playing on the real-time clock until it is back frame=%d switches=%d device=%s",
            self._gone_at[0],
            self.switches,
            driver.description,
        )

    # ---- and back -------------------------------------------------------------------------------------

    def _look_for_device(self, device: dict[str, Any]) -> None:
        now_s = self._now_s()
        if self._attempt is not None and not self._is_given_up(self._attempt, now_s):
            return
        if not self._watch.is_due(now_s):
            return
        attempt = self._attempt = Attempt(_native.Port(self._audio), now_s)
        threading.Thread(target=self._try, args=(attempt, device), name="pe-reopen", daemon=True).start()

    def _is_given_up(self, attempt: Attempt, now_s: float) -> bool:
        """False while an attempt is on its way; otherwise what became of it is noted."""
        if not attempt.is_over:
            if now_s - attempt.started_s < ATTEMPT_TIMEOUT_S:
                return False
            attempt.cancel()
            attempt.why, attempt.has_failed = f"no answer within {ATTEMPT_TIMEOUT_S:g} s", True
        self._attempt = None
        if self._watch.has_tried(now_s, attempt.why, attempt.has_failed):
            then = "it is given up" if self._watch.is_hopeless else "it is tried again"
            logger.warning("output is back but cannot be used, %s: %s", then, attempt.why)
        return True

    def _try(self, attempt: Attempt, device: dict[str, Any]) -> None:
        """In a thread of its own: find the device, open it, hand the output over to it."""
        try:
            answer = self._probe(attempt, device)
            if attempt.is_cancelled or answer["why"]:
                attempt.why = answer["why"] if answer["is_there"] else ""
                attempt.port.close()  # no stream was given it
                return
            attempt.has_failed = True  # until it has not
            driver = output.reopen(self._asked, device, self._audio, attempt.port, sample_rate_hz=self._sample_rate_hz)
            attempt.has_failed = False
            if not self._adopt(attempt, driver):
                driver.close()
        except EngineError as error:
            attempt.why = str(error)
        except Exception as error:  # nobody else would hear of it
            attempt.why, attempt.has_failed = repr(error), True
        finally:
            attempt.is_over = True

    def _probe(self, attempt: Attempt, device: dict[str, Any]) -> dict[str, Any]:
        """Return what `probe` says in a process of its own: there it may hang or be aborted without harm."""
        request = json.dumps([self._asked, device, self._sample_rate_hz, self._audio.segment.config.n_channels])
        process = attempt.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT.format(path=sys.path, request=request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the chatter of sound libraries
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(timeout=0.0 if attempt.is_cancelled else PROBE_TIMEOUT_S)
            answer: dict[str, Any] = json.loads(text)
            return answer
        except (subprocess.TimeoutExpired, ValueError):
            return {"is_there": False, "why": "no answer"}
        finally:
            process.kill()
            process.communicate()

    def _adopt(self, attempt: Attempt, driver: PortAudioDriver) -> bool:
        """Hand the output over from the clock to the device. False when nobody wants it any more."""
        with self._lock:
            if self._is_closed or attempt.is_cancelled:
                return False
            self._driver.close()  # waits for the clock's thread: a period at most
            driver.begin()
            self._driver = driver
            self._device = driver.device
            self._attempt = None
            self.switches += 1
            frame, gone_s = self._gone_at
            logger.warning(
                "output is back frame=%d clock_frames=%d seconds=%.1f switches=%d device=%s",
                self._audio.frames,
                self._audio.frames - frame,
                self._now_s() - gone_s,
                self.switches,
                driver.description,
            )
            return True


def main(request: str) -> None:
    """In the process of a probe: answer on stdout."""
    if hasattr(os, "nice"):
        os.nice(10)
    if hasattr(signal, "alarm"):
        signal.alarm(2 * int(PROBE_TIMEOUT_S))  # should the engine be gone, and a sound server hang
    portaudio.name_probe()
    try:
        answer = output.probe(*json.loads(request))
    except DeviceError as error:  # no PortAudio, or it does not start
        answer = {"is_there": False, "why": str(error)}
    os.write(1, json.dumps(answer).encode())

"""PortAudio once more, beside the one that sounddevice has started.

PortAudio lists devices only while it starts, and once a JACK server has gone it cannot end any more: it waits
for an answer of the dead one, or aborts the process. So a device that is back is opened by a fresh copy of the
library, with state of its own, and what the old one holds is left alone. Of sounddevice it needs the private
`_ffi` and `_libname`.

What is left holds a thread of the dead JACK client too, asleep on a word that the next client of the same name
would share with it: it would take that one's wake-ups, and the server would wait in vain. So no name is used twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pyengine.errors import DeviceError

_copies: list[Copy] = []  # never unloaded: threads of theirs may be at work


def is_jack(host_api: str) -> bool:
    """Whether a host API of that name is JACK, which must not be asked anything once its server has gone."""
    return host_api.startswith("JACK")


class Copy:
    """A PortAudio of our own, just started; it has today's devices. Starting may take long where a server hangs."""

    def __init__(self, sounddevice: Any) -> None:
        self._ffi = sounddevice._ffi
        self._error = sounddevice.PortAudioError
        _copies.append(self)
        self._lib = _loaded(self._ffi, _file(str(sounddevice._libname)), f"pyengine-{os.getpid()}-{len(_copies) + 1}")
        self.check(self._lib.Pa_Initialize())

    def check(self, code: int) -> int:
        """Return code, or raise sounddevice's PortAudioError when it says that something failed."""
        if code < 0:
            raise self._error(self._text(self._lib.Pa_GetErrorText(code)), code)
        return code

    def _text(self, text: Any) -> str:
        return bytes(self._ffi.string(text)).decode("utf-8", "replace")

    def query_hostapis(self) -> list[dict[str, Any]]:
        """Return the host APIs, as sounddevice does."""
        rows = [self._lib.Pa_GetHostApiInfo(i) for i in range(self.check(self._lib.Pa_GetHostApiCount()))]
        return [{"name": self._text(row.name), "default_output_device": row.defaultOutputDevice} for row in rows]

    def query_devices(self) -> list[dict[str, Any]]:
        """Return the devices, as sounddevice does."""
        rows = [self._lib.Pa_GetDeviceInfo(i) for i in range(self.check(self._lib.Pa_GetDeviceCount()))]
        return [
            {
                "name": self._text(row.name),
                "hostapi": row.hostApi,
                "max_output_channels": row.maxOutputChannels,
                "default_samplerate": row.defaultSampleRate,
                "default_low_output_latency": row.defaultLowOutputLatency,
            }
            for row in rows
        ]

    def open_stream(self, callback: tuple[int, int], device: int, sample_rate_hz: float, n_channels: int) -> Stream:
        """Return a stream that is not running yet. callback: addresses of the function and of its user data."""
        parameters = self._ffi.new("PaStreamParameters *")
        parameters.device, parameters.channelCount = device, n_channels
        parameters.sampleFormat = self._lib.paFloat32
        parameters.suggestedLatency = self._lib.Pa_GetDeviceInfo(device).defaultLowOutputLatency
        place = self._ffi.new("PaStream **")
        function, user = (self._ffi.cast("void *", address) for address in callback)
        function = self._ffi.cast("PaStreamCallback *", function)
        null = self._ffi.NULL
        self.check(self._lib.Pa_OpenStream(place, null, parameters, sample_rate_hz, 0, 0, function, user))
        return Stream(self, self._lib, place[0], device)

    def close_after(self, device: int) -> None:
        """End it right after its last stream was closed, unless it knows of a JACK server which that one was not
        on: that server may have gone since.
        """
        apis = [is_jack(api["name"]) for api in self.query_hostapis()]
        if not any(apis) or apis[self._lib.Pa_GetDeviceInfo(device).hostApi]:
            self.check(self._lib.Pa_Terminate())


class Stream:
    """A stream of a copy, which ends with it: what a driver uses of sounddevice's."""

    def __init__(self, copy: Copy, lib: Any, pointer: Any, device: int) -> None:
        self._copy, self._lib, self._pointer, self._device = copy, lib, pointer, device
        info = lib.Pa_GetStreamInfo(pointer)
        self.latency, self.samplerate = float(info.outputLatency), float(info.sampleRate)

    @property
    def active(self) -> bool:
        return bool(self._lib.Pa_IsStreamActive(self._pointer) == 1)

    def start(self) -> None:
        self._copy.check(self._lib.Pa_StartStream(self._pointer))

    def close(self) -> None:
        self._copy.check(self._lib.Pa_CloseStream(self._pointer))
        self._copy.close_after(self._device)


def name_probe() -> None:
    """Give the PortAudio that this process is about to start a name of its own at JACK."""
    with contextlib.suppress(OSError):
        _name_client(ctypes.util.find_library("portaudio"), f"pyengine-probe-{os.getpid()}")


_names: list[bytes] = []  # PortAudio keeps pointers to them


def _name_client(library: str | None, name: str) -> None:
    set_name = getattr(ctypes.CDLL(library), "PaJack_SetClientName", None) if library else None
    if set_name is not None:  # none where it was built without JACK
        _names.append(name.encode())
        set_name(ctypes.c_char_p(_names[-1]))


def _file(name: str) -> Path:
    """Return the file of the library that was loaded by that name."""
    if os.path.isabs(name) and Path(name).is_file():
        return Path(name)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            path = line.split(maxsplit=5)[-1]
            if path.startswith("/") and name in Path(path).name:
                return Path(path)
    raise DeviceError(f"PortAudio's library {name!r} is not found a second time; start the engine anew")


def _loaded(ffi: Any, file: Path, client_name: str) -> Any:
    """Load a copy of the file: the same file again would be the same library. client_name: what JACK calls it."""
    descriptor, name = tempfile.mkstemp(prefix="pyengine-", suffix=file.suffix)
    os.close(descriptor)
    try:
        shutil.copyfile(file, name)
        library = ffi.dlopen(name)
        _name_client(name, client_name)
        return library
    except OSError as error:
        raise DeviceError(f"PortAudio cannot be loaded a second time ({error}); start the engine anew") from error
    finally:
        os.unlink(name)

"""The process that has the port: it reads what comes and hands it on, and waits for a port that has gone."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

from pyengine.midi import MidiError
from pyengine.midi_in.decoder import Decoder, PortClock
from pyengine.midi_in.ports import Port, apis, choose, jack_library, none_found, open_input, ports_of, rtmidi

POLL_S = 0.001
LOOK_S = 0.1  # how often the ports are looked at
ABSENT_S = 0.5  # and while the port is not there
MAX_WAITING = 1 << 20  # lines that wait for the engine
CHUNK_BYTES = 1 << 16


class Reader:
    """One port, and the socket to the engine. Lines of text go there: 'NS STATUS FIRST SECOND', and what is about
    the port as JSON.
    """

    def __init__(self, sock: socket.socket, wanted: str) -> None:
        self._socket = sock
        self._wanted = wanted
        self._name = ""  # of the port that was opened last
        self._port: Port | None = None
        self._input: Any = None
        self._inputs: dict[int, Any] = {}  # by library
        self._jack_has_gone = threading.Event()
        self._jack_watch: Any = None  # what JACK calls must live
        self._lines: deque[bytes] = deque()
        self._unsent = b""
        self._lost = 0
        self._decoder, self._clock = Decoder(), PortClock()

    def find(self) -> bool:
        """Open the port if it is there. Raises MidiError with those that are, or why there are none."""
        found: list[Port] = []
        why: list[str] = []
        for api in apis():
            try:
                ports = ports_of(self._input_of(api), api)
            except MidiError as error:
                why.append(str(error))
                continue
            port = choose(self._wanted, ports)
            if port is not None:
                self._open(port)
                return True
            found += ports
        raise none_found(self._wanted, found, why)

    def _input_of(self, api: int) -> Any:
        """Return our end at a library, which stays while a port is waited for."""
        if api not in self._inputs:
            self._inputs[api] = open_input(api)
            if api == rtmidi().API_UNIX_JACK:
                self._watch_jack()
        return self._inputs[api]

    def _open(self, port: Port) -> None:
        opened = self._inputs[port.api_number]
        opened.open_port(port.index, "midi in")
        self._input, self._port = opened, port
        self._name = port.name
        self._wanted = self._wanted or port.lasting_name
        self._decoder, self._clock = Decoder(), PortClock()

    def _watch_jack(self) -> None:
        """Be told when the JACK server ends: the library's own input would list the ports of old for ever."""
        jack = ctypes.CDLL(jack_library() or "libjack.so.0")
        jack.jack_client_open.restype = ctypes.c_void_p
        jack.jack_client_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        jack.jack_on_shutdown.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        told = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: self._jack_has_gone.set())
        jack.jack_client_close.argtypes = [ctypes.c_void_p]
        client = jack.jack_client_open(b"pyengine-midi-watch", 1, None)  # 1: start no server
        if client:
            jack.jack_on_shutdown(client, ctypes.cast(told, ctypes.c_void_p), None)
            self._jack_watch = (jack, told, client)

    # ---- telling the engine --------------------------------------------------------------------------

    def tell(self, **facts: Any) -> None:
        """Put a line about the port behind what waits."""
        self._lines.append(json.dumps(facts).encode() + b"\n")

    def tell_port(self) -> None:
        self.tell(is_there=self._port is not None, port=self._name or self._wanted)

    def _send(self) -> None:
        """Send what the socket takes. Raises OSError where the engine has gone."""
        while self._unsent or self._lines:
            if not self._unsent:
                self._unsent = b"".join(self._lines.popleft() for _ in range(min(len(self._lines), 1024)))
            try:
                sent = self._socket.send(self._unsent[:CHUNK_BYTES])
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]

    # ---- reading -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read until the engine has gone, or the JACK server has: then nothing here is of use any more."""
        look_s = 0.0
        while True:
            if time.monotonic() >= look_s:
                if self._engine_has_gone():
                    return
                if self._jack_has_gone.is_set():
                    self._port = None
                    self.tell_port()
                    self._flush()
                    return
                self._look()
                look_s = time.monotonic() + (LOOK_S if self._port else ABSENT_S)
            if self._port is not None:
                self._read()
            self._send()  # before the sleep, which they would wait for
            time.sleep(POLL_S if self._port else LOOK_S)

    def _read(self) -> None:
        while (found := self._input.get_message()) is not None:
            data, since_last_s = found
            arrival_s = self._clock.arrival(since_last_s, time.monotonic())
            for message in self._decoder.feed(data):
                if len(self._lines) < MAX_WAITING:
                    self._lines.append(b"%d %d %d %d\n" % (round(arrival_s * 1e9), *message))
                else:
                    self._lost += 1
        if self._lost:
            self.tell(lost=self._lost)
            self._lost = 0

    def _look(self) -> None:
        """See whether the port has gone, or is back."""
        if self._port is None:
            with contextlib.suppress(MidiError, OSError, RuntimeError):
                if self.find():
                    self.tell_port()
            return
        names = [port.name for port in ports_of(self._input, self._port.api_number)]
        if self._port.name not in names:
            self._read()
            self._input.close_port()
            self._port = self._input = None
            self.tell_port()

    def _engine_has_gone(self) -> bool:
        if not select.select([self._socket], [], [], 0)[0]:
            return False
        try:
            return not self._socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return False

    def leave(self) -> None:
        """Take leave of the servers, which would have to find out that we have gone; not of one that is gone itself."""
        if self._jack_has_gone.is_set():
            return
        for opened in self._inputs.values():
            opened.close_port()
            opened.delete()
        if self._jack_watch is not None:
            jack, _, client = self._jack_watch
            jack.jack_client_close(client)

    def _flush(self) -> None:
        """Send all, for a second at most."""
        until_s = time.monotonic() + 1.0
        while (self._unsent or self._lines) and time.monotonic() < until_s:
            self._send()
            time.sleep(POLL_S)


def _hush() -> None:
    """Keep what the libraries print off stderr: what is of use of it we say ourselves."""
    own = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = os.fdopen(own, "w")


def main(arguments: str) -> None:
    """The process: arguments as launch.py gives them. The first line says whether it has the port, or why not."""
    given = json.loads(arguments)
    sock = socket.socket(fileno=given["socket"])
    sock.setblocking(False)
    _hush()
    reader = Reader(sock, given["port"])
    try:
        reader.find()
    except MidiError as error:
        if not given["waits"]:
            reader.tell(error=str(error))
            reader._flush()
            os._exit(0)  # a driver may hang where it is to end
    except (OSError, RuntimeError) as error:  # of the driver
        reader.tell(error=f"the MIDI input cannot be opened: {error}; is another program using it?")
        reader._flush()
        os._exit(0)
    reader.tell_port()
    try:
        reader.run()
    except OSError:
        pass  # the engine has gone
    reader.leave()
    os._exit(0)

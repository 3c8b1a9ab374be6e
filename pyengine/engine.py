"""An engine for Python programs: the supervisor in a thread of its own, and a method for every command."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyengine import commands
from pyengine.board import Options
from pyengine.dispatch import Dispatcher
from pyengine.errors import CommandError, EngineError, WorkerError, shown
from pyengine.loop import Loop
from pyengine.methods import Methods
from pyengine.server import OscServer
from pyengine.specs import number_text
from pyengine.supervisor import Supervisor

if TYPE_CHECKING:
    from pyengine.eyes.feed import Feed
    from pyengine.midi_in.launch import MidiIn
    from pyengine.oscquery.launch import OscQuery

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
MAX_LATENCY_MS = 1000.0
DO_TIMEOUT_S, LISTEN_TIMEOUT_S = 60.0, 90.0
GRANT_S = 0.0005  # how often a paused free-running clock is looked at while something waits for it
CLOSED = "the engine is closed; make a new one"
Command = commands.Command


class Engine(Methods):
    """A running engine; a context manager. Every method may be called from any thread.

    device: 'auto' (the default device, or the real-time clock without one), 'none' (that clock), 'free' (the
    free-running clock, paused until `advance` or `run_free`), or the name of a device. sample_rate: Hz.
    block_frames: 1 to 8192. lead_blocks: 1 to 8. osc_port: UDP, None for no OSC, 0 for any free port.
    osc_tcp_port: for OSC over TCP besides. oscquery_port: for OSCQuery (HTTP), which needs `pip install pyengine[web]`.
    announces: tell tools of OSCQuery by mDNS (_oscjson._tcp and _osc._udp), where osc_host is bound to.
    latency: ms from the arrival of a setting to its effect, the same to the sample for all; 'shortest' that device and
    lead allow, or 'asap': whenever a block is begun that does not play yet.
    session: file to log everything to from the first block on, for `pyengine replay`; it must not exist.
    history_s: seconds of the output that are kept for `listen`, as far as 256 MB hold them; 0 for none.
    Raises DeviceError, PortInUseError, WorkerError, CommandError, SessionError.
    """

    def __init__(
        self,
        device: str | int = "auto",
        *,
        sample_rate: float = 48000,
        block_frames: int = 64,
        lead_blocks: int = 2,
        channels: int = 2,
        osc_host: str = "127.0.0.1",
        osc_port: int | None = None,
        osc_tcp_port: int | None = None,
        oscquery_port: int | None = None,
        announces: bool = False,
        recordings: str | Path = "recordings",
        samples: str | Path = ".",
        prime_timeout_ms: float = 500.0,
        on_prime_timeout: str = "keep",
        crossfade_ms: float = 5.0,
        probation_ms: float = 500.0,
        standby: str = "hot",
        stall_ms: float = 1000.0,
        latency: float | str = "shortest",
        session: str | Path | None = None,
        history_s: float = 30.0,
    ) -> None:
        options = Options(
            device=str(device),
            sample_rate_hz=sample_rate,
            block_frames=block_frames,
            lead_blocks=lead_blocks,
            n_channels=channels,
            osc_host=osc_host,
            osc_port=osc_port,
            osc_tcp_port=osc_tcp_port,
            oscquery_port=oscquery_port,
            announces=announces,
            recordings=Path(recordings),
            samples=Path(samples),
            prime_timeout_ms=prime_timeout_ms,
            on_prime_timeout=on_prime_timeout,
            crossfade_ms=crossfade_ms,
            probation_ms=probation_ms,
            standby=standby,
            stall_ms=stall_ms,
            latency=latency if isinstance(latency, str) else float(latency),
            session=None if session is None else Path(session),
            history_s=history_s,
        )
        _check(options)
        self.options = options = replace(options, sample_rate_hz=float(sample_rate))
        self._is_closed = False
        self._loop = Loop()
        self._server: OscServer | None = None
        self._supervisor: Supervisor | None = None
        self._dispatcher: Dispatcher | None = None
        self._oscquery: OscQuery | None = None
        self._feed: Feed | None = None
        self._midi: MidiIn | None = None
        self._has_ended = threading.Event()
        self._unanswered: set[Future[Any]] = set()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="pe-engine", daemon=True)
        self._thread.start()
        try:
            started.result(START_TIMEOUT_S)
        except FutureTimeoutError:
            self.close()
            raise WorkerError(f"the engine did not start within {START_TIMEOUT_S:g} s") from None
        except BaseException:
            self.close()
            raise

    # ---- the engine's thread ------------------------------------------------------------------------

    def _run(self, started: Future[None]) -> None:
        """The loop's thread. Workers die with it: it must live as long as the engine."""
        supervisor = None
        try:
            if self.options.osc_port is not None:  # first: a port in use must not cost two workers
                self._server = OscServer(
                    self.options.osc_host, self.options.osc_port, self._group, self._loop, self.options.osc_tcp_port
                )
                if self.options.oscquery_port is not None:
                    self._oscquery = _oscquery(self._server, self._loop, self.options)
            supervisor = self._supervisor = Supervisor(self.options, self._loop)
            self._dispatcher = Dispatcher(supervisor, self._loop)
            self._dispatcher.osc = self._server
            if self._server is not None:
                self._server.on_refused.append(self._dispatcher.notifier.on_refused)
                self._server.streams.on_closed.append(self._dispatcher.notifier.drop)
            supervisor.start()
            self._await_workers(supervisor)
            supervisor.open_clock()
            if self._server is not None:
                self._server.listen(supervisor.inbox)
                self._loop.watch(self._server, self._server.read)
                if self._oscquery is not None:
                    self._oscquery.start()
                logger.info("listening host=%s port=%d", self._server.host, self._server.port)
            watch = threading.Thread(target=self._watch, args=(supervisor,), name="pe-watch", daemon=True)
            watch.start()
            started.set_result(None)
            self._turn(supervisor)
            supervisor.segment.raise_signal()
            watch.join()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            else:
                logger.exception("the engine's loop has failed")
        finally:
            self._is_closed = True
            if self._oscquery is not None:
                self._oscquery.withdraw()
            if self._feed is not None:
                self._feed.close()
            if self._midi is not None:
                self._midi.close()
            if self._dispatcher is not None:
                self._dispatcher.notifier.close()
            if supervisor is not None:
                supervisor.close()
            if self._server is not None:
                self._server.close()
            if self._oscquery is not None:
                self._oscquery.close()
            self._loop.close()
            self._has_ended.set()
            self._refuse_unanswered()

    def _await_workers(self, supervisor: Supervisor) -> None:
        """Wait until both slots have rendered their lead: the first request finds its block."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_closed:
            self._loop.run_once(0.002)
            if self._loop.failure is not None:
                raise self._loop.failure
            if supervisor.is_set_up:
                return
            if time.monotonic() > deadline:
                break
        raise WorkerError("the workers did not start rendering in time")

    def _turn(self, supervisor: Supervisor) -> None:
        is_free = self.options.device == "free"
        while not self._is_closed:
            self._loop.run_once(GRANT_S if is_free and self._needs_blocks else 1.0)
            if is_free and self._needs_blocks:
                supervisor.grant()

    def _watch(self, supervisor: Supervisor) -> None:
        """Sleep on the shared signal word (without the GIL) and pass each change on to the loop."""
        seen = supervisor.segment.signal_value
        while not self._is_closed:
            now = supervisor.segment.wait_signal(seen, 200)
            if now != seen:
                seen = now
                self._loop.call(self._on_signal)

    def _group(self, group: list[Any], received_s: float, wall_s: float | None, stamp: int | None = None) -> None:
        assert self._dispatcher is not None
        self._dispatcher.group(group, received_s, wall_s, stamp)

    def _on_signal(self) -> None:
        assert self._supervisor is not None and self._dispatcher is not None
        self._supervisor.on_signal()
        self._dispatcher.answer_syncs()

    @property
    def _needs_blocks(self) -> bool:
        assert self._supervisor is not None and self._dispatcher is not None
        return self._supervisor.needs_blocks or self._dispatcher.is_waiting

    # ---- calls from other threads ---------------------------------------------------------------------

    def submit(self, command: Command) -> Future[Any]:
        """Hand a command in; the future holds its result or the EngineError it was refused with."""
        return self.submit_bundle([command])[0]

    def submit_bundle(self, bundle: list[Command], at: float | None = None) -> list[Future[Any]]:
        """Hand commands in that take effect at one frame; at: Unix seconds, None for now."""
        received_s = time.monotonic()
        futures: list[Future[Any]] = [Future() for _ in bundle]
        pairs = [(c, _settler(f)) for c, f in zip(bundle, futures, strict=True)]
        self._call(lambda: self._group(pairs, received_s, at), futures)
        return futures

    def _call(self, action: Any, futures: list[Future[Any]]) -> None:
        """Run an action in the loop's thread; it answers the futures, or the end of the engine does."""
        if self._is_closed:
            raise EngineError(CLOSED)
        for future in futures:
            self._unanswered.add(future)
            future.add_done_callback(self._unanswered.discard)
        self._loop.call(action)
        if self._has_ended.is_set():  # just now: the action may have come too late
            self._refuse_unanswered()

    def _refuse_unanswered(self) -> None:
        for future in self._unanswered.copy():
            _settler(future)(EngineError(CLOSED))

    def _ask(self, function: Any) -> Any:
        """Run a function in the loop's thread and return its result."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        self._call(run, [future])
        return future.result(START_TIMEOUT_S)

    def do(self, command: Command, timeout_s: float = DO_TIMEOUT_S) -> Any:
        """Execute a command and return its result. Raises the EngineError it was refused with."""
        try:
            return self.submit(command).result(timeout_s)
        except FutureTimeoutError:
            raise EngineError(f"no answer to {shown(command)} within {timeout_s:g} s") from None

    def _report(self, command: Command) -> dict[str, Any]:
        """Execute a command and return its answer, {} where that has no parts."""
        result = self.do(command, LISTEN_TIMEOUT_S if isinstance(command, commands.EngineListen) else DO_TIMEOUT_S)
        return result if isinstance(result, dict) else {}

    def set(self, module_id: str, param: str, value: float | str, *, immediate: bool = False) -> None:
        """Set a parameter, in its unit; the value may be the name of a choice. immediate: without a ramp."""
        self.do(commands.SetParam(module_id, param, value, immediate))

    @property
    def osc_port(self) -> int | None:
        """The UDP port it listens on, None without OSC."""
        return self._server.port if self._server else None

    @property
    def osc_tcp_port(self) -> int | None:
        """The TCP port it listens on, None without OSC over TCP."""
        return self._server.streams.port if self._server else None

    @property
    def oscquery_port(self) -> int | None:
        """The HTTP port that tools find the parameters at, None without OSCQuery."""
        return self._oscquery.port if self._oscquery else None

    @property
    def is_announced(self) -> bool:
        """Whether tools are told of OSCQuery by mDNS."""
        return self._oscquery is not None and self._oscquery.announces

    @property
    def frames(self) -> int:
        """Frames put out so far, silence included."""
        return self._running.frames

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None or self._is_closed:
            raise EngineError(CLOSED)
        return self._supervisor

    # ---- who plays ---------------------------------------------------------------------------------------

    def open_midi(
        self,
        port: str = "",
        *,
        to: Iterable[str] = (),
        cc: Iterable[str] = (),
        bend_semitones: float = 2.0,
    ) -> str:
        """Play what comes from a MIDI input on the patch that sounds, and return the input's name.

        port: its name or part of it, '' for the first. to: 'ID' for all channels, '10=drums' for one; where none is
        given the patch's `voices` play. cc: '[CHANNEL:]NUMBER=MODULE.PARAM[=LOW..HIGH]', such as '74=filt1.cutoff'.
        bend_semitones: 0..48, at the end of the wheel. Notes, pedal (64), wheel and controllers are heard at the
        engine's latency and 2 ms after they came. Where the input goes away its notes end, and it is played again
        when it is back. Needs `pip install 'pyengine[midi]'`. Raises MidiError, CommandError.
        """
        from pyengine.midi_in.launch import MidiIn, start
        from pyengine.midi_in.player import Player

        player = Player(to, cc, bend_semitones, self.options.sample_rate_hz)
        if self._midi is not None:
            raise CommandError("a MIDI input is open already; an engine has one")
        started, name = start(port)

        def adopt() -> None:
            assert self._dispatcher is not None
            group = self._dispatcher.group
            self._midi = MidiIn(
                started, name, player, self._running, self._loop, lambda pairs, at_s: group(pairs, at_s, None)
            )
            self._dispatcher.midi = self._midi

        try:
            self._ask(adopt)
        except BaseException:
            started.close()
            raise
        logger.info("midi input %r", name)
        return name

    # ---- who watches ------------------------------------------------------------------------------------

    def open_page(self, port: int = 0) -> str:
        """Serve a page that shows the engine, on the loopback, and return its address; 0: any free port.

        Needs `pip install 'pyengine[web]'`, and OSC: what is done on the page is sent there.
        Raises CommandError, PortInUseError.
        """
        address: str = self._ask(lambda: self._open_page(port))
        return address

    def _open_page(self, port: int) -> str:
        from pyengine.eyes.feed import Feed, listen

        assert self._dispatcher is not None
        if self._server is None:
            raise CommandError("the page sends its commands by OSC, and this engine has no OSC port; give it osc_port")
        if self._feed is not None:
            raise CommandError("the page is open already; an engine has one")
        listener = listen(port)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        feed = self._feed = Feed(self._running, self._loop, listener, self._server.port)
        feed.facts = lambda: {"osc": self._server.status()} if self._server else {}
        feed.late_commands = lambda: self._dispatcher.late_commands if self._dispatcher else 0
        self._dispatcher.on_answer.append(feed.on_answer)
        self._server.on_refused.append(feed.on_refused)
        logger.info("page on %s", address)
        return address

    # ---- the free-running clock -------------------------------------------------------------------------

    def advance(self, seconds: float | None = None, *, frames: int | None = None, timeout_s: float = 60.0) -> int:
        """Let the free-running clock put out so much more, wait for it, and return the frames so far."""
        if (seconds is None) == (frames is None):
            raise CommandError("give either seconds or frames, and not both")
        n = round(seconds * self.options.sample_rate_hz) if seconds is not None else int(frames or 0)
        until = self._ask(lambda: self._running.allow(n))
        clock = self._running.driver.clock if self._running.driver else None
        assert clock is not None
        deadline = time.monotonic() + timeout_s
        while not clock.wait(until, 500):
            if self._is_closed or time.monotonic() > deadline:
                raise EngineError(f"the free-running clock did not reach frame {until} within {timeout_s:g} s")
        return self.frames

    def run_free(self) -> None:
        """Let the free-running clock go on without a limit."""
        self._ask(lambda: self._running.allow(None))

    # ---- end ----------------------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the engine has ended; False when it still runs after the time-out."""
        return self._has_ended.wait(timeout_s)

    def close(self) -> None:
        """End the engine, its workers and its recording; a second call does no harm."""
        self._is_closed = True
        self._loop.call(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join(10.0)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"frames={self.frames}"
        o = self.options
        return f"<pyengine.Engine device={o.device!r} rate={o.sample_rate_hz:g} block={o.block_frames} {state}>"


def _settler(future: Future[Any]) -> Any:
    def settle(result: Any) -> None:
        try:
            if isinstance(result, EngineError):
                future.set_exception(result)
            else:
                future.set_result(result)
        except InvalidStateError:
            pass  # answered already, or the engine ended meanwhile

    return settle


def _oscquery(server: OscServer, loop: Loop, options: Options) -> OscQuery:
    from pyengine.oscquery.launch import OscQuery

    return OscQuery(server, loop, options.oscquery_port or 0, options.announces)


def _fault(name: str, value: object, low: float, high: float, is_whole: bool) -> str:
    """Return what is wrong with an option's number, '' if nothing is."""
    allowed = f"{low:.12g}..{high:.12g}"
    if isinstance(value, bool) or not isinstance(value, Integral if is_whole else Real):
        return f"{name}={shown(value)} is not a {'whole ' if is_whole else ''}number; give {allowed}"
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return "" if low <= number <= high else f"{name}={number_text(number)} is outside {allowed}"


def _check(options: Options) -> None:
    """Raise one CommandError that names every option outside its range."""
    rows: list[tuple[str, object, float, float]] = [
        ("sample_rate", options.sample_rate_hz, 1000, 768000),
        ("block_frames", options.block_frames, 1, 8192),
        ("lead_blocks", options.lead_blocks, 1, 8),
        ("channels", options.n_channels, 1, 8),
        ("prime_timeout_ms", options.prime_timeout_ms, 1, 60000),
        ("crossfade_ms", options.crossfade_ms, 0, 1000),
        ("probation_ms", options.probation_ms, 0, 60000),
        ("stall_ms", options.stall_ms, 200, 60000),
        ("history_s", options.history_s, 0, 600),
    ]
    if options.osc_port is not None:
        rows.append(("osc_port", options.osc_port, 0, 65535))
    if options.oscquery_port is not None:
        rows.append(("oscquery_port", options.oscquery_port, 0, 65535))
    if options.osc_tcp_port is not None:
        rows.append(("osc_tcp_port", options.osc_tcp_port, 0, 65535))
    whole = ("block_frames", "lead_blocks", "channels", "osc_port", "osc_tcp_port", "oscquery_port")
    faults = [text for name, value, low, high in rows if (text := _fault(name, value, low, high, name in whole))]
    if options.oscquery_port is not None and options.osc_port is None:
        faults.append("oscquery_port is given without osc_port; OSCQuery describes what is taken there: give both")
    if options.osc_tcp_port is not None and options.osc_port is None:
        faults.append("osc_tcp_port is given without osc_port; TCP is beside UDP: give both")
    if options.on_prime_timeout not in ("keep", "swap"):
        faults.append(f"on_prime_timeout={options.on_prime_timeout!r} is neither 'keep' nor 'swap'")
    if isinstance(options.latency, float):
        if not 0 < options.latency <= MAX_LATENCY_MS:
            faults.append(f"latency={options.latency:g} is outside 0..{MAX_LATENCY_MS:g} ms")
    elif options.latency not in ("shortest", "asap"):
        faults.append(f"latency={shown(options.latency)} is neither 'shortest' nor 'asap' nor a number of ms")
    if options.standby not in ("hot", "cold"):
        faults.append(f"standby={options.standby!r} is neither 'hot' nor 'cold'")
    if options.recordings.exists() and not options.recordings.is_dir():
        faults.append(
            f"recordings={shown(str(options.recordings))} is a file; give a folder, or one that is yet to be made"
        )
    if faults:
        raise CommandError("; ".join(faults))

"""The process that serves the page: static files and one WebSocket per browser, on the loopback.

It maps the segment for reading only. A browser that reads slowly misses pictures, one that sends too much is throttled
and then cut; what it sends goes to the engine's OSC port, and the answers come from there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections import deque
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from pythonosc.osc_message_builder import BuildError, OscMessageBuilder
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pyengine import _native, osc
from pyengine.errors import EngineError
from pyengine.eyes import picture
from pyengine.eyes.lines import Line, encode
from pyengine.serving.guard import Throttle, refusal
from pyengine.serving.http import SETTINGS, begin_logging, inherited, response

logger = logging.getLogger(__name__)

PICTURES_A_S = 40.0  # so that 30 are drawn where some come late
MAX_PAGES = 16
MESSAGES_A_S, BURST = 400.0, 400  # of one browser: a slider that is dragged sends one for each picture, 60 a second
MOST_DROPPED = 4000  # then the connection is cut
MAX_MESSAGE_BYTES = 4096
MAX_ARGUMENTS = 8
MAX_WAITING = 500  # lines for one browser: one that reads so slowly gets all of it anew when it comes back
KEPT_LINES = 200
READ_FRAMES = picture.FFT_FRAMES
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
COUNTS = ("pages", "pages_refused", "pages_cut", "messages_received", "messages_taken", "messages_dropped")


class Page:
    """One browser. Lines wait in order, of pictures only the newest."""

    def __init__(self, connection: ServerConnection, osc_port: int) -> None:
        self.connection = connection
        self.throttle = Throttle(MESSAGES_A_S, BURST, MOST_DROPPED)
        self._lines: deque[str] = deque()
        self._picture = b""
        self._is_due = asyncio.Event()
        self.is_behind = False
        self.pictures_skipped = 0
        self.osc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.osc.setblocking(False)
        self.osc.connect(("127.0.0.1", osc_port))

    def tell(self, line: str) -> None:
        if len(self._lines) >= MAX_WAITING:
            self.is_behind = True
            return
        self._lines.append(line)
        self._is_due.set()

    def show(self, picture: bytes) -> None:
        self.pictures_skipped += bool(self._picture)
        self._picture = picture
        self._is_due.set()

    async def write(self) -> None:
        """Send what is due, at the browser's pace."""
        while not self.is_behind:
            await self._is_due.wait()
            self._is_due.clear()
            while self._lines:
                await self.connection.send(self._lines.popleft())
            picture, self._picture = self._picture, b""
            if picture:
                await self.connection.send(picture)
        await self.connection.close(1013, "this browser reads too slowly")

    async def read_answers(self) -> None:
        """Pass on what the engine answers to this page's own commands."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                reply = osc.decode_reply(await loop.sock_recv(self.osc, 65536))
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)
                continue
            except EngineError:
                continue
            self.tell(json.dumps({"t": "reply", "ok": reply.ok, "address": reply.address, "args": reply.args}))

    def send_osc(self, address: Any, args: Any) -> None:
        """Send a command to the engine. Raises ValueError for what is none."""
        if not isinstance(address, str) or not address.startswith("/") or not isinstance(args, list):
            raise ValueError("a command is an address and a list of arguments")
        if len(args) > MAX_ARGUMENTS or not all(isinstance(x, str | int | float) for x in args):
            raise ValueError(f"at most {MAX_ARGUMENTS} arguments, numbers or strings")
        builder = OscMessageBuilder(address)
        for x in args:
            builder.add_arg(x, "d" if isinstance(x, float) else None)
        try:
            self.osc.send(builder.build().dgram)
        except BuildError as error:
            raise ValueError(str(error)) from error
        except OSError as error:
            raise ValueError(f"the engine's OSC port takes nothing: {error.strerror}") from error


class Server:
    """What all pages share: the engine's lines, the segment, and the pictures made of it."""

    def __init__(self, segment: _native.Segment, engine: socket.socket) -> None:
        self._segment = segment
        self._engine = engine
        self._pages: set[Page] = set()
        self._hello: Line = {}
        self._patch: Line = {}
        self._status: Line = {}
        self._kept: deque[Line] = deque(maxlen=KEPT_LINES)
        self._handles: list[int] = []
        self._seq = 0
        self._values: dict[tuple[int, int], float] = {}
        self._port = 0
        self._has_hello = asyncio.Event()
        self._counts = dict.fromkeys(COUNTS, 0)

    # ---- the engine's lines -----------------------------------------------------------------------------

    async def run(self, listener: socket.socket) -> None:
        """Serve until the engine has gone."""
        reader, self._writer = await asyncio.open_connection(sock=self._engine, limit=32 << 20)
        self._port = listener.getsockname()[1]
        async with serve(
            self._page,
            sock=listener,
            process_request=self._request,
            max_size=MAX_MESSAGE_BYTES,
            **SETTINGS,
        ):
            pictures = asyncio.ensure_future(self._pictures())
            try:
                while line := await reader.readline():
                    self._on_line(json.loads(line))
            except ConnectionError:
                pass
            finally:
                pictures.cancel()

    def _on_line(self, line: Line) -> None:
        kind = line["t"]
        if kind == "hello":
            self._hello = line
            self._has_hello.set()
        elif kind == "patch":
            self._take_patch(line)
            return
        elif kind == "status":
            self._status = line
            line["web"] = self.counts()
        else:
            self._kept.append(line)
        self._tell(line)

    def _take_patch(self, line: Line) -> None:
        """A patch comes with the values up to a number; what was set since is told once more behind it."""
        if self._patch:
            self._settings()
        self._patch = line
        self._handles = [node["handle"] for node in line["nodes"]]
        self._values, self._seq = _native.settings_since(self._segment, int(line["seq"]) + 1)
        self._tell(line)
        self._tell(self._again())

    def _again(self) -> Line:
        """All values that the patch has not: none of them is news."""
        return {"t": "values", "is_news": False, "values": [[*key, value] for key, value in self._values.items()]}

    def counts(self) -> dict[str, int]:
        """Return what came in from browsers, those that have gone included."""
        counts = dict(self._counts)
        for page in self._pages:
            _count(counts, page.throttle)
        return counts | {"pages": len(self._pages)}

    def _tell(self, line: Line) -> None:
        text = json.dumps(line)
        for page in self._pages:
            page.tell(text)

    def _say(self, line: Line) -> None:
        self._writer.write(encode(line))

    # ---- pictures -----------------------------------------------------------------------------------------

    async def _pictures(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + 1 / PICTURES_A_S, loop.time())
            await asyncio.sleep(due - loop.time())
            if not self._pages or not self._patch:
                continue
            try:
                self._picture()
            except Exception:
                logger.exception("a picture could not be made")

    def _picture(self) -> None:
        segment = self._segment
        config = segment.config
        data, n_fed = segment.tail(READ_FRAMES)
        output = np.frombuffer(data, np.float32).reshape(-1, config.n_channels)
        made = picture.pack(
            int(self._patch["revision"]),
            self._handles,
            segment.levels(),
            segment.shown(),
            output,
            n_fed,
            segment.play_block,
            config.sample_rate_hz,
        )
        self._settings()
        for page in self._pages:
            page.show(made)

    def _settings(self) -> None:
        """Tell the values that were set since the last picture, whoever set them."""
        values, self._seq = _native.settings_since(self._segment, self._seq)
        if values:
            self._values |= values
            told = [[*key, value] for key, value in values.items()]
            self._tell({"t": "values", "is_news": True, "values": told})

    # ---- browsers -----------------------------------------------------------------------------------------

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request for a file, refuse one from elsewhere; None lets a WebSocket through."""
        why = refusal(request.headers, self._port, is_loopback=True)
        if why:
            self._counts["pages_refused"] += 1
            return _response(HTTPStatus.FORBIDDEN, f"{why}\n")
        path = request.path.partition("?")[0]
        if path == "/ws":
            if len(self._pages) < MAX_PAGES:
                return None
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_PAGES} pages are open; close one\n")
        name = "index.html" if path == "/" else path[1:]
        if name not in _FILES:
            return _response(HTTPStatus.NOT_FOUND, f"there is no {path[:100]}\n")
        return _response(HTTPStatus.OK, _FILES[name], TYPES[Path(name).suffix])

    async def _page(self, connection: ServerConnection) -> None:
        await self._has_hello.wait()
        page = Page(connection, int(self._hello["osc_port"]))
        for line in (self._hello, self._patch, self._again(), self._status, *self._kept):
            if line:
                page.tell(json.dumps(line))
        self._pages.add(page)
        self._say({"t": "watchers", "n": len(self._pages)})
        tasks = [asyncio.ensure_future(task) for task in (page.write(), page.read_answers())]
        try:
            await self._listen(page)
        except ConnectionClosed:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            page.osc.close()
            self._pages.discard(page)
            _count(self._counts, page.throttle)
            self._say({"t": "watchers", "n": len(self._pages)})

    async def _listen(self, page: Page) -> None:
        async for text in page.connection:
            if not page.throttle.takes(time.monotonic()):
                if page.throttle.is_flooded:
                    self._counts["pages_cut"] += 1
                    await page.connection.close(1008, "too many messages")
                    return
                continue
            try:
                self._on_message(page, json.loads(text))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                page.tell(json.dumps({"t": "reply", "ok": False, "address": "", "args": [f"not understood: {error}"]}))

    def _on_message(self, page: Page, message: Any) -> None:
        if not isinstance(message, dict):
            raise ValueError("a message is an object")
        if "kill" in message:
            self._say({"t": "kill"})
        elif "echo" in message:  # how far behind this page is
            page.tell(json.dumps({"t": "echo", "n": float(message["echo"])}))
        else:
            page.send_osc(message["address"], message.get("args", []))


def _count(counts: dict[str, int], throttle: Throttle) -> None:
    counts["messages_received"] += throttle.received
    counts["messages_taken"] += throttle.taken
    counts["messages_dropped"] += throttle.dropped


def _response(code: HTTPStatus, body: str | bytes, type: str = "text/plain") -> Response:
    data = body.encode() if isinstance(body, str) else body
    return response(code, data, f"{type}; charset=utf-8", HEADERS)


_FILES = {
    file.name: file.read_bytes()
    for file in files("pyengine.eyes").joinpath("page").iterdir()
    if Path(file.name).suffix in TYPES
}


def main(arguments: str) -> None:
    """The process: `arguments` as feed.py gives them."""
    fds = json.loads(arguments)
    begin_logging()
    segment = _native.Segment.look(fds["segment"])
    asyncio.run(Server(segment, inherited(fds["lines"])).run(inherited(fds["listener"])))

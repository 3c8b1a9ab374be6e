"""The process that serves OSCQuery: HTTP answers and WebSockets, fed by the engine over OSC."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import time
from collections import deque
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pyengine import osc
from pyengine.framing import framed
from pyengine.messages import MAX_DATAGRAM_BYTES, build
from pyengine.oscquery.announce import JSON, TCP, UDP, Announcer
from pyengine.oscquery.namespace import ATTRIBUTES, Changes, Namespace
from pyengine.serving.guard import Throttle, refusal
from pyengine.serving.http import SETTINGS, begin_logging, inherited, response

logger = logging.getLogger(__name__)

MAX_TOOLS = 32  # WebSockets that are open
MAX_LISTENED = 20_000  # paths of one tool
MAX_WAITING = 1000  # messages for one tool; one that reads so slowly is cut
MESSAGES_A_S, BURST, MOST_DROPPED = 1000.0, 1000, 5000  # of one tool; then it is cut
MAX_REQUEST_BYTES = 8192
ASK_S = 30.0
NICE = 5  # the audio comes first
TAKEN = (b"/mod/", b"/gate/")  # what a tool may send over its WebSocket; all else goes to the OSC port
EXTENSIONS = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "TYPE", "UNIT", "CLIPMODE")
COMMANDS = ("LISTEN", "IGNORE", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED")


class Engine:
    """The engine at the other end of a socket pair: OSC packets with their length before them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._asked: dict[str, deque[asyncio.Future[osc.Reply]]] = {}
        self.events: asyncio.Queue[osc.Event] = asyncio.Queue()

    def send(self, packet: bytes) -> None:
        self._writer.write(framed(packet, "length"))

    async def ask(self, address: str, *args: Any) -> Any:
        """Send a request and return the JSON of its answer. Raises ValueError where it is refused."""
        future: asyncio.Future[osc.Reply] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(address, deque()).append(future)
        self.send(build(address, args))
        reply = await asyncio.wait_for(future, ASK_S)
        if not reply.ok:
            raise ValueError(f"{address}: {reply.args}")
        return json.loads(str(reply.args[0]))

    async def ask_all(self, address: str, name: str) -> list[Any]:
        """Return the rows of all pages of a list."""
        rows: list[Any] = []
        first = 0
        while first >= 0:
            page = await self.ask(address, "first", first)
            rows += page[name]
            first = page["next"]
        return rows

    async def run(self) -> None:
        """Read until the engine has gone."""
        try:
            while True:
                (size,) = struct.unpack(">I", await self._reader.readexactly(4))
                self._take(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    def _take(self, packet: bytes) -> None:
        event = osc.decode_event(packet)
        if event is not None:
            self.events.put_nowait(event)
            return
        reply = osc.decode_reply(packet)
        waiting = self._asked.get(reply.address)
        if waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(reply)


class Tool:
    """One WebSocket. Texts wait in order; of each path only the newest value."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.listened: set[str] = set()
        self.throttle = Throttle(MESSAGES_A_S, BURST, MOST_DROPPED)
        self._texts: deque[str] = deque()
        self._values: dict[str, bytes] = {}
        self._is_due = asyncio.Event()
        self.is_behind = False

    def tell(self, text: str) -> None:
        self.is_behind = self.is_behind or len(self._texts) >= MAX_WAITING
        if not self.is_behind:
            self._texts.append(text)
        self._is_due.set()

    def show(self, path: str, message: bytes) -> None:
        self._values[path] = message
        self._is_due.set()

    async def write(self) -> None:
        """Send what is due, at the tool's pace."""
        while not self.is_behind:
            await self._is_due.wait()
            self._is_due.clear()
            while self._texts:
                await self.connection.send(self._texts.popleft())
            while self._values:
                await self.connection.send(self._values.pop(next(iter(self._values))))
        await self.connection.close(1013, "this tool reads too slowly")


class Server:
    """What all tools share: the tree, and the engine that it describes."""

    def __init__(self, engine: Engine, facts: dict[str, Any]) -> None:
        self._engine = engine
        self._facts = facts
        self._port = 0
        self._tree = Namespace((), ())
        self._tools: set[Tool] = set()
        self._is_ready = asyncio.Event()
        self._is_stale = False
        self._is_fetching = False
        self._generation = -1
        self._announcer: Announcer | None = None

    # ---- the engine ----------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Fetch the tree and keep it up with the engine."""
        types = await self._engine.ask_all("/engine/modules", "modules")
        commands = await self._engine.ask_all("/engine/commands", "commands")
        self._tree = Namespace(types, commands)
        await self._engine.ask("/notify", 1, "commits", "slots", "values")
        await self._fetch()
        self._is_ready.set()
        while True:
            self._on_event(await self._engine.events.get())

    def _on_event(self, event: osc.Event) -> None:
        if event.address == "/event/value":
            id, param, value = event.args
            for path in self._tree.set_value(str(id), str(param), float(value or 0)):
                self._show(path)
        elif event.address == "/event/slot":
            _, state, generation = event.args
            if state == "active" and generation != self._generation:
                self._generation = int(generation or 0)
                self._refresh()
        elif event.address in ("/event/commit", "/event/rollback", "/event/lost"):
            self._refresh()

    def _refresh(self) -> None:
        """Fetch the patch again; once more if something happens meanwhile."""
        self._is_stale = True
        if not self._is_fetching:
            self._is_fetching = True
            self._fetching = asyncio.ensure_future(self._fetch_while_stale())

    async def _fetch_while_stale(self) -> None:
        try:
            while self._is_stale:
                self._is_stale = False
                await self._fetch()
        except (ValueError, TimeoutError, asyncio.TimeoutError) as error:
            logger.error("the patch could not be fetched: %s", error)
        finally:
            self._is_fetching = False

    async def _fetch(self) -> None:
        dump = await self._engine.ask("/patch/dump")
        before = {path: self._tree.message(path) for tool in self._tools for path in tool.listened}
        self._tell(self._tree.set_patch(dump["committed"]))
        for path, message in before.items():
            if self._tree.message(path) != message:
                self._show(path)

    def _tell(self, changes: Changes) -> None:
        rows = [("PATH_REMOVED", path) for path in changes.removed]
        rows += [("PATH_ADDED", path) for path in changes.added] + [("PATH_CHANGED", path) for path in changes.changed]
        for command, path in rows:
            text = json.dumps({"COMMAND": command, "DATA": path})
            for tool in self._tools:
                tool.tell(text)

    def _show(self, path: str) -> None:
        listeners = [tool for tool in self._tools if path in tool.listened]
        message = self._tree.message(path) if listeners else None
        if message is not None:
            for tool in listeners:
                tool.show(path, message)

    # ---- HTTP ----------------------------------------------------------------------------------------

    async def run(self, listener: socket.socket) -> None:
        """Serve until the engine has gone."""
        self._port = listener.getsockname()[1]
        self._is_loopback = ip_address(listener.getsockname()[0]).is_loopback
        reading = asyncio.ensure_future(self._engine.run())
        following = asyncio.ensure_future(self.follow())
        announced = None
        if self._facts["announces"]:
            ports = {JSON: self._port, UDP: self._facts["osc_port"], TCP: self._facts["osc_tcp_port"]}
            there = {kind: port for kind, port in ports.items() if port is not None}
            self._announcer = Announcer(self._facts["name"], self._facts["osc_host"], there)
            announced = asyncio.ensure_future(self._announcer.start())
        async with serve(
            self._talk,
            sock=listener,
            process_request=self._answer,
            max_size=MAX_REQUEST_BYTES,
            **SETTINGS,
        ):
            await asyncio.wait([reading, following], return_when=asyncio.FIRST_COMPLETED)
            if self._announcer is not None and announced is not None:
                announced.cancel()
                await asyncio.gather(announced, return_exceptions=True)
                await self._announcer.close()
            reading.cancel()
            if following.done():
                following.result()
            following.cancel()

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a question; None lets a WebSocket through."""
        names = (self._announcer.host_name,) if self._announcer is not None else ()
        why = refusal(request.headers, self._port, self._is_loopback, names)
        if why:
            return _response(HTTPStatus.FORBIDDEN, {"ERROR": why})
        await self._is_ready.wait()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if len(self._tools) < MAX_TOOLS:
                return None
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, {"ERROR": f"{MAX_TOOLS} tools are connected; close one"})
        path, _, query = request.path.partition("?")
        if query == "HOST_INFO":
            return _response(HTTPStatus.OK, self._host_info(connection))
        if query and query not in ATTRIBUTES:
            known = ", ".join(("HOST_INFO", *ATTRIBUTES))
            return _response(
                HTTPStatus.BAD_REQUEST, {"ERROR": f"unknown query {query[:100]!r}; ask for one of {known}"}
            )
        node = self._tree.describe(unquote(path))
        if node is None:
            return _response(HTTPStatus.NOT_FOUND, {"ERROR": f"nothing is at {path[:300]!r}"})
        if not query:
            return _response(HTTPStatus.OK, node)
        if query not in node:
            return _response(HTTPStatus.NO_CONTENT, None)
        return _response(HTTPStatus.OK, {query: node[query]})

    def _host_info(self, connection: ServerConnection) -> dict[str, Any]:
        here = connection.local_address[0]
        host = here if self._facts["osc_host"] == "0.0.0.0" else self._facts["osc_host"]
        return {
            "NAME": self._announcer.name if self._announcer is not None else self._facts["name"],
            "OSC_IP": host,
            "OSC_PORT": self._facts["osc_port"],
            "OSC_TRANSPORT": "UDP",
            "WS_IP": here,
            "WS_PORT": self._port,
            "EXTENSIONS": dict.fromkeys((*EXTENSIONS, *COMMANDS), True),
        }

    # ---- WebSockets ----------------------------------------------------------------------------------

    async def _talk(self, connection: ServerConnection) -> None:
        tool = Tool(connection)
        self._tools.add(tool)
        writing = asyncio.ensure_future(tool.write())
        try:
            async for message in connection:
                if tool.throttle.takes(time.monotonic()):
                    self._on_message(tool, message)
                elif tool.throttle.is_flooded:
                    await connection.close(1008, "too many messages")
        except ConnectionClosed:
            pass
        finally:
            self._tools.discard(tool)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    def _on_message(self, tool: Tool, message: str | bytes) -> None:
        """Take a command, or the setting of a value; what is neither is passed over, as the protocol has no answers."""
        if isinstance(message, bytes):
            if message.startswith(TAKEN) and len(message) <= MAX_DATAGRAM_BYTES:
                self._engine.send(message)
            return
        try:
            asked = json.loads(message)
            command, path = asked["COMMAND"], asked["DATA"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if not isinstance(path, str):
            return
        if command == "IGNORE":
            tool.listened.discard(path)
        elif command == "LISTEN" and len(tool.listened) < MAX_LISTENED:
            value = self._tree.message(path)
            if value is not None:
                tool.listened.add(path)
                tool.show(path, value)


def _response(code: HTTPStatus, body: Any) -> Response:
    return response(code, None if body is None else json.dumps(body, allow_nan=False).encode(), "application/json")


async def _serve(engine: socket.socket, listener: socket.socket, facts: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection(sock=engine)
    await Server(Engine(reader, writer), facts).run(listener)


def main(arguments: str) -> None:
    """The process: `arguments` as launch.py gives them."""
    given = json.loads(arguments)
    begin_logging()
    os.nice(NICE)
    asyncio.run(_serve(inherited(given["engine"]), inherited(given["listener"]), given["facts"]))

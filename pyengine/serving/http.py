"""The process's side: answers over HTTP, and how WebSockets are served. Needs the package websockets."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Response

ALL_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Connection": "close"}
SETTINGS: dict[str, Any] = {  # of websockets.asyncio.server.serve
    "max_queue": 32,
    "write_limit": 1 << 18,
    "compression": None,
    "open_timeout": 10,
    "ping_interval": 20,
    "ping_timeout": 60,
    "close_timeout": 2,
    "server_header": None,
}


def response(code: HTTPStatus, body: bytes | None, type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer; body None: it has none."""
    about = {} if body is None else {"Content-Type": type, "Content-Length": str(len(body))}
    return Response(code.value, code.phrase, Headers(about | ALL_HEADERS | dict(headers or {})), body or b"")


def inherited(descriptor: int) -> socket.socket:
    """Return a socket that the engine has handed over, for asyncio."""
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


def begin_logging() -> None:
    """Log to stderr what is wrong here; what strangers send is not worth a line each."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("websockets").setLevel(logging.CRITICAL)

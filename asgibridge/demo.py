"""The application that is served when none is named: one page that shows the server at work.

Twice the same, as a WSGI application (`app`, because threads are what the project is about) and
as an ASGI application (`asgi`).  What to answer is decided once, in `_plan()`; the two ends only
do it: wait, write over time, read a body.  Every answer is bounded, in time and in memory.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from urllib.parse import parse_qs

from asgibridge import __version__
from asgibridge.demo_chat import talk
from asgibridge.demo_pages import CHAT_POLICY, chat_page, main_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from a2wsgi.asgi_typing import HTTPScope, Receive, Scope, Send
    from a2wsgi.wsgi_typing import Environ, InputStream, StartResponse

__all__ = ["DemoError", "app", "asgi", "wsgi"]

# A visitor must not be able to hold a thread for longer than a curious person waits.
_MAX_SECONDS: Final = 30.0
_STREAM_CHUNKS: Final = 10
_READ_BYTES: Final = 65536

_TEXT: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"

# What visitors send is shown to them again: escaped, never sniffed, and no script runs anyway.
_SAFETY: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    ("X-Content-Type-Options", "nosniff"),
)

Headers: TypeAlias = list[tuple[str, str]]


class DemoError(RuntimeError):
    """Raised by `/error`, on purpose: to see what the server makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What the page tells about, whichever interface it came through."""

    method: str
    root: str  # what stands before the application's own paths
    path: str
    query: str
    headers: Headers
    interface: str
    loop: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A whole response, after *wait* seconds."""

    status: int = 200
    content_type: str = _TEXT
    body: str = ""
    wait: float = 0.0
    extra: tuple[tuple[str, str], ...] = ()
    policy: str = ""  # in place of the usual one

    def headers(self, body: bytes) -> Headers:
        length = ("Content-Length", str(len(body)))
        safety = dict(_SAFETY)
        if self.policy:
            safety["Content-Security-Policy"] = self.policy
        return [("Content-Type", self.content_type), length, *safety.items(), *self.extra]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """Lines with pauses between them, *seconds* in all."""

    seconds: float

    @property
    def pause(self) -> float:
        return self.seconds / _STREAM_CHUNKS

    def lines(self) -> Iterator[bytes]:
        for number in range(1, _STREAM_CHUNKS + 1):
            clock = time.strftime("%H:%M:%S")
            yield f"{clock}  chunk {number} of {_STREAM_CHUNKS}\n".encode()


class _Echo:
    """The request's body, sent back as it comes."""


def wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Serve the demo through WSGI."""
    match _plan(_request_of_environ(environ)):
        case _Answer() as answer:
            body = answer.body.encode()
            time.sleep(answer.wait)
            start_response(_status_line(answer.status), answer.headers(body))
            return [body]
        case _Stream() as stream:
            start_response(_status_line(200), [("Content-Type", _TEXT), *_SAFETY])
            return _paced(stream)
        case _Echo():
            length = environ.get("CONTENT_LENGTH") or None
            start_response(_status_line(200), _echo_headers(length))
            # Without a length only a server that ends the input by itself may be read from.
            left = (
                math.inf if cast("dict[str, object]", environ).get("wsgi.input_terminated") else 0
            )
            return _read(environ["wsgi.input"], float(length) if length else left)


def _paced(stream: _Stream) -> Iterator[bytes]:
    for line in stream.lines():
        time.sleep(stream.pause)
        yield line


def _read(stream: InputStream, left: float) -> Iterator[bytes]:
    while chunk := stream.read(int(min(left, _READ_BYTES))):
        left -= len(chunk)
        yield chunk


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the demo through ASGI: HTTP, lifespan, and the chat's WebSockets."""
    match scope["type"]:
        case "http":
            await _serve_http(scope, receive, send)
        case "lifespan":
            await _serve_lifespan(receive, send)
        case "websocket":
            await talk(scope, receive, send)


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _serve_http(scope: HTTPScope, receive: Receive, send: Send) -> None:
    match _plan(_request_of_scope(scope)):
        case _Answer() as answer:
            body = answer.body.encode()
            await asyncio.sleep(answer.wait)
            await _start(send, answer.status, answer.headers(body))
            await _send_body(send, body)
        case _Stream() as stream:
            await _start(send, 200, [("Content-Type", _TEXT), *_SAFETY])
            for line in stream.lines():
                await asyncio.sleep(stream.pause)
                await _send_body(send, line, more=True)
            await _send_body(send, b"")
        case _Echo():
            length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
            await _start(send, 200, _echo_headers(length or None))
            await _echo(receive, send)


async def _start(send: Send, status: int, headers: Headers) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _send_body(send: Send, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _echo(receive: Receive, send: Send) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":  # the client left in the middle of its upload
            return
        more = message.get("more_body", False)
        await _send_body(send, message.get("body", b""), more=more)


def _plan(request: _Request) -> _Answer | _Stream | _Echo:
    """Decide what to answer.

    Raises:
        DemoError: `/error` was asked for.
    """
    allowed = ("POST", "PUT") if request.path == "/echo" else ("GET", "HEAD")
    if request.path not in _PATHS or (request.path == "/chat" and request.interface != "ASGI"):
        return _Answer(status=404, body=f"There is nothing here; try {request.root}/\n")
    if request.method not in allowed:
        extra = (("Allow", ", ".join(allowed)),)
        return _Answer(status=405, body=f"Use {' or '.join(allowed)}.\n", extra=extra)
    match request.path:
        case "/slow" | "/stream":
            return _plan_in_time(request)
        case "/echo":
            return _Echo()
        case "/json":
            told = {"facts": _facts(request), "headers": request.headers}
            body = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
            return _Answer(content_type="application/json", body=body)
        case "/error":
            raise DemoError("this is the demo's /error; it always raises")
        case _:
            return _plan_page(request)


def _plan_page(request: _Request) -> _Answer:
    if request.path == "/chat":
        return _Answer(content_type=_HTML, body=chat_page(request.root), policy=CHAT_POLICY)
    return _Answer(content_type=_HTML, body=_page(request))


_PATHS: Final = frozenset({"/", "/chat", "/slow", "/stream", "/echo", "/json", "/error"})


def _plan_in_time(request: _Request) -> _Answer | _Stream:
    default = "1" if request.path == "/slow" else "3"
    text = parse_qs(request.query).get("seconds", [default])[0]
    seconds = _seconds(text)
    if seconds is None:
        return _Answer(status=400, body="seconds is a number from 0 to 30.\n")
    if request.path == "/stream":
        return _Stream(seconds=seconds)
    waiter = f"{request.interface}, thread {threading.current_thread().name}"
    return _Answer(body=f"Waited {seconds:g} s ({waiter}).\n", wait=seconds)


def _seconds(text: str) -> float | None:
    """Read a number of seconds and bound it; None if it is none."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, _MAX_SECONDS) if seconds >= 0 else None  # not a number is not >= 0


def _request_of_environ(environ: Environ) -> _Request:
    named = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
    headers = [
        (named.get(key) or key.removeprefix("HTTP_").replace("_", "-").lower(), str(value))
        for key, value in environ.items()
        if key.startswith("HTTP_") or (key in named and value)
    ]
    return _Request(
        method=environ["REQUEST_METHOD"],
        root=_as_text(environ.get("SCRIPT_NAME", "")).rstrip("/"),
        path=_as_text(environ.get("PATH_INFO", "")) or "/",
        query=environ.get("QUERY_STRING", ""),
        headers=sorted(headers),
        interface="WSGI",
        # The loop turns in another thread, which can't be asked from here.
        loop=f"{'uvloop' if 'uvloop' in sys.modules else 'asyncio'}, in another thread",
    )


def _as_text(latin1: str) -> str:
    """Undo what PEP 3333 does to bytes, for people to read."""
    return latin1.encode("latin-1").decode("utf-8", "replace")


def _request_of_scope(scope: HTTPScope) -> _Request:
    root = scope.get("root_path", "").rstrip("/")
    loop = type(asyncio.get_running_loop())
    return _Request(
        method=scope["method"],
        root=root,
        path=scope["path"].removeprefix(root) or "/",
        query=scope["query_string"].decode("latin-1"),
        headers=sorted((n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]),
        interface="ASGI",
        loop=f"{loop.__module__.partition('.')[0]}, in this thread",
    )


def _status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"


def _echo_headers(length: str | None) -> Headers:
    headers = [("Content-Type", _TEXT), *_SAFETY]
    return headers if length is None else [*headers, ("Content-Length", length)]


def _facts(request: _Request) -> dict[str, str]:
    thread = threading.current_thread()
    return {
        "Server": f"asgibridge {__version__}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Process": str(os.getpid()),
        "Thread": f"{thread.name} ({threading.active_count()} in the process)",
        "Event loop": request.loop,
        "Interface": request.interface,
        "Request": f"{request.method} {request.root}{request.path}",
    }


def _page(request: _Request) -> str:
    return main_page(request.interface, request.root, _facts(request).items(), request.headers)


app = wsgi

"""ASGI WebSockets: `echo` gives every message back, `broadcast` gives it to all who are connected.

Plain requests are answered, so that readiness can be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from a2wsgi.asgi_typing import Receive, Scope, Send

_ACCEPT: Any = {"type": "websocket.accept"}
_everybody: set[Callable[[Any], Awaitable[None]]] = set()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Give each message back."""
    if scope["type"] != "websocket":
        await _serve_plain(scope, receive, send)
        return
    await receive()
    await send(_ACCEPT)
    while True:
        message = cast("dict[str, Any]", await receive())
        if message["type"] != "websocket.receive":
            return
        await send(cast("Any", {"type": "websocket.send", "text": message["text"]}))


async def broadcast(scope: Scope, receive: Receive, send: Send) -> None:
    """Give each message to everybody, one after another."""
    if scope["type"] != "websocket":
        await _serve_plain(scope, receive, send)
        return
    await receive()
    await send(_ACCEPT)
    _everybody.add(send)
    try:
        while True:
            message = cast("dict[str, Any]", await receive())
            if message["type"] != "websocket.receive":
                return
            told = {"type": "websocket.send", "text": message["text"]}
            for each in list(_everybody):
                await each(told)
    finally:
        _everybody.discard(send)


async def _serve_plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request; confirm lifespan startup, then shutdown."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"14")]
        await send(cast("Any", {"type": "http.response.start", "status": 200, "headers": headers}))
        await send(cast("Any", {"type": "http.response.body", "body": b"Hello, world!\n"}))
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

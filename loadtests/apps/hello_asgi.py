"""ASGI: answers 14 bytes, whatever is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from a2wsgi.asgi_typing import (
        HTTPResponseBodyEvent,
        HTTPResponseStartEvent,
        Receive,
        Scope,
        Send,
    )

START: HTTPResponseStartEvent = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"14")],
}
BODY: HTTPResponseBodyEvent = {"type": "http.response.body", "body": b"Hello, world!\n"}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, without reading the body."""
    if scope["type"] == "lifespan":
        await _acknowledge(receive, send)
        return
    await send(START)
    await send(BODY)


async def _acknowledge(receive: Receive, send: Send) -> None:
    """Confirm lifespan startup, then shutdown; do nothing else."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return

"""ASGI WebSocket applications that the tests serve."""

from __future__ import annotations

import asyncio
from typing import Any

from apps.asgi_cases import Message, Receive, Scope, Send, body, start

__all__ = ["Recorder", "accepting", "echo", "hello_or_echo"]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and give every message back."""
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def hello_or_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer plain requests too."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
    else:
        await start(send)
        await body(send, b"hello")


async def accepting(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, then take no message."""
    del scope
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


class Recorder:
    """Echoes, and keeps what it was told.

    Attributes:
        messages: all events received.
        ended: set when the application has returned.
        scopes: those it was called with.
    """

    def __init__(self, **accept: Any) -> None:  # noqa: ANN401 - what ASGI allows there
        """Accept with these keys."""
        self.messages: list[Message] = []
        self.scopes: list[Scope] = []
        self.ended = asyncio.Event()
        self._accept = accept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", **self._accept})
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                break
            await send({**message, "type": "websocket.send"})
        self.ended.set()

    @property
    def end(self) -> tuple[int, str]:
        """Code and reason of the last event."""
        return self.messages[-1]["code"], self.messages[-1]["reason"]

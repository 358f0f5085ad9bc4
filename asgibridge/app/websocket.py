"""`receive` and `send` of one ASGI WebSocket.  [ASGI-4]

Obeys the ASGI specification 3.0, HTTP & WebSocket sub-specification 2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.handshake import offered
from asgibridge.http.lifecycle import WebSocketStage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, MutableMapping

    from asgibridge.interfaces import Exchange, WebSocket

__all__ = ["WebSocketCall", "websocket_scope"]

_CONNECTING: Final = WebSocketStage.CONNECTING
_OPEN: Final = WebSocketStage.OPEN
_VERSIONS: Final = {"version": "3.0", "spec_version": "2.5"}
_SCHEMES: Final = {"http": "ws", "https": "wss"}
_NORMAL_CLOSURE: Final = 1000
_INTERNAL_ERROR: Final = 1011
_DENIAL: Final = "websocket.http.response."


def websocket_scope(scope: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    """Make the scope of a WebSocket out of that of the request that asks for it."""
    del scope["method"]
    scope["type"] = "websocket"
    scope["asgi"] = _VERSIONS.copy()
    scope["scheme"] = _SCHEMES[scope["scheme"]]
    scope["subprotocols"] = offered(exchange.head, b"sec-websocket-protocol")
    extensions = scope["extensions"]
    scope["extensions"] = {"websocket.http.response": {}}
    if "tls" in extensions:
        scope["extensions"]["tls"] = extensions["tls"]
    return scope


class WebSocketCall:
    """What the application is called with, and what becomes of it in the end."""

    __slots__ = ("_is_introduced", "_respond", "exchange", "socket", "task")

    def __init__(
        self,
        exchange: Exchange,
        socket: WebSocket,
        respond: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Connect the application to *socket*; *respond* sends a plain response instead."""
        self.exchange = exchange
        self.socket = socket
        self.task: asyncio.Task[None] | None = None
        self._respond = respond
        self._is_introduced = False

    async def receive(self) -> dict[str, Any]:
        """Wait for the next event."""
        socket = self.socket
        if not self._is_introduced:
            self._is_introduced = True
            return {"type": "websocket.connect"}
        message = socket.take()
        while message is None:
            if socket.ended is not None:
                code, reason = socket.ended
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            await socket.wait_message()
            message = socket.take()
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Do what *message* says."""
        kind = message["type"]
        if kind == "websocket.send":
            text = message.get("text")
            data = message.get("bytes") if text is None else text
            if data is None:
                raise ResponseError("'websocket.send' has neither 'text' nor 'bytes'")
            if self.socket.send(data):
                await self.exchange.wait_writable()
        elif kind == "websocket.close":
            await self._close(message.get("code"), message.get("reason"))
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind.startswith(_DENIAL):
            await self._deny(message)
        else:
            raise ResponseError(f"{kind!r} is not sent on a WebSocket")

    def end(self) -> bool:
        """Close what the application has left open; return whether it had made up its mind."""
        if self.socket.stage is _OPEN:
            self.socket.close(_NORMAL_CLOSURE, "")
        return self.socket.stage is not _CONNECTING

    def fail(self, status: int) -> None:
        """Tell the client that the application failed; *status* is for one not yet accepted."""
        if self.socket.stage is _CONNECTING:
            self.exchange.fail(status)
        elif self.socket.stage is _OPEN:
            self.socket.close(_INTERNAL_ERROR, "")

    def _accept(self, message: MutableMapping[str, Any]) -> None:
        if self.socket.stage is _OPEN:
            raise ResponseError("'websocket.accept' sent twice")
        self.socket.accept(message.get("subprotocol"), message.get("headers") or ())

    async def _close(self, code: int | None, reason: str | None) -> None:
        if self.socket.stage is _CONNECTING:
            await self._respond({"type": "http.response.start", "status": 403})
            await self._respond({"type": "http.response.body"})
        else:
            self.socket.close(_NORMAL_CLOSURE if code is None else code, reason or "")

    async def _deny(self, message: MutableMapping[str, Any]) -> None:
        if self.socket.stage is _OPEN:
            raise ResponseError(f"{message['type']!r} sent after 'websocket.accept'")
        if self.socket.ended is not None:
            raise ClientDisconnected("the client is gone")
        await self._respond({**message, "type": message["type"].removeprefix("websocket.")})

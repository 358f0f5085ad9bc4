"""The demo's chat: one room, for everybody who opens a WebSocket to it.

What is said is given to everybody who is connected to this process.  Everything is bounded: the
number of visitors, the length of what they say, and how far anybody may lag behind.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from a2wsgi.asgi_typing import Receive, Send, WebSocketScope

__all__ = ["talk"]

MAX_VISITORS: Final = 100
MAX_CHARACTERS: Final = 500
# Messages that may wait for one visitor; who lags further behind is shown out.
MAX_WAITING: Final = 100
# RFC 6455 §7.4.1.
_TOO_SLOW: Final = 1008
_TRY_AGAIN_LATER: Final = 1013


class _Room:
    """Those who are here.  Loop thread only."""

    def __init__(self) -> None:
        self._visitors: dict[str, asyncio.Queue[str | None]] = {}
        self._numbers = itertools.count(1)

    @property
    def is_full(self) -> bool:
        return len(self._visitors) >= MAX_VISITORS

    def enter(self) -> tuple[str, asyncio.Queue[str | None]]:
        """Let somebody in; return a name, and the queue of what is to be told."""
        name = f"visitor {next(self._numbers)}"
        queue: asyncio.Queue[str | None] = asyncio.Queue(MAX_WAITING)
        self._visitors[name] = queue
        self._tell({"you": name}, [queue])
        self.tell(name, "has come in")
        return name, queue

    def leave(self, name: str) -> None:
        if self._visitors.pop(name, None) is not None:
            self.tell(name, "has left")

    def tell(self, name: str, text: str, *, is_said: bool = False) -> None:
        """Tell everybody what *name* does, or says."""
        told = {"who": name, "said" if is_said else "did": text, "here": len(self._visitors)}
        self._tell(told, list(self._visitors.values()))

    def _tell(self, told: dict[str, Any], queues: list[asyncio.Queue[str | None]]) -> None:
        line = json.dumps(told, ensure_ascii=False)
        for queue in queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)  # nobody waits for those who do not read
            else:
                queue.put_nowait(line)


_room = _Room()


async def talk(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Serve one visitor, from the handshake on."""
    await receive()
    is_here = scope["path"] == scope.get("root_path", "").rstrip("/") + "/chat"
    if not is_here or not _is_of_this_site(scope):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    await send(cast("Any", {"type": "websocket.accept"}))
    if _room.is_full:
        await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": "it is full"})
        return
    name, queue = _room.enter()
    telling = asyncio.ensure_future(_tell(queue, send))
    try:
        while (message := await receive())["type"] == "websocket.receive":
            text = str(cast("dict[str, Any]", message).get("text") or "")[:MAX_CHARACTERS].strip()
            if text:
                _room.tell(name, text, is_said=True)
    finally:
        telling.cancel()
        _room.leave(name)


async def _tell(queue: asyncio.Queue[str | None], send: Send) -> None:
    """Send what comes into *queue*, as fast as the visitor reads."""
    with suppress(OSError):  # the visitor has left; `receive` tells of that too
        while (line := await queue.get()) is not None:
            await send(cast("Any", {"type": "websocket.send", "text": line}))
        await send({"type": "websocket.close", "code": _TOO_SLOW, "reason": "too slow"})


def _is_of_this_site(scope: WebSocketScope) -> bool:
    """Say whether the page that asks is ours: browsers let any page open a WebSocket to anybody."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is None:
        return True  # no browser
    return urlsplit(origin).netloc == headers.get(b"host")

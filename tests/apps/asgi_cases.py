"""Plain ASGI 3 applications, each showing one duty of a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TEXT: Final = (b"content-type", b"text/plain")
CHUNK: Final = b"x" * 65536


class BoilerError(RuntimeError):
    """What the applications raise on purpose."""


async def start(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """Send the head."""
    message = {"type": "http.response.start", "status": status, "headers": [TEXT, *headers]}
    await send(message)


async def body(send: Send, content: bytes, *, more: bool = False) -> None:
    """Send a part of the body."""
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def whole_body(receive: Receive) -> bytes:
    """Receive until the body is whole.

    Raises:
        BoilerError: the client left before.
    """
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BoilerError("the client left")
        parts += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(parts)


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await start(send, (b"content-length", b"5"))
    await body(send, b"hello")


async def unsized(_scope: Scope, _receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"hello")


async def streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Send parts of all kinds: empty ones, and messages that leave out what has a default."""
    await start(send)
    await body(send, b"", more=True)
    await body(send, b"one ", more=True)
    await send({"type": "http.response.body", "more_body": True})
    await body(send, b"two ", more=True)
    await send({"type": "http.response.body", "body": b"three"})


async def closed_by_empty(_scope: Scope, _receive: Receive, send: Send) -> None:
    """End as most frameworks do: with an empty last message."""
    await start(send)
    await body(send, b"hello", more=True)
    await send({"type": "http.response.body"})


async def no_body(_scope: Scope, _receive: Receive, send: Send) -> None:
    await start(send)
    await send({"type": "http.response.body"})


async def no_content(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


async def not_modified(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"etag", b'"7"')]
    await send({"type": "http.response.start", "status": 304, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def declared_not_modified(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Declare, as RFC 9110 allows, how long the unsent body would be."""
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 304, "headers": headers})
    await send({"type": "http.response.body"})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise BoilerError("http only")
    content = await whole_body(receive)
    await start(send, (b"content-length", str(len(content)).encode()))
    await body(send, content)


async def refuses(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer without asking for the body."""
    await start(send, (b"content-length", b"2"), status=403)
    await body(send, b"no")


def _readable(value: object) -> object:
    """Answer *value* as JSON can say it: bytes in latin-1, what is no data by its type."""
    match value:
        case bytes():
            return value.decode("latin-1")
        case dict():
            return {str(key): _readable(item) for key, item in value.items()}
        case list() | tuple():
            return [_readable(item) for item in value]
        case str() | bool() | int() | None:
            return value
        case _:
            return f"<{type(value).__name__}>"


async def scope_dump(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer the scope as JSON, and the type of each value under `types`."""
    types = {name: type(value).__name__ for name, value in scope.items()}
    types["each header"] = ",".join(
        sorted({type(part).__name__ for pair in scope["headers"] for part in pair})
    )
    await start(send)
    content = {**cast("dict[str, object]", _readable(dict(scope))), "types": types}
    await body(send, json.dumps(content).encode())


async def raises_before_start(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise BoilerError("raised by the application")


async def raises_after_start(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The head waits for the first body message, so nothing is sent yet."""
    await start(send)
    raise BoilerError("raised by the application")


async def raises_in_body(_scope: Scope, _receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"first ", more=True)
    raise BoilerError("raised by the application")


async def returns_at_once(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Break the specification: no response."""


async def returns_after_start(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Break the specification: a head and no body."""
    await start(send)


async def returns_in_body(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Break the specification: the last message promised more."""
    await start(send)
    await body(send, b"first ", more=True)


async def body_first(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Break the specification: a body without a head."""
    await body(send, b"never sent")


async def started_twice(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Break the specification: two heads."""
    await start(send)
    await start(send, status=201)
    await body(send, b"never sent")


async def unknown_message(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Break the specification: a message that nobody knows."""
    await send({"type": "http.response.song"})


async def split_header(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Break the specification: a header value with a line end would forge another header."""
    await start(send, (b"x-name", b"a\r\nx-forged: yes"))
    await body(send, b"never sent")


async def too_little(_scope: Scope, _receive: Receive, send: Send) -> None:
    await start(send, (b"content-length", b"10"))
    await body(send, b"hello", more=True)
    await body(send, b"")


async def too_much(_scope: Scope, _receive: Receive, send: Send) -> None:
    await start(send, (b"content-length", b"5"))
    await body(send, b"hello", more=True)
    await body(send, b" and more than was promised")


class Witness:
    """An application that keeps what it received and how it ended, for a test to look at.

    The path says what it does: `/waits` receives until the client leaves, `/streams` sends until
    `send` raises, `/after-end` receives once more after its response, `/receives` keeps every
    message of the request, `/sends` sends 64 MiB, `/ignores` receives nothing until released.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.raised: BaseException | None = None
        self.called = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise BoilerError("http only")
        self.called.set()
        acts: dict[str, Callable[[Receive, Send], Awaitable[None]]] = {
            "/waits": self._waits,
            "/streams": self._streams,
            "/after-end": self._after_end,
            "/receives": self._receives,
            "/sends": self._sends,
            "/ignores": self._ignores,
        }
        try:
            await acts[scope["path"]](receive, send)
        finally:
            self.ended.set()

    async def _waits(self, receive: Receive, _send: Send) -> None:
        while not self.messages or self.messages[-1]["type"] != "http.disconnect":
            self.messages.append(await receive())

    async def _streams(self, _receive: Receive, send: Send) -> None:
        await start(send)
        try:
            while True:
                await body(send, CHUNK, more=True)
        except OSError as error:
            self.raised = error

    async def _after_end(self, receive: Receive, send: Send) -> None:
        await hello({}, receive, send)
        self.messages.append(await receive())

    async def _receives(self, receive: Receive, send: Send) -> None:
        more = True
        while more:
            self.messages.append(await receive())
            more = self.messages[-1].get("more_body", False)
        await hello({}, receive, send)

    async def _sends(self, _receive: Receive, send: Send) -> None:
        await start(send)
        for _ in range(1024):
            await body(send, CHUNK, more=True)
        await body(send, b"end")

    async def _ignores(self, receive: Receive, send: Send) -> None:
        await self.release.wait()
        size = len(await whole_body(receive))
        await start(send)
        await body(send, str(size).encode())


class WithLifespan:
    """An application with a lifespan, which keeps the order of events.

    Args:
        startup: what it does when asked to start: `complete`, `failed` or `raise`.
    """

    def __init__(self, startup: str = "complete") -> None:
        self.startup = startup
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._answer(scope, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        self.events.append("startup")
        scope["state"]["greeting"] = "hello from the lifespan"
        scope["state"]["shared"] = []
        match self.startup:
            case "failed":
                await send({"type": "lifespan.startup.failed", "message": "no such boiler"})
                return
            case "raise":
                raise BoilerError("raised in startup")
            case _:
                await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self.events.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, send: Send) -> None:
        self.events.append("request")
        state = scope.get("state", {})
        seen = {"greeting": state.get("greeting"), "mine": state.get("mine")}
        state["mine"] = "left by a request"
        state.setdefault("shared", []).append("one")
        await start(send)
        await body(send, json.dumps({**seen, "shared": len(state["shared"])}).encode())


# Those without a request of their own: every one answers GET / and obeys the specification.
ANSWERS: Final[dict[str, tuple[Application, int, bytes]]] = {
    "hello": (hello, 200, b"hello"),
    "unsized": (unsized, 200, b"hello"),
    "streaming": (streaming, 200, b"one two three"),
    "closed by an empty message": (closed_by_empty, 200, b"hello"),
    "no body": (no_body, 200, b""),
    "no content": (no_content, 204, b""),
    "not modified": (not_modified, 304, b""),
    "declared not modified": (declared_not_modified, 304, b""),
}

"""An exchange without a connection: what a handler answers is kept for a test to look at.

It renders with the real `Response`, as the real exchange does; only the socket, the loop and the
waiting are left out.
"""

from __future__ import annotations

import asyncio
import io
import os
from typing import TYPE_CHECKING, BinaryIO

from asgibridge.errors import ClientDisconnected
from asgibridge.http.lifecycle import WebSocketStage
from asgibridge.http.request import RequestHead
from asgibridge.http.response import Response, error_response

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Iterable, Sequence

    from asgibridge.interfaces import Client, Exchange, ServerAddress, Tls, WebSocket

__all__ = ["FakeExchange", "FakeWebSocket"]


class NoDefaults:
    """Adds no headers of the server's own."""

    def lines(self) -> bytes:
        return b""

    def lines_without(self, names: set[bytes]) -> bytes:  # noqa: ARG002 - the protocol's
        return b""


class FakeExchange:
    """See `asgibridge.interfaces.Exchange`.

    Attributes:
        sent: all bytes of the response so far.
        is_over: whether the last of them has come.
        failed: the status that `fail` was called with; None before.
        must: what `must_wait` answers.
        may_send_file: what it is set to.
        bodies: what is left for `read` to give.
        websocket: what `open_websocket` gives; None: the handshake is a bad one.
        started_by: the threads that `note_started` was told of.
    """

    def __init__(  # noqa: PLR0913 - the parts of a request
        self,
        method: str = "GET",
        target: bytes = b"/",
        *,
        headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"shop.example"),),
        version: str = "1.1",
        body: bytes = b"",
        client: Client = ("192.0.2.7", 4711),
        server: ServerAddress = ("127.0.0.1", 8000),
        scheme: str = "http",
    ) -> None:
        """Open an exchange for a request that has been read."""
        self.head = RequestHead(method, target, version, list(headers))
        self.response = Response(self.head, NoDefaults())
        self.client = client
        self.server = server
        self.scheme = scheme
        self.tls: Tls | None = None
        self.is_gone = False
        self.is_body_complete = True
        self.sent = b""
        self.is_over = False
        self.failed: int | None = None
        self.must = False
        self.may_send_file = True
        self.bodies: list[bytes] = [body]
        self.writable = asyncio.Event()
        self.ended = asyncio.Event()
        self.started_by: list[threading.Thread] = []
        self.taken = io.BytesIO(body)
        self.websocket: FakeWebSocket | None = None
        self._has_sent = False

    def leave(self) -> None:
        """Be the client that goes away."""
        self.is_gone = True
        self.writable.set()
        self.ended.set()

    # --- for handlers on the loop

    async def read(self) -> tuple[bytes, bool] | None:
        if self.bodies:
            return self.bodies.pop(0), bool(self.bodies)
        if not self.is_gone:
            await self.ended.wait()
        return None

    async def wait_ended(self) -> None:
        await self.ended.wait()

    def give_up_body(self) -> None:
        raise AssertionError("the body of a fake exchange is complete")

    def write(self, buffers: list[bytes]) -> None:
        if not self.is_gone:
            self._has_sent = True
            self.sent += b"".join(buffers)

    def finish(self, buffers: list[bytes]) -> None:
        if not self.is_gone:
            self.sent += b"".join(buffers)
            self._end()

    def inform(self, data: bytes) -> None:
        if not self.is_gone:
            self.sent += data

    def send_file(self, buffers: list[bytes], fd: int, offset: int, count: int) -> None:
        self.post_file(buffers, fd, offset, count)
        os.close(fd)

    def must_wait(self) -> bool:
        return self.must and not self.is_gone

    async def wait_writable(self) -> None:
        await self.writable.wait()

    def fail(self, status: int) -> None:
        if not self.is_gone:
            self.failed = status
            if not self._has_sent:
                self.sent += error_response(status, NoDefaults())
            self._end()

    def open_websocket(self) -> FakeWebSocket | None:
        if self.websocket is None:
            self.fail(400)
        return self.websocket

    # --- for handlers in a pool thread

    def note_started(self, thread: threading.Thread) -> None:
        self.started_by.append(thread)

    def take_body(self) -> tuple[BinaryIO, int]:
        return self.taken, len(self.taken.getvalue())

    def post(self, buffers: list[bytes]) -> None:
        if self.is_gone:
            raise ClientDisconnected("the client is gone")
        self.write(buffers)

    def post_last(self, buffers: list[bytes]) -> None:
        self.finish(buffers)

    def send_last(self, buffers: list[bytes]) -> None:
        self.finish(buffers)

    def post_file(self, buffers: list[bytes], fd: int, offset: int, count: int) -> None:
        self.finish([*buffers, os.pread(fd, count, offset)])

    def post_failure(self, status: int) -> None:
        self.fail(status)

    def _end(self) -> None:
        """End as the real one does: answered, nobody is left to answer."""
        self.is_over = True
        self.is_gone = True
        self.ended.set()

    def __repr__(self) -> str:
        return f"<FakeExchange {self.head.method}>"


class FakeWebSocket:
    """See `asgibridge.interfaces.WebSocket`.

    Attributes:
        accepted: the arguments of `accept`; None before.
        sent: the messages sent.
        closed: the arguments of `close`; None before.
        must: what `send` answers.
        inbox: what is left to take.
        changed: set when there is something new to look at.
    """

    def __init__(self) -> None:
        """Be a handshake that nobody has answered."""
        self.stage = WebSocketStage.CONNECTING
        self.ended: tuple[int, str] | None = None
        self.accepted: tuple[str | None, list[object]] | None = None
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.must = False
        self.inbox: list[str | bytes] = []
        self.changed = asyncio.Event()

    def bring(self, message: str | bytes) -> None:
        """Be the client that sends *message*."""
        self.inbox.append(message)
        self.changed.set()

    def leave(self, code: int = 1006, reason: str = "") -> None:
        """Be the client that goes away."""
        self.stage = WebSocketStage.CLOSED
        self.ended = (code, reason)
        self.changed.set()

    # --- for handlers

    def accept(self, subprotocol: str | None, headers: Iterable[object]) -> None:
        self.accepted = (subprotocol, list(headers))
        self.stage = WebSocketStage.OPEN

    def take(self) -> str | bytes | None:
        return self.inbox.pop(0) if self.inbox else None

    def wait_message(self) -> Awaitable[None]:
        return self._wait()

    async def _wait(self) -> None:
        await self.changed.wait()
        self.changed.clear()

    def send(self, message: str | bytes) -> bool:
        if self.stage is not WebSocketStage.OPEN:
            raise ClientDisconnected("the WebSocket is closed")
        self.sent.append(message)
        return self.must

    def close(self, code: int, reason: str) -> None:
        if self.stage is not WebSocketStage.OPEN:
            raise ClientDisconnected("the WebSocket is closed")
        self.closed = self.ended = (code, reason)
        self.stage = WebSocketStage.CLOSING


def _check(exchange: FakeExchange, websocket: FakeWebSocket) -> tuple[Exchange, WebSocket]:
    """Have the type checker see that the fakes keep to the protocols."""
    return exchange, websocket

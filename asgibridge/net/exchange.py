"""One request and its response on a connection, with back-pressure both ways.

The connection feeds it and is written to by it.  A handler on the loop awaits `read` and
`wait_writable`; a handler in a pool thread uses the `post` methods, which meet the loop at the
outbox only.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from typing import TYPE_CHECKING, BinaryIO, Final

from asgibridge.errors import ClientDisconnected
from asgibridge.net.flow import ThreadFlow

if TYPE_CHECKING:
    import threading

    from asgibridge.http.request import RequestHead
    from asgibridge.http.response import Response
    from asgibridge.interfaces import Tls
    from asgibridge.net.body import BodyBuffer
    from asgibridge.net.connection import Connection
    from asgibridge.net.websocket import WebSocket

__all__ = ["Exchange", "Times"]

# Bytes of request body waiting for an ASGI application above which the socket is not read.
READ_HIGH_WATER: Final = 65536


class Times:
    """When things happened in an exchange, by `time.perf_counter()`.

    Attributes:
        begun: the request was handed to the handler.
        started: a thread took it; None without threads.
        thread: ident and name of that thread.
    """

    __slots__ = ("begun", "started", "thread")

    def __init__(self) -> None:
        """Begin now."""
        self.begun = time.perf_counter()
        self.started: float | None = None
        self.thread: tuple[int, str] = (0, "")


class Exchange:
    """See `asgibridge.interfaces.Exchange`.

    Attributes:
        connection: the connection, or None when the exchange is over.
        client, server, scheme, tls: either end, and how the client came; see the protocol.
        is_gone: whether nobody is left to answer.  Thread: any.
        is_continue_due: whether the client waits for `100 Continue`.
        body: the body, while a handler that wants all of it waits for it.
        is_body_complete: whether the whole request has been read.
        is_begun: whether the handler has been given the exchange.
        begun_at: when it was, by `time.perf_counter()`.
        cut: why the response was not sent as the application meant it; None if it was.
        has_sent: whether a part of the response, not the last, has been given to the transport.
        has_posted: whether a thread has posted a part.  Thread: pool.
        may_send_directly: whether the transport has nothing to send before the response.
        times: kept for the access log only; None without one.
        websocket: what it has become, or may become; None for every other exchange.
    """

    __slots__ = (
        "_flow",
        "_is_client_eof",
        "_last",
        "_pieces",
        "_reader",
        "_unread",
        "_writer",
        "begun_at",
        "body",
        "client",
        "connection",
        "cut",
        "has_posted",
        "has_sent",
        "head",
        "is_begun",
        "is_body_complete",
        "is_continue_due",
        "is_gone",
        "may_send_directly",
        "response",
        "scheme",
        "server",
        "times",
        "tls",
        "websocket",
    )

    def __init__(self, connection: Connection, head: RequestHead, response: Response) -> None:
        """Open the exchange that *head* began on *connection*."""
        self.connection: Connection | None = connection
        self.head = head
        self.response = response
        self.client = connection.client
        self.server = connection.server
        self.scheme = connection.scheme
        self.tls: Tls | None = connection.tls
        self.is_gone = False
        self.is_begun = False
        self.begun_at = 0.0
        self.is_body_complete = False
        self.is_continue_due = False
        self.has_sent = False
        self.has_posted = False
        self.may_send_directly = False
        self.body: BodyBuffer | None = None
        self.cut: str | None = None
        self.times: Times | None = None
        self.websocket: WebSocket | None = None
        self._pieces: list[bytes] | None = None
        self._unread = 0
        self._is_client_eof = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._flow: ThreadFlow | None = None
        self._last: list[bytes] | None = None

    # --- fed by the connection

    def feed(self, pieces: list[bytes]) -> None:
        """Take *pieces* of body from the connection, which knows whether they are the last."""
        if pieces:
            if self._pieces is None:
                self._pieces = pieces
            else:
                self._pieces.extend(pieces)
            self._unread += sum(map(len, pieces))
            if self._unread > READ_HIGH_WATER and self.connection is not None:
                self.connection.pause_reading()
        if self._reader is not None:
            self._wake_reader()

    def feed_eof(self) -> None:
        """The client will send nothing more; maybe it is gone altogether, nobody can tell.

        The application hears `http.disconnect`, as it would if the client were gone; what it sends
        all the same is sent, for a client that has only closed its half.
        """
        self._is_client_eof = True
        self._wake_reader()
        if self.websocket is not None:
            self.websocket.on_gone()

    def on_writable(self) -> None:
        """The client has read enough to be sent more."""
        if self._writer is not None:
            if not self._writer.done():
                self._writer.set_result(None)
            self._writer = None
        if self._flow is not None:
            self._flow.unblock()

    def detach(self) -> None:
        """The exchange is over: answered, cut, or the client is gone."""
        connection, self.connection = self.connection, None
        self.is_gone = True
        if self._unread > READ_HIGH_WATER and connection is not None:
            connection.resume_reading()  # nobody will take what was too much to read on
        if self._reader is not None:
            self._wake_reader()
        if self._writer is not None:
            self.on_writable()
        if self._flow is not None:
            self._flow.end()
        if self.websocket is not None:
            self.websocket.on_gone()
        body = self.body
        if body is not None and body.try_claim():
            self.body = None
            body.close()

    def _wake_reader(self) -> None:
        if self._reader is not None:
            if not self._reader.done():
                self._reader.set_result(None)
            self._reader = None

    # --- for handlers on the loop

    async def read(self) -> tuple[bytes, bool] | None:
        """Wait for body.  Return some of it and whether more may come; None: client gone."""
        if self.is_continue_due and self.connection is not None:
            self.is_continue_due = False
            if not self._pieces and not self.is_body_complete:
                self.connection.send_continue()
        while True:
            if self._pieces:
                data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces = None
                self._unread = 0
                if self.connection is not None:
                    self.connection.resume_reading()
                return data, not self.is_body_complete
            if self.is_body_complete:
                return b"", False
            if self.connection is None or self._is_client_eof:
                return None
            await self._wait_for_feed(self.connection)

    async def wait_ended(self) -> None:
        """Wait until the response is complete or the client is gone."""
        while self.connection is not None and not self._is_client_eof:
            await self._wait_for_feed(self.connection)

    async def _wait_for_feed(self, connection: Connection) -> None:
        if self._reader is None:
            self._reader = connection.loop.create_future()
        await asyncio.shield(self._reader)

    def give_up_body(self) -> None:
        """Nobody will read the rest of the body: tell the client if that ends the connection."""
        if self.connection is not None and self.connection.cannot_discard(self):
            self.response.keep_alive = False

    def write(self, buffers: list[bytes]) -> None:
        """Hand over a part of the rendered response."""
        if self.connection is not None:
            self.has_sent = True
            self.connection.write(buffers)

    def finish(self, buffers: list[bytes]) -> None:
        """Hand over the last part."""
        if self.connection is not None:
            self.connection.finish_exchange(buffers)

    def inform(self, data: bytes) -> None:
        """Send an interim response ahead of the final one."""
        if self.connection is not None:
            self.connection.write([data])

    @property
    def may_send_file(self) -> bool:
        """Whether the kernel can send a file to the client: not where TLS stands in between."""
        return self.connection is not None and self.tls is None

    def send_file(self, buffers: list[bytes], fd: int, offset: int, count: int) -> None:
        """Hand over the last part and a piece of a file behind it; *fd* is closed in the end."""
        _File(self, buffers, fd, offset, count).deliver()

    def must_wait(self) -> bool:
        """Say whether the client is slower than the application."""
        return self.connection is not None and self.connection.is_write_paused

    async def wait_writable(self) -> None:
        """Wait until the client has read enough, or is gone."""
        while self.connection is not None and self.connection.is_write_paused:
            if self._writer is None:
                self._writer = self.connection.loop.create_future()
            await asyncio.shield(self._writer)

    def fail(self, status: int) -> None:
        """Answer with the server's own *status* page, or cut a response that has begun."""
        if self.connection is not None:
            self.connection.fail_exchange(status)

    def open_websocket(self) -> WebSocket | None:
        """Take the request for the handshake of a WebSocket; None: a bad one, and answered."""
        return self.connection.open_websocket(self) if self.connection is not None else None

    # --- for handlers in a pool thread

    def note_started(self, thread: threading.Thread) -> None:
        """Note for the access log that *thread* begins now.  Thread: pool."""
        if self.times is not None:
            self.times.started = time.perf_counter()
            self.times.thread = (thread.ident or 0, thread.name)

    def take_body(self) -> tuple[BinaryIO, int]:
        """Return the complete body as a file, and its size.  Thread: pool, once.

        If `is_gone` afterwards, it may be empty.
        """
        body = self.body
        if body is None or not body.try_claim():
            return io.BytesIO(), 0
        self.body = None
        return body.open(), body.size

    def post(self, buffers: list[bytes]) -> None:
        """Hand over a part of the response; waits while the client is slower.  Thread: pool.

        Raises:
            ClientDisconnected: the client is gone.
        """
        flow = self._flow
        if flow is None:
            flow = self._flow = ThreadFlow()
        connection = self.connection
        if connection is None:
            raise ClientDisconnected("the client is gone")
        size = sum(map(len, buffers))
        self.has_posted = True
        flow.wait_for_room(self, size)
        connection.outbox.post(_Part(self, buffers, size))

    def post_last(self, buffers: list[bytes]) -> None:
        """Hand over the last part.  Thread: pool."""
        connection = self.connection
        if connection is not None:
            self._last = buffers
            connection.outbox.post(self)

    def send_last(self, buffers: list[bytes]) -> None:
        """Like `post_last`, but try to send from this thread.  Thread: pool.

        It saves the client the time that waking the loop takes.  The loop still does the rest.
        When the loop is being woken anyway, for others, there is nothing to save.
        """
        connection = self.connection
        if connection is not None:
            if self.may_send_directly and not self.has_posted and connection.outbox.is_empty():
                buffers = connection.send_directly(buffers)
            self._last = buffers
            connection.outbox.post(self)

    def deliver(self) -> None:
        """Finish with what `post_last` was given, or the direct attempt has left."""
        if self.connection is not None:
            self.connection.finish_exchange(self._last or [])

    def post_file(self, buffers: list[bytes], fd: int, offset: int, count: int) -> None:
        """Hand over the last part and a piece of a file behind it.  Thread: pool."""
        connection = self.connection
        if connection is not None:
            connection.outbox.post(_File(self, buffers, os.dup(fd), offset, count))

    def post_failure(self, status: int) -> None:
        """Have `fail` called on the loop.  Thread: pool."""
        if (connection := self.connection) is not None:
            connection.outbox.post(_Failure(self, status))

    def on_part_delivered(self, size: int) -> None:
        """Tell the posting thread that *size* bytes went to the transport."""
        if self._flow is not None:
            self._flow.delivered(size, is_blocked=self.must_wait())

    def __repr__(self) -> str:
        target = self.head.target.decode("latin-1")
        return f"<Exchange {self.head.method} {target} {self.response.writing.value}>"


# --- deliveries: what a thread posts and the loop acts upon


class _Part:
    __slots__ = ("buffers", "exchange", "size")

    def __init__(self, exchange: Exchange, buffers: list[bytes], size: int) -> None:
        self.exchange = exchange
        self.buffers = buffers
        self.size = size

    def deliver(self) -> None:
        self.exchange.write(self.buffers)
        self.exchange.on_part_delivered(self.size)


class _File:
    __slots__ = ("buffers", "count", "exchange", "fd", "offset")

    def __init__(
        self, exchange: Exchange, buffers: list[bytes], fd: int, offset: int, count: int
    ) -> None:
        self.exchange = exchange
        self.buffers = buffers
        self.fd = fd
        self.offset = offset
        self.count = count

    def deliver(self) -> None:
        connection = self.exchange.connection
        if connection is None:
            os.close(self.fd)
            return
        self.exchange.write(self.buffers)
        connection.send_file(self.fd, self.offset, self.count)


class _Failure:
    __slots__ = ("exchange", "status")

    def __init__(self, exchange: Exchange, status: int) -> None:
        self.exchange = exchange
        self.status = status

    def deliver(self) -> None:
        self.exchange.fail(self.status)

"""One client: between its transport, a parser and one exchange at a time.

Only these things can happen to a connection, and each has one method: bytes come, the client ends
its half, the response goes on or ends, the client reads too slowly or well again, a deadline
passes, the server drains, the connection is lost.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from typing import TYPE_CHECKING, Final, cast

from asgibridge.http.lifecycle import (
    PERSISTENCE_MOVES,
    Persistence,
    PersistenceEvent,
    Reading,
    move,
)
from asgibridge.http.parser import RequestParser
from asgibridge.http.request import BadRequest
from asgibridge.http.response import Response, error_response
from asgibridge.net.body import BodyBuffer
from asgibridge.net.deadlines import NEVER
from asgibridge.net.exchange import Exchange
from asgibridge.net.gate import Standing
from asgibridge.net.sendfile import FileSender
from asgibridge.net.sockets import has_waiting_client

if TYPE_CHECKING:
    import socket

    from asgibridge.http.request import RequestHead
    from asgibridge.interfaces import Client, ServerAddress
    from asgibridge.net.outbox import Outbox
    from asgibridge.net.wiring import Wiring

__all__ = ["Connection"]

logger = logging.getLogger("asgibridge")

# Bytes received while an exchange is under way, kept for the next one, above which the socket is
# not read any more.
MAX_HELD: Final = 65536
# Bytes of a body that nobody wanted, read and thrown away so that the connection can be reused.
# Go reads 256 KiB, hyper nothing.
MAX_DISCARDED: Final = 65536
# Seconds and bytes for which a closed connection goes on reading, so that the client can read the
# answer before the kernel resets the connection over unread input (RFC 9112 §9.6).
LINGER_TIME: Final = 2.0
MAX_LINGERED: Final = 1 << 20
# Seconds of keep-alive after which a connection has had its share while others wait [GATE-6].
SHARE: Final = 1.0

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Awaited(enum.Enum):
    """What the connection's deadline is about."""

    NOTHING = "nothing"
    FIRST_BYTES = "first bytes, before parking"
    HEAD = "the rest of a request head"
    BODY = "more of a request body"
    NEXT_REQUEST = "the next request"
    READER = "the client to read"
    LAST_INPUT = "the end of unwanted input"


class Connection(asyncio.Protocol):
    """The protocol of one client's transport.  Loop thread only.

    Attributes:
        client, server: the two ends.
        exchange: the one under way, or None.
        is_write_paused: whether the transport is above its high-water mark.
        opened_at: loop time of accept(2).
    """

    __slots__ = (
        "_awaited",
        "_buffered_before",
        "_discarded",
        "_held",
        "_is_discarding",
        "_is_half_closed",
        "_is_held_up",
        "_parser",
        "_persistence",
        "_sender",
        "_socket",
        "_transport",
        "_wiring",
        "client",
        "deadline",
        "exchange",
        "is_write_paused",
        "loop",
        "opened_at",
        "outbox",
        "server",
        "slot",
        "standing",
    )

    def __init__(
        self, wiring: Wiring, sock: socket.socket, client: Client, server: ServerAddress
    ) -> None:
        """Serve *sock*, just accepted."""
        self._wiring = wiring
        self._socket = sock
        self.loop = wiring.loop
        self.outbox: Outbox = wiring.outbox
        self.client = client
        self.server = server
        self.opened_at = wiring.loop.time()
        self.exchange: Exchange | None = None
        self.is_write_paused = False
        self.standing = Standing.OUTSIDE
        self.deadline = NEVER
        self.slot: int | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: RequestParser | None = None
        self._persistence = Persistence.REUSE
        self._awaited = Awaited.NOTHING
        self._held = b""
        self._is_half_closed = False
        self._is_held_up = False  # by a client that does not read
        self._is_discarding = False
        self._discarded = 0
        self._buffered_before = 0
        self._sender: FileSender | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once there is one."""
        assert self._transport is not None  # noqa: S101 - nothing happens before connection_made
        return self._transport

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for a first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._await(Awaited.FIRST_BYTES, self._wiring.timeouts.parking_delay)

    def data_received(self, data: bytes) -> None:
        """Read a request, or keep what came too early for one."""
        if self._persistence is Persistence.LINGERING:
            self._discarded += len(data)
            if self._discarded > MAX_LINGERED:
                self.transport.abort()
        elif self.exchange is not None and self.exchange.is_body_complete:
            self._hold(data)
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """The client has ended its half, or is gone altogether: nobody can tell yet."""
        self._is_half_closed = True
        if self._persistence is Persistence.LINGERING:
            return False
        exchange = self.exchange
        if exchange is not None and exchange.is_body_complete:
            # It still gets its answer, and an answer to what it sent in advance.
            exchange.feed_eof()
            return True
        if exchange is not None or (self._parser is not None and not self._parser.is_pristine):
            self._refuse(BadRequest(400, "the request ends in its middle"))
            return True
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self.is_write_paused = True
        self._buffered_before = self.transport.get_write_buffer_size()
        self._await(Awaited.READER, self._wiring.timeouts.write)

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self.is_write_paused = False
        if self._awaited is Awaited.READER and not self.transport.is_closing():
            self._await_nothing()
        exchange = self.exchange
        if exchange is not None:
            exchange.on_writable()
        elif self._is_held_up and self._persistence is Persistence.REUSE:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """The socket closes right after this call: leave the gate."""
        wiring = self._wiring
        self._persistence = move(PERSISTENCE_MOVES, self._persistence, PersistenceEvent.LOST)
        wiring.deadlines.remove(self)
        wiring.connections.discard(self)
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        exchange = self.exchange
        if exchange is not None:
            self._drop_exchange("the client is gone")
        if self._parser is not None:
            self._parser.close()
            self._parser = None
        self._held = b""
        wiring.gate.leave(self)
        if wiring.on_closed is not None:
            wiring.on_closed()

    # --- reading

    def _read(self, data: bytes) -> None:
        wiring = self._wiring
        # A parser keeps nothing between two requests, so all connections share one, until a
        # request comes in parts: then that connection keeps it, and the others get a new one.
        parser = self._parser or wiring.parser
        try:
            rest = parser.feed(data)
        except BadRequest as error:
            if self._parser is None:
                wiring.parser = RequestParser(wiring.limits)
                parser.close()
            self._refuse(error)
            return
        if self._parser is None and parser.reading is not Reading.READ:
            self._parser = parser
            wiring.parser = RequestParser(wiring.limits)
        if rest:
            self._hold(rest)
        exchange = self.exchange
        if exchange is not None:
            self._read_body(exchange, parser)
        elif parser.head is None:
            self._on_part_of_head()
        elif self._is_discarding:
            self._discard(parser)
        else:
            self._open_exchange(parser.head, parser)

    def _hold(self, data: bytes) -> None:
        """Keep bytes that come before their turn; read no more of them than fit."""
        self._held += data
        if len(self._held) > MAX_HELD:
            self.pause_reading()

    def _on_part_of_head(self) -> None:
        if self._awaited is not Awaited.HEAD:
            self._wiring.gate.stir(self)
            if self._awaited is not Awaited.FIRST_BYTES:
                self._await(Awaited.HEAD, self._wiring.timeouts.header)

    def _open_exchange(self, head: RequestHead, parser: RequestParser) -> None:
        wiring = self._wiring
        response = Response(head, wiring.clock)
        exchange = self.exchange = Exchange(self, head, response)
        if wiring.is_draining or self._has_had_its_share():
            response.keep_alive = False
        if not wiring.handler.wants_whole_body:
            self._begin(exchange)
        elif not parser.is_complete:
            wiring.gate.stir(self)
            if exchange.is_continue_due and not parser.body_bytes:
                self.send_continue()
        self._read_body(exchange, parser)

    def _has_had_its_share(self) -> bool:
        acceptor = self._wiring.acceptor
        return (
            acceptor is not None
            and acceptor.is_contended()
            and self.loop.time() - self.opened_at >= SHARE
        )

    def _begin(self, exchange: Exchange) -> None:
        """Hand *exchange* to the handler; from now on it needs the application."""
        wiring = self._wiring
        wiring.gate.wake(self)
        exchange.is_begun = True
        if wiring.on_ended is not None:
            exchange.begun_at = time.perf_counter()
        wiring.handler.begin(exchange)

    def _read_body(self, exchange: Exchange, parser: RequestParser) -> None:
        """Pass on what has come of the body, perhaps nothing, perhaps the last of it."""
        is_complete = parser.is_complete
        if exchange.is_begun:
            exchange.feed(parser.take_body(), is_complete=is_complete)
        elif parser.body_bytes and not self._keep_body(exchange, parser):
            return
        if is_complete:
            exchange.is_body_complete = True
            self._return_parser(parser)
            if self._awaited is not Awaited.READER:
                self._await_nothing()
            if not exchange.is_begun:
                self._begin(exchange)
        elif self._awaited is not Awaited.FIRST_BYTES and self.transport.is_reading():
            self._await(Awaited.BODY, self._wiring.timeouts.body)

    def _keep_body(self, exchange: Exchange, parser: RequestParser) -> bool:
        """Keep body for a handler that wants all of it; return False if that can't be done."""
        try:
            if exchange.body is None:
                exchange.body = BodyBuffer(self._wiring.max_body_memory)
            exchange.body.add(parser.take_body())
        except OSError as error:
            logger.error("cannot keep a request body: %s", error.strerror)  # noqa: TRY400
            self._refuse(BadRequest(507, "the server has no room for the request body"))
            return False
        return True

    def _return_parser(self, parser: RequestParser) -> None:
        """Part with *parser*, which has read a whole request."""
        if self._parser is None:
            parser.start_next()
        else:
            self._parser = None
            parser.close()

    def pause_reading(self) -> None:
        """Leave further bytes in the kernel."""
        if self.transport.is_reading():
            self.transport.pause_reading()
            if self._awaited is Awaited.BODY:
                self._await_nothing()

    def resume_reading(self) -> None:
        """Read on."""
        transport = self.transport
        if not transport.is_reading() and not transport.is_closing():
            transport.resume_reading()
            if self.exchange is not None and not self.exchange.is_body_complete:
                self._await(Awaited.BODY, self._wiring.timeouts.body)

    # --- writing

    def write(self, buffers: list[bytes]) -> None:
        """Hand *buffers* to the transport."""
        transport = self.transport
        if transport.is_closing():
            return
        if len(buffers) == 1:
            transport.write(buffers[0])
        elif buffers:
            transport.writelines(buffers)

    def send_continue(self) -> None:
        """Ask the client for the body it holds back (RFC 9110 §10.1.1)."""
        if not self.transport.is_closing():
            self.transport.write(_CONTINUE)
        if self.exchange is not None:
            self.exchange.is_continue_due = False

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """End the exchange with *count* bytes of the file *fd*, which is ours to close."""
        self._sender = FileSender(self, self._socket, fd, offset, count)
        self._sender.start()

    def on_file_sent(self, *, is_whole: bool) -> None:
        """The file has gone to the kernel, or could not be read to the promised end."""
        self._sender = None
        if self._persistence is Persistence.CLOSED or self.exchange is None:
            return
        if is_whole:
            self.end_exchange()
        else:
            self._drop_exchange("the file is shorter than it was")
            self.transport.abort()

    def expect_progress(self) -> None:
        """Give the client the write timeout to read something."""
        self._await(Awaited.READER, self._wiring.timeouts.write)

    # --- the end of an exchange

    def end_exchange(self) -> None:
        """The last byte of the response has been handed over: on to the next request."""
        exchange = self.exchange
        assert exchange is not None  # noqa: S101 - only the exchange calls this
        wiring = self._wiring
        wiring.counters.requests += 1
        wiring.counters.bytes_sent += exchange.response.body_bytes
        self.exchange = None
        exchange.detach()
        if wiring.on_ended is not None:
            wiring.on_ended(exchange, self)
        if exchange.response.will_close:
            self._must_close()
        if not exchange.is_body_complete:
            self._leave_body(exchange)
        elif self._persistence is Persistence.REUSE:
            self._go_on()
            if wiring.is_draining:
                # The client was not told, so a request may be on its way: it is served then.
                self.try_evict()
        else:
            self._close()

    def _go_on(self) -> None:
        """Serve what has come in advance, or wait for the next request."""
        self._is_held_up = self.is_write_paused
        if self._is_held_up:
            return  # no further answer into a transport that nobody reads
        wiring = self._wiring
        if self._held:
            data, self._held = self._held, b""
            self.resume_reading()
            self._read(data)
            if self.exchange is not None or self._persistence is not Persistence.REUSE:
                return
            if self._is_half_closed:
                self._refuse(BadRequest(400, "the request ends in its middle"))
                return
            is_idle = False
        else:
            if self._is_half_closed:
                self._must_close()
                self._close()
                return
            is_idle = True
            self._awaited = Awaited.NEXT_REQUEST
            when = self.deadline = self.loop.time() + wiring.timeouts.keep_alive
            if self.slot is None:
                wiring.deadlines.set(self, when)
        if self.standing is Standing.IN_FLIGHT:
            wiring.gate.park(self, is_idle=is_idle)

    def _leave_body(self, exchange: Exchange) -> None:
        """The answer is sent, but the body has not been read: throw away a little, or close."""
        parser = self._parser
        assert parser is not None  # noqa: S101 - a request is being read
        left = exchange.head.content_length
        if (
            exchange.is_continue_due
            or self._persistence is not Persistence.REUSE
            or (left is not None and left - parser.body_bytes > MAX_DISCARDED)
        ):
            self._linger()
            return
        self._is_discarding = True
        self._discarded = 0
        self.resume_reading()
        self._discard(parser)

    def _discard(self, parser: RequestParser) -> None:
        """Throw away the rest of a body that nobody wanted."""
        self._discarded += sum(map(len, parser.take_body()))
        if self._discarded > MAX_DISCARDED:
            self._linger()
        elif parser.is_complete:
            self._is_discarding = False
            self._return_parser(parser)
            self._go_on()
        else:
            self._await(Awaited.BODY, self._wiring.timeouts.body)

    def fail_exchange(self, status: int) -> None:
        """Answer with the server's own page, or cut a response that has begun."""
        exchange = self.exchange
        assert exchange is not None  # noqa: S101 - only the exchange calls this
        if exchange.has_sent:
            self._drop_exchange("the application failed")
            self.transport.abort()
            return
        keep_alive = (
            exchange.is_body_complete
            and exchange.response.keep_alive
            and not self._wiring.is_draining
            and status < 501  # noqa: PLR2004 - 500 is about the application, not the server
        )
        exchange.response.will_close = not keep_alive
        self._answer_ourselves(exchange, status, "", keep_alive=keep_alive)
        self.end_exchange()

    def _answer_ourselves(
        self, exchange: Exchange, status: int, reason: str, *, keep_alive: bool
    ) -> None:
        extra = b"Retry-After: 1\r\n" if status == 503 else b""  # noqa: PLR2004
        exchange.response.status = status
        page = error_response(
            status,
            self._wiring.clock,
            reason=reason,
            keep_alive=keep_alive,
            is_head=exchange.response.head_request,
            extra=extra,
        )
        self.write([page])

    def _drop_exchange(self, why: str) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None  # noqa: S101 - callers have looked
        wiring = self._wiring
        wiring.counters.requests += 1
        wiring.counters.cut += 1
        exchange.cut = why
        exchange.detach()
        if wiring.on_ended is not None:
            wiring.on_ended(exchange, self)

    def _refuse(self, error: BadRequest) -> None:
        """Answer a request that breaks the protocol or a limit, then close."""
        wiring = self._wiring
        wiring.counters.refused += 1
        exchange = self.exchange
        if exchange is not None and exchange.has_sent:
            self._drop_exchange(error.reason)
            self.transport.abort()
            return
        self._must_close()
        logger.debug("refused status=%d client=%s reason=%s", error.status, self.client, error)
        self.write([error_response(error.status, wiring.clock, reason=error.reason)])
        if exchange is not None:
            exchange.response.status = error.status
            self._drop_exchange(error.reason)
        elif wiring.on_refused is not None:
            wiring.on_refused(self, error.status, error.reason)
        self._linger()

    # --- closing

    def _must_close(self) -> None:
        self._persistence = move(PERSISTENCE_MOVES, self._persistence, PersistenceEvent.MUST_CLOSE)

    def _close(self) -> None:
        """Close after what is buffered has been sent."""
        if self._held:
            # Unread input would make the kernel reset the connection, and with it the answer.
            self._linger()
            return
        transport = self.transport
        transport.close()
        if transport.get_write_buffer_size():
            self._buffered_before = transport.get_write_buffer_size()
            self._await(Awaited.READER, self._wiring.timeouts.write)

    def _linger(self) -> None:
        """End our half and read on for a while, throwing it away (RFC 9112 §9.6)."""
        self._persistence = move(PERSISTENCE_MOVES, self._persistence, PersistenceEvent.LINGER)
        self._discarded = 0
        self._held = b""
        transport = self.transport
        if transport.is_closing():
            return
        if self._is_half_closed:
            transport.close()
        else:
            if transport.can_write_eof():
                transport.write_eof()
            self.resume_reading()
        self._await(Awaited.LAST_INPUT, LINGER_TIME)
        if self.standing is Standing.IN_FLIGHT:
            self._wiring.gate.park(self, is_idle=False)

    def try_evict(self) -> bool:
        """Close if idle, unless something has just come in; return whether it will close."""
        if self.exchange is not None or self._persistence is not Persistence.REUSE:
            return False
        if self._parser is not None and not self._parser.is_pristine:
            return False
        if self._transport is None or has_waiting_client(self._socket):
            return False
        self._must_close()
        self.transport.close()
        return True

    def drain(self) -> None:
        """Be closed soon: now if nothing is under way, else with the next response."""
        if self.exchange is not None:
            self.exchange.response.keep_alive = False
        elif self._awaited is not Awaited.FIRST_BYTES:
            self.try_evict()

    def cut(self, why: str) -> None:
        """End the exchange, if one is under way, and the connection with it."""
        if self.exchange is not None:
            self._drop_exchange(why)
        self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    # --- deadlines

    def _await(self, awaited: Awaited, timeout: float) -> None:
        self._awaited = awaited
        self._wiring.deadlines.set(self, self.loop.time() + timeout)

    def _await_nothing(self) -> None:
        self._awaited = Awaited.NOTHING
        self.deadline = NEVER

    def on_deadline(self, now: float) -> None:
        """Act on what did not come in time."""
        match self._awaited:
            case Awaited.FIRST_BYTES:
                self._park_slow(now)
            case Awaited.HEAD:
                self._on_head_timeout()
            case Awaited.BODY:
                self._refuse(BadRequest(408, "the request body stopped arriving"))
            case Awaited.NEXT_REQUEST:
                if not self.try_evict():
                    self._await(Awaited.NEXT_REQUEST, self._wiring.timeouts.parking_delay)
            case Awaited.READER:
                self._on_write_timeout()
            case Awaited.LAST_INPUT:
                self.transport.abort()
            case Awaited.NOTHING:
                pass

    def _park_slow(self, now: float) -> None:
        """Stop counting a connection that is silent or slow as in flight.  [GATE-2]"""
        wiring = self._wiring
        parser = self._parser
        exchange = self.exchange
        is_silent = exchange is None and (parser is None or parser.is_pristine)
        if is_silent and wiring.is_draining and self.try_evict():
            return
        if self.standing is Standing.IN_FLIGHT and (exchange is None or not exchange.is_begun):
            wiring.gate.park(self, is_idle=is_silent)
        if exchange is not None:
            self._await(Awaited.BODY, wiring.timeouts.body)
        else:
            self._awaited = Awaited.HEAD
            wiring.deadlines.set(self, max(now, self.opened_at + wiring.timeouts.header))

    def _on_head_timeout(self) -> None:
        if self._parser is None or self._parser.is_pristine:
            # Silent since accept, or after a blank line: nobody waits for an answer.
            if not self.try_evict():
                self._await(Awaited.HEAD, self._wiring.timeouts.parking_delay)
        else:
            self._refuse(BadRequest(408, "the request head did not arrive in time"))

    def _on_write_timeout(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self._sender is not None:
            left += self._sender.left
        if left < self._buffered_before:
            self._buffered_before = left
            self._await(Awaited.READER, self._wiring.timeouts.write)
            return
        logger.info("cut client=%s reason=it does not read its response", self.client)
        if self.exchange is not None:
            self._drop_exchange("the client does not read")
        self.transport.abort()

    def __repr__(self) -> str:
        return (
            f"<Connection client={self.client} {self.standing.value} "
            f"{self._persistence.value} awaits {self._awaited.value}>"
        )

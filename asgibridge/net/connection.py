"""One client: between its transport, a parser and one exchange at a time.

Only these things can happen to a connection, and each has one method: bytes come, the client ends
its half, the response goes on or ends, the client reads too slowly or well again, a deadline
passes, the server drains, the connection is lost.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from time import perf_counter
from typing import TYPE_CHECKING, Final

from asgibridge.http.lifecycle import PERSISTENCE_MOVES, Persistence, PersistenceEvent, Reading
from asgibridge.http.parser import RequestParser
from asgibridge.http.request import BadRequest
from asgibridge.http.response import Response, error_response
from asgibridge.net.body import BodyBuffer
from asgibridge.net.deadlines import GRANULARITY, NEVER
from asgibridge.net.exchange import Exchange, Times
from asgibridge.net.gate import Standing
from asgibridge.net.link import LINGER_TIME, Awaited, Link
from asgibridge.net.sendfile import FileSender
from asgibridge.net.sockets import has_waiting_client
from asgibridge.net.wiring import BUCKETS

if TYPE_CHECKING:
    import asyncio
    import socket

    from asgibridge.http.request import RequestHead
    from asgibridge.interfaces import Client, ServerAddress
    from asgibridge.net.outbox import Outbox
    from asgibridge.net.tls import TlsTransport
    from asgibridge.net.websocket import WebSocket
    from asgibridge.net.wiring import Wiring

__all__ = ["Connection"]

logger = logging.getLogger("asgibridge")

# Bytes received while an exchange is under way, kept for the next one, above which the socket is
# not read any more.
MAX_HELD: Final = 65536
# Bytes of a body that nobody wanted, read and thrown away so that the connection can be reused.
# Go reads 256 KiB, hyper nothing.
MAX_DISCARDED: Final = 65536

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# On the way of every request: see `lifecycle.Moves` for why these are not looked up there.
_READ: Final = Reading.READ
_REUSE: Final = Persistence.REUSE
_LINGERING: Final = Persistence.LINGERING
_NOTHING: Final = Awaited.NOTHING
_NEXT_REQUEST: Final = Awaited.NEXT_REQUEST
_IN_FLIGHT: Final = Standing.IN_FLIGHT
_FRESH: Final = (Awaited.FIRST_BYTES, Awaited.HANDSHAKE)


class Connection(Link):
    """The protocol of one client's transport.  Loop thread only.

    Attributes:
        exchange: the one under way, or None.
        outbox: the door for pool threads.
    """

    __slots__ = (
        "_discarded",
        "_held",
        "_is_half_closed",
        "_is_held_up",
        "_is_lost",
        "_may_send_directly",
        "_parser",
        "_proxies",
        "_sender",
        "_sending",
        "exchange",
        "outbox",
    )

    def __init__(
        self, wiring: Wiring, sock: socket.socket, client: Client, server: ServerAddress
    ) -> None:
        """Serve *sock*, just accepted."""
        super().__init__(wiring, sock, client, server)
        self.outbox: Outbox = wiring.outbox
        self.exchange: Exchange | None = None
        # Kept while a request arrives in parts.  A parser keeps nothing between two requests, so
        # those that come in one piece are all read by the server's.
        self._parser: RequestParser | None = None
        self._held = b""  # what came before its turn
        self._is_half_closed = False  # by the client
        self._is_held_up = False  # by a client that does not read
        self._discarded: int | None = None  # bytes of a body that nobody wanted, while in one
        self._sender: FileSender | None = None
        self._sending = threading.Lock()  # held to use the descriptor outside of the loop
        self._is_lost = False  # guarded by it
        self._may_send_directly = wiring.may_send_directly
        proxies = wiring.proxies
        self._proxies = proxies if proxies is not None and proxies.trusts(client) else None

    # --- what the loop calls

    def data_received(self, data: bytes) -> None:
        """Read a request, or keep what came too early for one."""
        if self.exchange is None and self._parser is None and self._persistence is _REUSE:
            self._read_new(data)
        elif self._persistence is _LINGERING:
            self.throw_away(data)
        elif self._parser is not None:
            self._read_on(self._parser, data)
        else:
            self._hold(data)

    def eof_received(self) -> bool:
        """The client has ended its half, or is gone altogether: nobody can tell yet."""
        self._is_half_closed = True
        exchange = self.exchange
        if self._persistence is _LINGERING:
            self.close()
            return False
        if exchange is not None and exchange.is_body_complete:
            # It still gets its answer, and an answer to what it sent in advance.
            exchange.feed_eof()
            return True
        if self._parser is not None:
            self._refuse(BadRequest(400, "the request ends in its middle"))
            return True
        if self._is_held_up and self._held:
            return True  # requests that came in advance of an answer that is slow to leave
        self.must_close()
        self.close()
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self.is_write_paused = True
        self.expect_progress()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self.is_write_paused = False
        if self._awaited is Awaited.READER and not self.transport.is_closing():
            self._expect_after_reader()
        if self.exchange is not None:
            self.exchange.on_writable()
        elif self._is_held_up and self._persistence is _REUSE:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """The socket closes right after this call: leave the gate."""
        if self._is_lost:
            return  # the loop gave it a transport after all, but it had been given up
        wiring = self._wiring
        with self._sending:
            self._is_lost = True
        self._persistence = PERSISTENCE_MOVES[self._persistence, PersistenceEvent.LOST]
        wiring.deadlines.remove(self)
        wiring.connections.discard(self)
        try:
            if self.exchange is not None:
                self._drop_exchange("the client is gone")
        finally:  # whatever goes wrong, the count stays right
            if self._parser is not None:
                self._parser.close()
                self._parser = None
            self._held = b""
            wiring.gate.leave(self)
            if wiring.on_closed is not None:
                wiring.on_closed()

    # --- reading

    def _read_new(self, data: bytes) -> None:
        """Read *data*, with which a request begins."""
        wiring = self._wiring
        parser = wiring.parser
        try:
            rest = parser.feed(data)
        except BadRequest as error:
            wiring.parser = RequestParser(wiring.limits)
            parser.close()
            self._refuse(error)
            return
        except BaseException:  # a fault of ours must not spoil the requests of others
            wiring.parser = RequestParser(wiring.limits)
            raise
        if parser.reading is not _READ:
            self._parser = parser
            wiring.parser = RequestParser(wiring.limits)
            self._use(parser, rest)
            return
        # Nearly always: the whole request is here.
        head = parser.head
        assert head is not None  # noqa: S101 - a request that has been read has a head
        pieces = parser.take_body() if parser.body_bytes else None
        parser.start_next()
        if rest:
            self._hold(rest)
        exchange = self._open_exchange(head)
        exchange.is_body_complete = True
        self._awaited = _NOTHING
        self.deadline = NEVER
        if pieces is not None and not self._pass_on(exchange, pieces):
            return
        self._begin(exchange)

    def _read_on(self, parser: RequestParser, data: bytes) -> None:
        """Read *data*, with which a request goes on."""
        try:
            rest = parser.feed(data)
        except BadRequest as error:
            self._refuse(error)
            return
        self._use(parser, rest)

    def _use(self, parser: RequestParser, rest: bytes) -> None:
        """Use what *parser* has read; *rest* belongs to the next request."""
        if rest:
            self._hold(rest)
        if self._discarded is not None:
            self._discard(parser)
            return
        exchange = self.exchange
        if exchange is None:
            head = parser.head
            if head is None:
                self._on_part_of_head()
                return
            exchange = self._open_exchange(head)
            if not self._wiring.handler.wants_whole_body:
                self._begin(exchange)
            elif parser.reading is not _READ:
                self._wiring.gate.stir(self)
                if exchange.is_continue_due and not parser.body_bytes:
                    self.send_continue()
        self._read_body(exchange, parser)

    def _on_part_of_head(self) -> None:
        """Bound the time that the rest of a head may take, from its first bytes on."""
        if self._awaited is not Awaited.HEAD and self._awaited is not Awaited.FIRST_BYTES:
            self._wiring.gate.stir(self)
            self.expect(Awaited.HEAD, self._wiring.timeouts.header)

    def _expect_body(self) -> None:
        """Bound the time in which nothing of a body comes; its bounds only while we read it.

        A client that has to read first is held to that instead.
        """
        if self._awaited is Awaited.FIRST_BYTES or self.is_write_paused:
            return
        if self.transport.is_reading():
            self.expect(Awaited.BODY, self._wiring.timeouts.body)
        else:
            self.expect_nothing()

    def _expect_after_reader(self) -> None:
        """The client has read again: hold it to what it owes apart from that."""
        if self._persistence is _LINGERING:
            self.expect(Awaited.LAST_INPUT, LINGER_TIME)
        elif self._sender is None:
            self.expect_nothing()
            if self._parser is not None and (self.exchange or self._discarded is not None):
                self._expect_body()

    def _hold(self, data: bytes) -> None:
        """Keep bytes that come before their turn; read no more of them than fit."""
        self._held += data
        if len(self._held) > MAX_HELD:
            self.pause_reading()

    def _open_exchange(self, head: RequestHead) -> Exchange:
        wiring = self._wiring
        response = Response(head, wiring.clock)
        self.exchange = exchange = Exchange(self, head, response)
        if self._proxies is not None:
            fields = head.fields
            # Looked up here, so that a request without them pays no call.
            if (
                b"x-forwarded-for" in fields
                or b"x-forwarded-proto" in fields
                or b"forwarded" in fields
            ):
                resolved = self._proxies.resolve(head, self.client, self.scheme)
                exchange.client, exchange.scheme = resolved
        if head.expects_continue:
            exchange.is_continue_due = True
        sharing = wiring.sharing
        if wiring.is_draining or (
            sharing is not None
            and (sharing.acceptor.reason is not None or wiring.gate.in_flight >= sharing.crowd)
            and sharing.gives_way(self)
        ):
            response.keep_alive = False
        return exchange

    def _begin(self, exchange: Exchange) -> None:
        """Hand *exchange* to the handler; from now on it needs the application."""
        wiring = self._wiring
        if self.standing is not _IN_FLIGHT:
            wiring.gate.wake(self)
        exchange.is_begun = True
        exchange.begun_at = perf_counter()
        if wiring.on_ended is not None:
            exchange.times = Times()
        transport = self._transport
        if self._may_send_directly and transport and not transport.get_write_buffer_size():
            exchange.may_send_directly = True
        wiring.handler.begin(exchange)

    def _read_body(self, exchange: Exchange, parser: RequestParser) -> None:
        """Pass on what has come of the body, perhaps nothing, perhaps the last of it."""
        is_complete = exchange.is_body_complete = parser.reading is _READ
        pieces = parser.take_body()
        if is_complete:
            self._parser = None
            parser.close()
            if self._awaited is not Awaited.READER:
                self.expect_nothing()
        if not self._pass_on(exchange, pieces):
            return
        if not is_complete:
            self._expect_body()
        elif not exchange.is_begun:
            self._begin(exchange)

    def _pass_on(self, exchange: Exchange, pieces: list[bytes]) -> bool:
        """Give *pieces* to the handler, or keep them for one that wants the whole body.

        Returns:
            False if they can't be kept; the request has been refused then.
        """
        if not self._wiring.handler.wants_whole_body:
            exchange.feed(pieces)
        elif pieces:
            try:
                if exchange.body is None:
                    exchange.body = BodyBuffer(self._wiring.max_body_memory)
                exchange.body.add(pieces)
            except OSError as error:
                logger.error("cannot keep a request body: %s", error.strerror)  # noqa: TRY400
                self._refuse(BadRequest(507, "the server has no room for the request body"))
                return False
        return True

    def resume_reading(self) -> None:
        """Read on."""
        transport = self.transport
        if len(self._held) > MAX_HELD or transport.is_reading() or transport.is_closing():
            return
        if self._is_half_closed:
            return  # uvloop would tell of the end again
        transport.resume_reading()
        if self.exchange is not None and not self.exchange.is_body_complete:
            self._expect_body()

    # --- the response

    def handshake_begun(self, transport: TlsTransport) -> None:
        """Have everything go through *transport*: bytes sent beside it would be in the clear."""
        self._may_send_directly = False
        super().handshake_begun(transport)

    def send_directly(self, buffers: list[bytes]) -> list[bytes]:
        """Try to send *buffers* from this thread; return what is left.  Thread: pool.

        The descriptor may be closed by the loop at any moment, and its number given to another
        client.  But the loop closes it right after `connection_lost`, which needs the same lock:
        so while it is held and the connection is not lost, the descriptor is this client's.
        """
        with self._sending:
            if self._is_lost:
                return []
            try:
                sent = self._socket.send(buffers[0])
            except OSError:
                return buffers  # full, or broken: the transport will find out
        rest = buffers[0][sent:]
        return [rest, *buffers[1:]] if rest else buffers[1:]

    def send_continue(self) -> None:
        """Ask the client for the body it holds back (RFC 9110 §10.1.1)."""
        self.write([_CONTINUE])
        if self.exchange is not None:
            self.exchange.is_continue_due = False

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """End the exchange with *count* bytes of the file *fd*, which is ours to close."""
        self._sender = FileSender(self, self._socket, fd, offset, count)
        self._sender.is_copying = self.tls is not None
        self._sender.start()
        self.stop_counting()

    def _stop_sending_file(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def on_file_sent(self, *, is_whole: bool) -> None:
        """The file has gone to the kernel, or could not be read to the promised end."""
        self._sender = None
        self.expect_nothing()
        if self.exchange is None:
            return
        if is_whole:
            self.end_exchange()
        else:
            self.cut("the file could not be sent whole")

    def finish_exchange(self, buffers: list[bytes]) -> None:
        """Hand over the last part of the response, and end the exchange."""
        transport = self._transport
        if len(buffers) == 1 and transport is not None and not transport.is_closing():
            transport.write(buffers[0])
        else:
            self.write(buffers)
        self.end_exchange()

    def end_exchange(self) -> None:
        """The last byte of the response has been handed over: on to the next request."""
        exchange = self.exchange
        assert exchange is not None  # noqa: S101 - only the exchange calls this
        self.exchange = None
        exchange.detach()
        wiring = self._wiring
        response = exchange.response
        counters = wiring.counters
        counters.requests += 1
        counters.bytes_sent += response.body_bytes
        seconds = perf_counter() - exchange.begun_at
        counters.request_seconds += seconds
        counters.request_times[bisect_left(BUCKETS, seconds)] += 1
        if wiring.on_ended is not None:
            wiring.on_ended(exchange, self)
        if response.will_close:
            self.must_close()
        if not exchange.is_body_complete:
            self._leave_body(exchange)
        elif self._persistence is not _REUSE:
            self._close()
        elif self._held or self._is_half_closed or self.is_write_paused or wiring.is_draining:
            self._go_on()
        else:
            self._rest()

    def _rest(self) -> None:
        """Be idle until the next request."""
        wiring = self._wiring
        self._awaited = _NEXT_REQUEST
        when = self.deadline = self.loop.time() + wiring.timeouts.keep_alive
        slot = self.slot
        if slot is None or slot * GRANULARITY > when:
            wiring.deadlines.set(self, when)
        wiring.gate.park(self, is_idle=True)

    def _go_on(self) -> None:
        """Serve what has come in advance, or wait for the next request."""
        self._is_held_up = self.is_write_paused
        if self._is_held_up:
            self.stop_counting()
            return  # no further answer into a transport that nobody reads
        if self._held:
            data, self._held = self._held, b""
            self.resume_reading()
            self._read_new(data)
            if self._parser is None or self._persistence is not _REUSE:
                return
            if self._is_half_closed:
                self._refuse(BadRequest(400, "the request ends in its middle"))
            elif self.exchange is None or not self.exchange.is_begun:
                self.stop_counting()
        elif self._is_half_closed:
            self.must_close()
            self._close()
        else:
            self._rest()
            if self._wiring.closes_idle:
                # The client was not told, so a request may be on its way: it is served then.
                self.try_close_idle()

    def _leave_body(self, exchange: Exchange) -> None:
        """The answer is sent, but the body has not been read: throw away a little, or close."""
        parser = self._parser
        assert parser is not None  # noqa: S101 - a request is being read
        if self._persistence is not _REUSE or self.cannot_discard(exchange):
            self._linger()
            return
        self._discarded = 0
        self.resume_reading()
        self._discard(parser)

    def cannot_discard(self, exchange: Exchange) -> bool:
        """Say whether the rest of the body is too much, or too uncertain, to be thrown away."""
        if self._parser is None:
            return False
        length = exchange.head.content_length
        is_much = length is not None and length - self._parser.body_bytes > MAX_DISCARDED
        return is_much or exchange.is_continue_due

    def _discard(self, parser: RequestParser) -> None:
        """Throw away the rest of a body that nobody wanted."""
        discarded = (self._discarded or 0) + sum(map(len, parser.take_body()))
        self._discarded = discarded
        if discarded > MAX_DISCARDED:
            self._linger()
        elif parser.is_complete:
            self._discarded = None
            self._parser = None
            parser.close()
            self._go_on()
        else:
            self._expect_body()

    # --- another protocol on the same transport

    def open_websocket(self, exchange: Exchange) -> WebSocket | None:
        """Take the request of *exchange* for a handshake; answer a bad one and return None."""
        opens = self._wiring.open_websocket
        assert opens is not None  # noqa: S101 - whoever asks has arranged for it
        # Whatever is answered instead: what follows may be frames already, and no request.
        exchange.response.keep_alive = False
        try:
            exchange.websocket = opens(exchange, self)
        except BadRequest as error:
            self._refuse(error)
        return exchange.websocket

    def hand_over(self, protocol: asyncio.Protocol) -> bytes:
        """Let *protocol* have the transport; return what came before its turn."""
        held, self._held = self._held, b""
        self.transport.set_protocol(protocol)
        self.resume_reading()
        return held

    def take_back(self, *, lingers: bool) -> None:
        """Have the transport again, to close it; *lingers* if input may come that nobody wants."""
        exchange, self.exchange = self.exchange, None
        self.transport.set_protocol(self)
        if exchange is None:
            return
        exchange.detach()
        wiring = self._wiring
        wiring.counters.requests += 1
        wiring.counters.bytes_sent += exchange.response.body_bytes
        if wiring.on_ended is not None:
            wiring.on_ended(exchange, self)
        self.must_close()
        if lingers:
            self._linger()
        else:
            self.close()

    # --- when things go wrong

    def fail_exchange(self, status: int) -> None:
        """Answer with the server's own page, or cut a response that has begun."""
        exchange = self.exchange
        assert exchange is not None  # noqa: S101 - only the exchange calls this
        if exchange.has_sent:
            self.cut("the application failed")
            return
        response = exchange.response
        # 500 is about the application; 503 and 504 are about the server, better left alone.
        keeps = exchange.is_body_complete and response.keep_alive and status == 500  # noqa: PLR2004
        response.will_close = not keeps or self._wiring.is_draining
        response.status = status
        page = error_response(
            status,
            self._wiring.clock,
            keep_alive=not response.will_close,
            is_head=response.head_request,
            extra=b"Retry-After: 1\r\n" if status == 503 else b"",  # noqa: PLR2004
        )
        self.write([page])
        self.end_exchange()

    def _refuse(self, error: BadRequest) -> None:
        """Answer a request that breaks the protocol or a limit, then close."""
        if self._discarded is not None:
            # Its answer has been sent: another would be taken for that to the next request.
            self._discarded = None
            self._linger()
            return
        wiring = self._wiring
        wiring.counters.refused += 1
        logger.debug("refused status=%d client=%s reason=%s", error.status, self.client, error)
        exchange = self.exchange
        if exchange is not None and exchange.has_sent:
            self.cut(error.reason)
            return
        self.must_close()
        is_head = exchange is not None and exchange.response.head_request
        page = error_response(
            error.status, wiring.clock, reason=error.reason, is_head=is_head, extra=error.lines
        )
        self.write([page])
        if exchange is not None:
            exchange.response.status = error.status
            self._drop_exchange(error.reason)
        elif wiring.on_refused is not None:
            wiring.on_refused(self, error.status, error.reason)
        self._linger()

    def _drop_exchange(self, why: str) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None  # noqa: S101 - callers have looked
        self._stop_sending_file()
        wiring = self._wiring
        counters = wiring.counters
        counters.requests += 1
        counters.cut += 1
        if exchange.is_begun:
            seconds = perf_counter() - exchange.begun_at
            counters.request_seconds += seconds
            counters.request_times[bisect_left(BUCKETS, seconds)] += 1
        exchange.cut = why
        exchange.detach()
        if wiring.on_ended is not None:
            wiring.on_ended(exchange, self)

    def cut(self, why: str) -> None:
        """End the exchange, if one is under way, and the connection with it."""
        if self.exchange is not None:
            self._drop_exchange(why)
        self.abort()

    # --- closing

    def _close(self) -> None:
        if self._held:
            # Unread input would make the kernel reset the connection, and with it the answer.
            self._linger()
        else:
            self.close()

    def _linger(self) -> None:
        self._held = b""
        self.linger(is_half_closed=self._is_half_closed)

    def drain(self) -> None:
        """Be closed soon: now if nothing is under way, else with the next response."""
        if self.exchange is not None:
            self.exchange.response.keep_alive = False
            if self.exchange.websocket is not None:
                self.exchange.websocket.go_away()
        elif self._awaited is not Awaited.FIRST_BYTES and self._awaited is not Awaited.HANDSHAKE:
            self.try_close_idle()

    def _is_idle(self) -> bool:
        return self.exchange is None and self._parser is None and not self._held

    def _unsent(self) -> int:
        return super()._unsent() + (self._sender.left if self._sender is not None else 0)

    # --- deadlines

    def on_deadline(self, now: float) -> None:
        """Act on what did not come in time."""
        match self._awaited:
            case Awaited.FIRST_BYTES:
                self._on_slow_start(now)
            case Awaited.HEAD:
                self._refuse(BadRequest(408, "the request head did not arrive in time"))
            case Awaited.BODY:
                self._refuse(BadRequest(408, "the request body stopped arriving"))
            case Awaited.NEXT_REQUEST | Awaited.FIRST_REQUEST:
                # Nobody waits for an answer.
                if not self.try_close_idle():
                    self.expect(self._awaited, self._wiring.timeouts.parking_delay)
            case _:
                super().on_deadline(now)

    @property
    def is_fresh(self) -> bool:
        """Whether it waits for its first bytes, and counts as in flight meanwhile."""
        is_waited_for = self._transport is None or self._awaited in _FRESH
        return is_waited_for and self.standing is _IN_FLIGHT

    def park_if_silent(self) -> None:
        """Do not wait for the parking delay, unless bytes have come by now."""
        if not self._is_idle() or has_waiting_client(self._socket):
            return
        if self._transport is None:  # a busy loop: it is yet to be given one
            self._wiring.gate.park(self, is_idle=False)
        elif self._awaited is Awaited.HANDSHAKE:
            self._on_slow_handshake()
        else:
            self._on_slow_start(self.loop.time())

    def _on_slow_start(self, now: float) -> None:
        """Stop counting a connection that is silent or slow as in flight [GATE-2]."""
        wiring = self._wiring
        exchange = self.exchange
        is_silent = self._is_idle()
        if is_silent and wiring.closes_idle and self.try_close_idle():
            return
        is_counted = self.standing is _IN_FLIGHT and (exchange is None or not exchange.is_begun)
        if is_silent or is_counted:
            wiring.gate.park(self, is_idle=is_silent)
        if exchange is not None:
            self._awaited = _NOTHING
            self._expect_body()
        else:
            self._awaited = Awaited.FIRST_REQUEST if is_silent else Awaited.HEAD
            wiring.deadlines.set(self, max(now, self.opened_at + wiring.timeouts.header))

    def __repr__(self) -> str:
        return (
            f"<Connection client={self.client} {self.standing.value} "
            f"{self._persistence.value} awaits {self._awaited.value}>"
        )

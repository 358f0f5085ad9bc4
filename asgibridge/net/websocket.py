"""One WebSocket: between its transport, the frames of the protocol, and an application.  [ASGI-4]

What is correct is decided by the sans-I/O protocol of the `websockets` package.  Here is what it
leaves to its user: when to read, when to wait, what to keep, and what comes too late.
"""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import ProtocolError

from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.handshake import offered, render_switch
from asgibridge.http.lifecycle import WebSocketEvent, WebSocketStage
from asgibridge.net.deadlines import NEVER
from asgibridge.net.frames import render
from asgibridge.net.heartbeat import Beat, Heartbeat
from asgibridge.net.messages import MessageReader
from asgibridge.net.negotiation import negotiate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.net.connection import Connection
    from asgibridge.net.exchange import Exchange
    from asgibridge.net.wiring import WebSocketSettings, Wiring

__all__ = ["WebSocket"]

logger = logging.getLogger("asgibridge")

# Seconds in which the client is to answer a close frame.
CLOSE_TIME: Final = 5.0
# RFC 6455 §7.4.1.
_NO_CLOSE_FRAME: Final = 1006
_INTERNAL_ERROR: Final = 1011
_GONE: Final = (_NO_CLOSE_FRAME, "")

_CONNECTING: Final = WebSocketStage.CONNECTING
_OPEN: Final = WebSocketStage.OPEN
_CLOSING: Final = WebSocketStage.CLOSING
_CLOSED: Final = WebSocketStage.CLOSED


class _Awaited(enum.Enum):
    """What the deadline is about."""

    ACCEPTANCE = "the application to accept or refuse"
    HEARTBEAT = "the next ping, or a sign of life behind the last"
    CLOSE = "the client's close frame"


class WebSocket(MessageReader):
    """See `asgibridge.interfaces.WebSocket`.  Loop thread only.

    From its acceptance to its end it is the protocol of the transport.  The connection is that
    before and after, and counts it all the time.

    Attributes:
        stage, ended: see the protocol.
        deadline, slot: the wheel's.
    """

    __slots__ = (
        "_agreement",
        "_awaited",
        "_exchange",
        "_heartbeat",
        "_is_plain_out",
        "_settings",
        "_transport",
        "_wiring",
        "deadline",
        "slot",
    )

    def __init__(
        self,
        exchange: Exchange,
        connection: Connection,
        *,
        wiring: Wiring,
        settings: WebSocketSettings,
    ) -> None:
        """Take the request of *exchange* for a handshake.

        Raises:
            BadRequest: it is a bad one.
        """
        agreement = negotiate(
            exchange.head, max_size=settings.max_size, compresses=settings.compresses
        )
        super().__init__(
            connection,
            agreement.protocol,
            max_size=settings.max_size,
            max_queue=settings.max_queue,
        )
        self._agreement = agreement
        self._exchange = exchange
        self._transport = connection.transport
        self._wiring = wiring
        self._settings = settings
        self._is_plain_out = not agreement.protocol.extensions
        self._heartbeat: Heartbeat | None = None
        self.deadline = NEVER
        self.slot: int | None = None
        self._awaited = _Awaited.ACCEPTANCE
        if settings.handshake_timeout is not None:
            wiring.deadlines.set(self, wiring.loop.time() + settings.handshake_timeout)

    # --- the application's side

    def accept(self, subprotocol: str | None, headers: Iterable[Any]) -> None:
        """Complete the handshake.

        Raises:
            ResponseError: the client did not offer *subprotocol*, or a header is none.
            ClientDisconnected: the client is gone.
        """
        if self.stage is not _CONNECTING:
            raise ClientDisconnected("the client is gone")
        exchange = self._exchange
        choices = offered(exchange.head, b"sec-websocket-protocol")
        if subprotocol is not None and subprotocol not in choices:
            raise ResponseError(f"the client did not offer the subprotocol {subprotocol!r}")
        agreed = self._agreement
        fields = list(headers)
        head = render_switch(
            agreed.accept, agreed.extensions, subprotocol, fields, self._wiring.clock
        )
        self._move(WebSocketEvent.ACCEPTED)
        exchange.response.status = 101
        exchange.response.headers = fields
        exchange.write([head])
        self._is_plain_in = True
        self._start_heartbeat()
        early = self._connection.hand_over(self)
        if early:
            self.data_received(early)
        if self._wiring.closes_idle:
            self.go_away()

    def send(self, message: str | bytes) -> bool:
        """Send a message; return whether the client is slower than that.

        Raises:
            ClientDisconnected: it has ended.
        """
        if self.stage is not _OPEN or self._transport.is_closing():
            if self.stage is _CONNECTING:
                raise ResponseError("a message cannot be sent before 'websocket.accept'")
            raise ClientDisconnected("the WebSocket is closed")
        if type(message) is not str and type(message) is not bytes:
            # A subclass may be anything, and what can change must not be remembered.
            message = str(message) if isinstance(message, str) else bytes(message)
        if self._is_plain_out:
            buffers, size = render(message)
            if len(buffers) == 1:
                self._transport.write(buffers[0])
            else:
                self._connection.write(buffers)
        else:
            size = self._send_by_protocol(message)
        self._exchange.response.body_bytes += size
        return self._connection.is_write_paused

    def _send_by_protocol(self, message: str | bytes) -> int:
        """Send with the extensions that were agreed on; return the size before them."""
        if isinstance(message, str):
            data = message.encode()
            self._protocol.send_text(data)
        else:
            data = message
            self._protocol.send_binary(data)
        self._send_out()
        return len(data)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; what the client still says is not wanted.

        Raises:
            ClientDisconnected: it has begun already.
            ResponseError: no close frame can say *code* or *reason*.
        """
        if self.stage is not _OPEN:
            raise ClientDisconnected("the WebSocket is closed")
        self._inbox.clear()
        self._unread = 0
        self._say_goodbye(code, reason)

    # --- the server's side

    def go_away(self) -> None:
        """Tell both sides that the server stops."""
        if self.stage is _OPEN:
            self._say_goodbye(self._wiring.going_away, "")

    def on_gone(self) -> None:
        """The client has ended its half before it was accepted, or the exchange is over."""
        if self.stage is _CONNECTING or self._exchange.is_gone:
            self._end(_GONE)

    def on_deadline(self, now: float) -> None:
        """Act on what did not come in time."""
        match self._awaited:
            case _Awaited.ACCEPTANCE:
                logger.warning("the application took too long to accept %r", self._exchange)
                self._exchange.fail(504)
            case _Awaited.HEARTBEAT:
                self._beat(now)
            case _Awaited.CLOSE:
                self._give_back(lingers=False)
                self._connection.abort()

    # --- what the loop calls

    def eof_received(self) -> bool:
        """The client will not say goodbye any more: it counts as gone."""
        if self.stage is _CLOSING:
            self._give_back(lingers=False)
        else:
            self._end(_GONE)
            self._connection.close()
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._is_flooded = False
        self._connection.resume_writing()
        self._catch_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket closes right after this call."""
        if self.stage is _CLOSING:  # it took our close frame for the last word
            self._give_back(lingers=False)
        self._end(_GONE)
        self._connection.connection_lost(exc)

    # --- pings

    def _start_heartbeat(self) -> None:
        settings = self._settings
        self._heartbeat = heartbeat = Heartbeat(
            self._wiring.loop.time(), interval=settings.ping_interval, timeout=settings.ping_timeout
        )
        self._awaited = _Awaited.HEARTBEAT
        self._wiring.deadlines.set(self, heartbeat.next)

    def _beat(self, now: float) -> None:
        """Ping, or give up a client that is silent although it is listened to."""
        heartbeat = self._heartbeat
        assert heartbeat is not None  # noqa: S101 - it has been accepted
        is_alive = self._is_heard or self._is_held_up or self._connection.is_write_paused
        self._is_heard = False
        match heartbeat.beat(now, is_alive=is_alive):
            case Beat.END:
                self._fail(_INTERNAL_ERROR, "keepalive ping timeout")
                return
            case Beat.PING:
                self._protocol.send_ping(b"")
                self._send_out()
            case Beat.NOTHING:
                pass
        self._wiring.deadlines.set(self, heartbeat.next)

    # --- the end

    def _say_goodbye(self, code: int, reason: str) -> None:
        try:
            self._protocol.send_close(code, reason)
        except ProtocolError as error:
            raise ResponseError(f"no close frame says {code} {reason!r}: {error}") from error
        self._move(WebSocketEvent.CLOSE_SENT)
        self.ended = (code, reason)
        self._is_plain_in = False
        self._awaited = _Awaited.CLOSE
        self._wiring.deadlines.set(self, self._wiring.loop.time() + CLOSE_TIME)
        self._send_out()
        self._wake()
        self._catch_up()

    def _fail(self, code: int, reason: str) -> None:
        """Close without waiting for the client's close frame (RFC 6455 §7.1.7)."""
        self._protocol.fail(code, reason)
        self._send_out()

    def _send_out(self) -> None:
        """Send what the protocol has to say; its last word is that nothing follows."""
        writes = self._protocol.data_to_send()
        if not writes:
            return
        data = b"".join(writes)
        if data:
            self._connection.write([data])
        if writes[-1]:
            return
        said = self._protocol.close_rcvd or self._protocol.close_sent
        if self.ended is None and said is not None:
            self.ended = (int(said.code), said.reason)
        # A client that has not said goodbye may still be sending.
        self._give_back(lingers=self._protocol.close_rcvd is None)

    def _give_back(self, *, lingers: bool) -> None:
        """Leave the transport to the connection, to be closed."""
        self._end(_GONE)
        self._connection.take_back(lingers=lingers)

    def _end(self, ended: tuple[int, str]) -> None:
        """Be over; what has come before is still there to be taken."""
        if self.stage is _CLOSED:
            return
        self._move(WebSocketEvent.OVER)
        if self.ended is None:
            self.ended = ended
        self._wiring.deadlines.remove(self)
        self._buffer = self._message = None
        self._wake()

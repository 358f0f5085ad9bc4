"""One client's transport: bytes out, back-pressure, what is awaited, and the ways to close.

`Connection` puts requests and responses on top of it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import sys
from typing import TYPE_CHECKING, Final, cast

from asgibridge.http.lifecycle import PERSISTENCE_MOVES, Persistence, PersistenceEvent
from asgibridge.net.deadlines import NEVER
from asgibridge.net.gate import Standing
from asgibridge.net.sockets import has_waiting_client

if TYPE_CHECKING:
    import socket

    from asgibridge.interfaces import Client, ServerAddress
    from asgibridge.net.tls import TlsTransport
    from asgibridge.net.tls_facts import TlsFacts
    from asgibridge.net.wiring import Wiring

__all__ = ["HANDSHAKE_PATIENCE", "LINGER_TIME", "MAX_LINGERED", "Awaited", "Link"]

logger = logging.getLogger("asgibridge")

# Seconds and bytes for which a closed connection goes on reading, so that the client can read the
# answer before the kernel resets the connection over unread input (RFC 9112 §9.6).
LINGER_TIME: Final = 2.0
# Seconds after which a TLS handshake that is not done may be given up: for others who wait while
# the process is full, or because it stops.  Far more than round trips to the other side of the
# world take.
HANDSHAKE_PATIENCE: Final = 2.0
MAX_LINGERED: Final = 1 << 20
# In these versions asyncio's own `writelines` never pauses the protocol, so that a client that does
# not read could fill the memory (CVE-2024-12254).
_LINES_ARE_BOUNDED: Final = not (
    (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2)
)


class Awaited(enum.Enum):
    """What a connection's deadline is about."""

    NOTHING = "nothing"
    HANDSHAKE = "the end of a TLS handshake"
    LATE_HANDSHAKE = "the end of a TLS handshake, while others may take its place"
    FIRST_BYTES = "first bytes, before parking"
    FIRST_REQUEST = "a first request, silent so far"
    HEAD = "the rest of a request head"
    BODY = "more of a request body"
    NEXT_REQUEST = "the next request"
    READER = "the client to read"
    LAST_INPUT = "the end of unwanted input"


_NOTHING: Final = Awaited.NOTHING
_REUSE: Final = Persistence.REUSE


class Link(asyncio.Protocol):
    """The lower half of a connection.  Loop thread only.

    Attributes:
        client, server: the two ends.
        scheme: `https` under TLS, else `http`.
        tls: what is known of its TLS, once the handshake is done; None without.
        loop: the loop that serves it.
        opened_at: loop time of accept(2).
        is_write_paused: whether the transport is above its high-water mark.
        standing: the gate's.
        deadline, slot: the wheel's.
    """

    __slots__ = (
        "_awaited",
        "_buffered_before",
        "_lingered",
        "_persistence",
        "_socket",
        "_transport",
        "_wiring",
        "client",
        "deadline",
        "is_write_paused",
        "loop",
        "opened_at",
        "scheme",
        "server",
        "slot",
        "standing",
        "tls",
    )

    def __init__(
        self, wiring: Wiring, sock: socket.socket, client: Client, server: ServerAddress
    ) -> None:
        """Serve *sock*, just accepted."""
        self._wiring = wiring
        self._socket = sock
        self._transport: asyncio.Transport | None = None
        self._persistence = _REUSE
        self._awaited = _NOTHING
        self._buffered_before = 0
        self._lingered = 0
        self.client = client
        self.server = server
        self.scheme = "http"
        self.tls: TlsFacts | None = None
        self.loop = wiring.loop
        self.opened_at = wiring.loop.time()
        self.is_write_paused = False
        self.standing = Standing.OUTSIDE
        self.deadline = NEVER
        self.slot: int | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once there is one."""
        assert self._transport is not None  # noqa: S101 - nothing happens before connection_made
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for a first request."""
        self._transport = cast("asyncio.Transport", transport)
        if self._persistence is Persistence.CLOSED:
            # The task that was to see it opened has been cancelled: nobody counts it any more.
            self._transport.abort()
            return
        self.expect(Awaited.FIRST_BYTES, self._wiring.timeouts.parking_delay)

    # --- the handshake, under TLS

    def handshake_begun(self, transport: TlsTransport) -> None:
        """Wait for the handshake, before `connection_made`'s part."""
        self._transport = transport
        self.scheme = "https"
        if self._persistence is Persistence.CLOSED:
            transport.abort()
            return
        self.expect(Awaited.HANDSHAKE, self._wiring.timeouts.parking_delay)

    def handshake_done(self, transport: TlsTransport, facts: TlsFacts) -> None:
        """Wait for a first request, from a client that may have been parked meanwhile."""
        self.tls = facts
        wiring = self._wiring
        if self.standing is not Standing.PARKED or wiring.closes_idle:
            self.connection_made(transport)
            return
        wiring.gate.park(self, is_idle=True)
        self._awaited = Awaited.FIRST_REQUEST
        wiring.deadlines.set(self, max(self.loop.time(), self.opened_at + wiring.timeouts.header))

    def _on_slow_handshake(self) -> None:
        """Stop counting a handshake as in flight; later let it make way for others [GATE-5].

        Not at once: an honest client needs some round trips, and most of the time is the network's.
        """
        wiring = self._wiring
        now = self.loop.time()
        end = self.opened_at + wiring.timeouts.header
        late = self.opened_at + HANDSHAKE_PATIENCE
        if now < min(late, end):
            wiring.gate.park(self, is_idle=False)
            wiring.deadlines.set(self, min(late, end))
        elif self._awaited is Awaited.LATE_HANDSHAKE or now >= end or wiring.closes_idle:
            logger.debug("handshake failed client=%s reason=it takes too long", self.client)
            self.abort()
        else:
            self._awaited = Awaited.LATE_HANDSHAKE
            wiring.gate.park(self, is_idle=True)
            wiring.deadlines.set(self, end)

    # --- bytes

    @property
    def unsent(self) -> int:
        """Bytes of responses that the client has yet to take."""
        return self._unsent() if self._transport is not None else 0

    def write(self, buffers: list[bytes]) -> None:
        """Hand *buffers* to the transport; to nobody when it is closing."""
        transport = self._transport
        if transport is None or transport.is_closing():
            # uvloop raises here; whoever answers need not know that its client has gone.
            return
        if len(buffers) == 1:
            transport.write(buffers[0])
        elif buffers and _LINES_ARE_BOUNDED:
            transport.writelines(buffers)
        elif buffers:
            transport.write(b"".join(buffers))

    def pause_reading(self) -> None:
        """Leave further bytes in the kernel."""
        if self.transport.is_reading():
            self.transport.pause_reading()
            if self._awaited is Awaited.BODY:
                self.expect_nothing()

    # --- what is awaited

    def expect(self, awaited: Awaited, timeout: float) -> None:
        """Wait for *awaited*, *timeout* seconds at most."""
        self._awaited = awaited
        self._wiring.deadlines.set(self, self.loop.time() + timeout)

    def expect_nothing(self) -> None:
        """Wait without a bound: for the application, say."""
        self._awaited = _NOTHING
        self.deadline = NEVER

    def expect_progress(self) -> None:
        """Give the client the write timeout to read something."""
        self._buffered_before = self._unsent()
        self.expect(Awaited.READER, self._wiring.timeouts.write)

    def on_deadline(self, now: float) -> None:  # noqa: ARG002 - the wheel's protocol
        """Act on what did not come in time."""
        match self._awaited:
            case Awaited.READER:
                self._on_write_timeout()
            case Awaited.HANDSHAKE | Awaited.LATE_HANDSHAKE:
                self._on_slow_handshake()
            case Awaited.LAST_INPUT if not self._unsent():
                self.abort()
            case Awaited.LAST_INPUT:
                self.expect_progress()  # slow to read its answer; the rest of its time is for that
            case _:
                pass

    def _unsent(self) -> int:
        """Count the bytes that the client has yet to take."""
        return self.transport.get_write_buffer_size()

    def _on_write_timeout(self) -> None:
        unsent = self._unsent()
        if not unsent and self._persistence is Persistence.LINGERING:
            self.abort()
            return
        if unsent < self._buffered_before:
            self.expect_progress()
            return
        logger.info("cut client=%s reason=it does not read its response", self.client)
        self.cut("the client does not read")

    # --- closing

    def must_close(self) -> None:
        """Serve no further request."""
        self._persistence = PERSISTENCE_MOVES[self._persistence, PersistenceEvent.MUST_CLOSE]

    def close(self) -> None:
        """Close after what is buffered has been sent."""
        transport = self.transport
        transport.close()
        if transport.get_write_buffer_size():
            self.expect_progress()
            self.stop_counting()

    def stop_counting(self) -> None:
        """Count as in flight no more: the application has done its part [GATE-2]."""
        if self.standing is Standing.IN_FLIGHT:
            self._wiring.gate.park(self, is_idle=False)

    def linger(self, *, is_half_closed: bool) -> None:
        """End our half and read on for a while, throwing it away (RFC 9112 §9.6)."""
        self._persistence = PERSISTENCE_MOVES[self._persistence, PersistenceEvent.LINGER]
        transport = self.transport
        if transport.is_closing():
            return
        if is_half_closed:
            self.close()
        else:
            try:
                transport.write_eof()
            except OSError:  # asyncio's own shutdown(2): the client has reset the connection
                self.abort()
                return
            if not transport.is_reading():
                transport.resume_reading()
            self.expect(Awaited.LAST_INPUT, LINGER_TIME)
        self.stop_counting()

    def throw_away(self, data: bytes) -> None:
        """Take *data* that came while lingering."""
        self._lingered += len(data)
        if self._lingered > MAX_LINGERED:
            self.abort()

    def try_evict(self) -> bool:
        """Close if idle, unless something has just come in; return whether it closes at once."""
        # A client that is slow to take its last answer would not make room soon.
        return not self.unsent and self.try_close_idle()

    def try_close_idle(self) -> bool:
        """Close if idle, unless something has just come in; return whether it will close."""
        if self._transport is None or self._persistence is not _REUSE or not self._is_idle():
            return False
        if self._transport.is_closing() or has_waiting_client(self._socket):
            return False
        self.must_close()
        self.close()
        return True

    def _is_idle(self) -> bool:
        """Whether nothing is under way."""
        raise NotImplementedError

    def cut(self, why: str) -> None:
        """End what is under way, and the connection with it; *why* goes to the access log."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close at once, whatever is buffered."""
        if self._transport is not None:
            self._transport.abort()

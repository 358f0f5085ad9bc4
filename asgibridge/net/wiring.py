"""What all connections of one server share, handed to them by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asgibridge.http.parser import ParserLimits, RequestParser
    from asgibridge.interfaces import Handler
    from asgibridge.net.clock import HeaderClock
    from asgibridge.net.connection import Connection
    from asgibridge.net.deadlines import Deadlines
    from asgibridge.net.exchange import Exchange
    from asgibridge.net.gate import Gate
    from asgibridge.net.outbox import Outbox
    from asgibridge.net.proxy import TrustedProxies
    from asgibridge.net.sharing import Sharing
    from asgibridge.net.websocket import WebSocket

__all__ = ["BUCKETS", "Counters", "Timeouts", "WebSocketSettings", "Wiring"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long things may take, in seconds.  See section 4 of the semantics.

    Attributes:
        parking_delay: silence or slowness after which a connection stops counting as in flight.
        header: first byte to end of head; also a silent new connection.
        body: inactivity while a body arrives.
        write: no progress while the client should read.
        keep_alive: idle between two requests.
    """

    parking_delay: float = 0.1
    header: float = 30.0
    body: float = 30.0
    write: float = 60.0
    keep_alive: float = 75.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSettings:
    """The bounds of a WebSocket.

    Attributes:
        max_size: bytes of one message, decompressed.
        max_queue: messages that wait for the application before the socket is not read any more.
        ping_interval: seconds between two pings; None: none are sent.
        ping_timeout: seconds of silence behind a ping that end it; None: for ever.
        handshake_timeout: seconds in which the application accepts it or not; None: for ever.
        compresses: offers permessage-deflate to clients that know it.
    """

    max_size: int = 2**24
    max_queue: int = 32
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    handshake_timeout: float | None = 30.0
    compresses: bool = True


BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets of request times, in seconds; one more bucket holds the rest."""


@dataclass(slots=True)
class Counters:
    """Plain numbers, counted on the loop.

    Attributes:
        request_seconds: from the handing over of requests to the end of their responses.
        request_times: how many requests took up to each of `BUCKETS`, and longer than the last.
    """

    accepted: int = 0
    requests: int = 0
    refused: int = 0
    cut: int = 0
    bytes_sent: int = 0
    request_seconds: float = 0.0
    request_times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))


@dataclass(slots=True, kw_only=True)
class Wiring:
    """What a connection needs of its server.

    Attributes:
        may_send_directly: a pool thread may send to a client's socket itself.
        is_draining: responses say that their connections are not to be reused; from the start on
            if there is no keep-alive.
        closes_idle: and those which are idle are closed.
        open_websocket: makes one of an exchange; None where no handler wants any.
        going_away: the code with which a drain closes WebSockets: 1001, or 1012 if the same
            address will be served again at once.
        on_ended: called when an exchange is over, if anybody records that (the access log).
        on_refused: likewise, for a request that never became an exchange: connection, status,
            reason.
        on_closed: called when a connection has closed.
        proxies: whose word about clients is taken; None if nobody's.
        parser: reads the requests that come in one piece, whosever they are.
    """

    loop: asyncio.AbstractEventLoop
    gate: Gate
    deadlines: Deadlines
    outbox: Outbox
    clock: HeaderClock
    handler: Handler
    parser: RequestParser
    limits: ParserLimits
    timeouts: Timeouts
    max_body_memory: int
    may_send_directly: bool = False
    proxies: TrustedProxies | None = None
    sharing: Sharing | None = None
    is_draining: bool = False
    closes_idle: bool = False
    open_websocket: Callable[[Exchange, Connection], WebSocket] | None = None
    going_away: int = 1001
    on_ended: Callable[[Exchange, Connection], None] | None = None
    on_refused: Callable[[Connection, int, str], None] | None = None
    on_closed: Callable[[], None] | None = None
    connections: set[Connection] = field(default_factory=set)
    counters: Counters = field(default_factory=Counters)

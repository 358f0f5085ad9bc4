"""What all connections of one server share, handed to them by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asgibridge.http.parser import ParserLimits, RequestParser
    from asgibridge.interfaces import Handler
    from asgibridge.net.acceptor import Acceptor
    from asgibridge.net.clock import HeaderClock
    from asgibridge.net.connection import Connection
    from asgibridge.net.deadlines import Deadlines
    from asgibridge.net.exchange import Exchange
    from asgibridge.net.gate import Gate
    from asgibridge.net.outbox import Outbox
    from asgibridge.net.proxy import TrustedProxies

__all__ = ["Counters", "Timeouts", "Wiring"]


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


@dataclass(slots=True)
class Counters:
    """Plain integers, counted on the loop."""

    accepted: int = 0
    requests: int = 0
    refused: int = 0
    cut: int = 0
    bytes_sent: int = 0


@dataclass(slots=True, kw_only=True)
class Wiring:
    """What a connection needs of its server.

    Attributes:
        may_send_directly: a pool thread may send to a client's socket itself.
        is_draining: responses say that their connections are not to be reused.
        closes_idle: and those which are idle are closed.
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
    acceptor: Acceptor | None = None
    is_draining: bool = False
    closes_idle: bool = False
    on_ended: Callable[[Exchange, Connection], None] | None = None
    on_refused: Callable[[Connection, int, str], None] | None = None
    on_closed: Callable[[], None] | None = None
    connections: set[Connection] = field(default_factory=set)
    counters: Counters = field(default_factory=Counters)

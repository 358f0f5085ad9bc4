"""A connection between a fake transport and a fake handler, on a loop that the test turns."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Self

from asgibridge.http.parser import ParserLimits, RequestParser
from asgibridge.net.clock import HeaderClock
from asgibridge.net.connection import Connection
from asgibridge.net.deadlines import Deadlines
from asgibridge.net.gate import Gate
from asgibridge.net.outbox import Outbox
from asgibridge.net.websocket import WebSocket
from asgibridge.net.wiring import Timeouts, WebSocketSettings, Wiring
from support.fakes import FakeLoop, FakeTransport
from support.websockets import handshake

if TYPE_CHECKING:
    from asgibridge.interfaces import Exchange

__all__ = ["FakeHandler", "Rig", "WebSocketRig"]


class FakeHandler:
    """Keeps the exchanges it is given, and answers when the test says so."""

    def __init__(self, *, wants_whole_body: bool) -> None:
        """Want what an ASGI or a WSGI handler wants."""
        self.wants_whole_body = wants_whole_body
        self.exchanges: list[Exchange] = []

    def begin(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def answer(self, body: bytes = b"") -> None:
        """Answer the oldest exchange with *body*."""
        exchange = self.exchanges.pop(0)
        line = b"HTTP/1.1 200 OK\r\n"
        exchange.finish(exchange.response.whole(200, line, [], body))


class Rig:
    """One connection and all that it hangs on.  A context manager: it has a real socket pair."""

    def __init__(self, *, wants_whole_body: bool = True, timeouts: Timeouts | None = None) -> None:
        """Accept one client and give it a transport."""
        self.loop = FakeLoop()
        self.gate = Gate(worker_connections=2, max_in_flight=None)
        self.handler = FakeHandler(wants_whole_body=wants_whole_body)
        self.transport = FakeTransport()
        limits = ParserLimits(max_body_size=1_000_000)
        loop = self.loop.as_loop()
        self.wiring = Wiring(
            loop=loop,
            gate=self.gate,
            deadlines=Deadlines(loop),
            outbox=Outbox(loop),
            clock=HeaderClock(server_header=False),
            handler=self.handler,
            parser=RequestParser(limits),
            limits=limits,
            timeouts=timeouts or Timeouts(),
            max_body_memory=1000,
        )
        self.near, self.far = socket.socketpair()
        self.connection = Connection(self.wiring, self.near, None, ("a", 1))
        self.gate.enter(self.connection)
        self.wiring.connections.add(self.connection)
        self.transport.protocol = self.connection

    def connect(self) -> Self:
        """Have the transport made."""
        self.connection.connection_made(self.transport)
        return self

    def lose(self) -> None:
        """Have the connection lost."""
        self.connection.connection_lost(None)

    @property
    def statuses(self) -> list[int]:
        """The status codes of what has been written, in order."""
        everything = self.transport.sent + self.transport.buffered
        return [int(part[:3]) for part in everything.split(b"HTTP/1.1 ")[1:]]

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.near.close()
        self.far.close()


class WebSocketRig(Rig):
    """A connection on which a WebSocket has been asked for.

    Attributes:
        exchange: the one that asks for it.
        websocket: what the handshake has led to.
    """

    def __init__(
        self,
        *lines: str,
        settings: WebSocketSettings | None = None,
        timeouts: Timeouts | None = None,
        early: bytes = b"",
    ) -> None:
        """Send a good handshake with further header *lines*, and *early* right behind it."""
        super().__init__(wants_whole_body=False, timeouts=timeouts)
        self.wiring.open_websocket = functools.partial(
            WebSocket, wiring=self.wiring, settings=settings or WebSocketSettings()
        )
        self.connect()
        self.receive(handshake("/", *lines) + early)
        self.exchange = self.handler.exchanges.pop()
        websocket = self.exchange.open_websocket()
        assert isinstance(websocket, WebSocket)
        self.websocket = websocket

    def receive(self, data: bytes) -> None:
        """Have *data* come from the client, if it is listened to."""
        assert self.transport.is_reading()
        self.transport.protocol.data_received(data)

    def accept(self) -> Self:
        """Accept, and let the client read the answer."""
        self.websocket.accept(None, [])
        self.transport.client_reads()
        assert self.transport.sent.startswith(b"HTTP/1.1 101 ")
        self.transport.sent = b""
        return self

    def lose(self) -> None:
        """Have the connection lost."""
        self.transport.protocol.connection_lost(None)

    @property
    def written(self) -> bytes:
        """Take what has been written since the last look."""
        self.transport.client_reads()
        taken, self.transport.sent = self.transport.sent, b""
        return taken

    @property
    def messages(self) -> list[str | bytes]:
        """Take all messages that wait."""
        return list(iter(self.websocket.take, None))

    def __enter__(self) -> Self:
        return self

"""From an accepted socket to a connection: counted at once, given a transport a moment later."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Final

from asgibridge.net.connection import Connection
from asgibridge.net.tls import TlsTransport

if TYPE_CHECKING:
    import asyncio

    from asgibridge.interfaces import Client, ServerAddress
    from asgibridge.net.certificates import TlsTerms
    from asgibridge.net.sockets import Listener
    from asgibridge.net.wiring import Wiring

__all__ = ["Reception"]

logger = logging.getLogger("asgibridge")

# New connections remembered, before those who have sent something are sorted out.
_MAX_FRESH: Final = 256

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class Reception:
    """Admits sockets.  Loop thread only."""

    def __init__(self, wiring: Wiring, tls: TlsTerms | None = None) -> None:
        """Make connections that share *wiring*, and speak TLS on the terms of *tls*."""
        self._wiring = wiring
        self._tls = tls
        self._servers: dict[Listener, ServerAddress | None] = {}
        # Held until each is done: the loop keeps weak references only.
        self._opening: set[asyncio.Task[None]] = set()
        # Those who may not have sent anything yet.
        self._fresh: list[Connection] = []

    def admit(self, sock: socket.socket, address: object, listener: Listener) -> None:
        """Count *sock* in and give it a connection.  Called right after accept(2), with room."""
        wiring = self._wiring
        sock.setblocking(False)  # noqa: FBT003 - the name of the method says it
        try:
            connection = Connection(wiring, sock, _client(address), self._server(sock, listener))
        except OSError:  # the client has gone already
            sock.close()
            return
        wiring.gate.enter(connection)
        wiring.counters.accepted += 1
        wiring.connections.add(connection)
        self._fresh.append(connection)
        if len(self._fresh) > _MAX_FRESH:
            self._fresh = [each for each in self._fresh if each.is_fresh]
        task = wiring.loop.create_task(self._open(connection, sock))
        self._opening.add(task)
        task.add_done_callback(lambda done: self._on_opened(done, connection, sock))

    def park_silent(self) -> None:
        """Park the new connections that have sent nothing, though others wait to be let in."""
        fresh, self._fresh = self._fresh, []
        # Parking lets others in at once, who are added to the new list.
        for connection in fresh:
            if connection.is_fresh:
                connection.park_if_silent()

    async def _open(self, connection: Connection, sock: socket.socket) -> None:
        tls = self._tls
        await self._wiring.loop.connect_accepted_socket(
            lambda: connection if tls is None else TlsTransport(connection, tls), sock
        )

    def _on_opened(
        self, task: asyncio.Task[None], connection: Connection, sock: socket.socket
    ) -> None:
        """Count *connection* out if it got no transport.

        A callback, because a task that is cancelled before its first step runs nothing of its own.
        """
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.warning("a client could not be served: %s", error)
        if error is not None or task.cancelled():
            connection.connection_lost(None)
            sock.close()

    def _server(self, sock: socket.socket, listener: Listener) -> ServerAddress:
        """Tell which address the client reached; asked once for a listener that has only one."""
        try:
            known = self._servers[listener]
        except KeyError:
            name = listener.socket.getsockname()
            known = None if name[0] in _WILDCARDS else _server_address(sock, name)
            self._servers[listener] = known
        return known if known is not None else _server_address(sock, sock.getsockname())


def _server_address(sock: socket.socket, name: object) -> ServerAddress:
    if sock.family == socket.AF_UNIX:
        return (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name), None)
    assert isinstance(name, tuple)  # noqa: S101 - what getsockname gives for AF_INET and AF_INET6
    return (_unmapped(name[0]), name[1])


def _client(address: object) -> Client:
    if not isinstance(address, tuple):
        return None  # of a Unix socket
    return (_unmapped(address[0]), address[1])


def _unmapped(host: str) -> str:
    """Write an IPv4 client of a dual-stack socket as what it is (RFC 4291 §2.5.5.2)."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host

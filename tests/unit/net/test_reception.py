"""From accept(2) to a connection, and what becomes of one that gets no transport."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.connections import Rig
from support.waiting import until

from asgibridge.net.reception import Reception
from asgibridge.net.sockets import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgibridge.net.connection import Connection


class Reluctant:
    """The running loop, but it gives no transport."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.never = asyncio.Event()
        self.create_task = asyncio.get_running_loop().create_task
        self.call_soon = asyncio.get_running_loop().call_soon
        self.time = asyncio.get_running_loop().time

    async def connect_accepted_socket(self, *_: object) -> None:
        if self._error is not None:
            raise self._error
        await self.never.wait()


@contextmanager
def accepted() -> Iterator[tuple[Listener, socket.socket, object]]:
    """Accept one client of a listener of IPv4."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        sock, address = listening.accept()
        yield Listener(listening), sock, address


def reception(rig: Rig, error: Exception | None) -> Reception:
    rig.lose()
    rig.wiring.loop = Reluctant(error)  # type: ignore[assignment]
    return Reception(rig.wiring)


async def test_client_that_gets_no_transport_is_counted_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Rig() as rig, accepted() as (listener, sock, address):
        door = reception(rig, OSError("no memory"))
        with caplog.at_level(logging.WARNING, logger="asgibridge"):
            door.admit(sock, address, listener)
            assert rig.gate.open == 1
            await until(lambda: not rig.gate.open)
        assert sock.fileno() == -1
        assert [each.message for each in caplog.records] == [
            "a client could not be served: no memory"
        ]


@pytest.mark.parametrize("turns", [0, 3])
async def test_cancelled_opening_leaves_no_socket_and_no_count(turns: int) -> None:
    """Before its first step, too, of which a coroutine learns nothing."""
    with Rig() as rig, accepted() as (listener, sock, address):
        door = reception(rig, None)
        door.admit(sock, address, listener)
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in list(door._opening):
            task.cancel()
        await until(lambda: not rig.gate.open)
        assert sock.fileno() == -1


async def test_connection_knows_both_its_ends() -> None:
    with Rig() as rig, accepted() as (listener, sock, address):
        door = reception(rig, None)
        door.admit(sock, address, listener)
        connection: Connection
        (connection,) = rig.wiring.connections
        assert connection.client == address
        assert connection.server == listener.socket.getsockname()
        for task in list(door._opening):
            task.cancel()
        await until(lambda: not rig.gate.open)

"""Idle kept-alive connections: open many, send one request on each, hold them, weigh the server."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from typing import Final

from loadtests import websocket_driver
from loadtests.measure import process_tree, resident_bytes

__all__ = ["IdleError", "bytes_per_connection", "raise_descriptor_limit"]

# Descriptors that client and server need beside the connections.
SPARE_DESCRIPTORS: Final = 200
TIMEOUT: Final = 10.0
# Requests on one connection before the first weighing: every code path has run, caches are filled.
WARM_UP_REQUESTS: Final = 500
# Seconds between the last answer and the second weighing, for what is freed late.
SETTLE_SECONDS: Final = 1.5
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
MESSAGE: Final = b"x" * 64


class IdleError(Exception):
    """The connections could not be opened or were not kept."""


def raise_descriptor_limit(connections: int) -> None:
    """Raise our limit of open files, which servers started later inherit.

    Raises:
        IdleError: The hard limit is too low.
    """
    needed = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (-1, resource.RLIM_INFINITY) and hard < needed:
        raise IdleError(f"the hard limit of open files is {hard}, {needed} are needed; raise it")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def bytes_per_connection(
    leader: int, port: int, connections: int, *, is_websocket: bool = False
) -> float:
    """Hold *connections* idle and return by how much each one makes the server grow.

    Before, each has sent one request; a WebSocket one message, which came back.

    Raises:
        IdleError: A connection got no answer, or was closed by the server while it was held.
    """
    connect = websocket_driver.connect if is_websocket else _connect
    exchange = _exchange_message if is_websocket else _exchange
    with contextlib.ExitStack() as held:
        try:
            first = held.enter_context(connect(port))
            for _ in range(WARM_UP_REQUESTS):
                exchange(first)
            before = _weight(leader)
            clients = [first]
            for _ in range(connections - 1):
                clients.append(held.enter_context(connect(port)))
                exchange(clients[-1])
        except (OSError, websocket_driver.DriverError) as error:
            raise IdleError(f"a connection failed: {error}") from error
        time.sleep(SETTLE_SECONDS)
        closed = sum(_is_closed(client) for client in clients)
        if closed:
            raise IdleError(f"the server closed {closed} of {connections} idle connections")
        return (_weight(leader) - before) / (connections - 1)


def _weight(leader: int) -> int:
    """Return the resident memory of the whole process tree: what does not serve does not grow."""
    return sum(resident_bytes(process.pid) for process in process_tree(leader))


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def _exchange(client: socket.socket) -> None:
    """Send the request and read the answer to its end.

    Raises:
        IdleError: The server closed the connection, or answered something else.
    """
    client.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\nHello, world!\n"):
        data = client.recv(4096)
        if not data:
            raise IdleError(f"the server closed a connection after {answer[:80]!r}")
        answer += data
    if b" 200" not in answer.partition(b"\r\n")[0]:
        raise IdleError(f"the server answered {answer[:80]!r}")


def _exchange_message(client: socket.socket) -> None:
    """Send a message and read it back.

    Raises:
        IdleError: The server closed the WebSocket, or sent something else.
    """
    client.sendall(websocket_driver.request_frame(MESSAGE))
    expected = websocket_driver.answer_frame(MESSAGE)
    answer = b""
    while len(answer) < len(expected):
        data = client.recv(4096)
        if not data:
            raise IdleError(f"the server closed a WebSocket after {answer[:80]!r}")
        answer += data
    if answer != expected:
        raise IdleError(f"the server sent {answer[:80]!r}")


def _is_closed(client: socket.socket) -> bool:
    """Say whether the server has closed the connection (an idle one has nothing to read)."""
    client.settimeout(0)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True

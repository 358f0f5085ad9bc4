"""Get a thread stuck in every worker, as a request that waits for ever for a database does."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StickError", "stuck_workers", "worker_in"]

# Seconds until each worker must have got its request: chance decides who takes one.
BOUND: Final = 20.0
ANSWER_TIMEOUT: Final = 5.0
REQUEST: Final = b"GET /stuck HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class StickError(Exception):
    """Not every worker got a request that sticks."""


@contextlib.contextmanager
def stuck_workers(port: int, workers: int) -> Iterator[None]:
    """Hold one unending request in each of the *workers* behind *port*.

    The application sticks once in each process and tells which process it is.

    Raises:
        StickError: Some worker took none in time.
    """
    deadline = time.monotonic() + BOUND
    found: set[str] = set()
    with contextlib.ExitStack() as held:
        while len(found) < workers:
            if time.monotonic() > deadline:
                raise StickError(f"{len(found)} of {workers} workers took a request that sticks")
            client = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT)
            worker, is_stuck = _ask(client)
            if is_stuck:
                held.enter_context(client)
                found.add(worker)
            else:
                client.close()
        yield


def worker_in(head: bytes) -> str:
    """Return the worker that a response head names.

    Raises:
        StickError: It names none.
    """
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"x-worker":
            return value.strip().decode("latin-1")
    raise StickError(f"no worker in the answer {head[:80]!r}")


def _ask(client: socket.socket) -> tuple[str, bool]:
    """Send the request; return who took it and whether it sticks there.

    Raises:
        StickError: There was no answer.
    """
    received = b""
    try:
        client.sendall(REQUEST)
        while b"\r\n\r\n" not in received:
            data = client.recv(4096)
            if not data:
                raise StickError(f"the server closed a connection after {received[:80]!r}")
            received += data
    except OSError as error:
        raise StickError(f"a request that should stick failed: {error}") from error
    head = received.partition(b"\r\n\r\n")[0]
    # A process that is stuck already answers the whole greeting.
    return worker_in(head), b"content-length" not in head.lower()

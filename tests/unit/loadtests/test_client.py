from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from loadtests.client import Answer, Broken, Cause, Client, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = b"HTTP/1.1 200 OK\r\nX-Worker: 7\r\nContent-Length: 2\r\n\r\nhi"
BAD = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


class Script:
    """A server that answers the n-th request on each connection with the n-th of these."""

    def __init__(self, *connections: list[bytes | None]) -> None:
        self._connections = connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_closed = threading.Event()
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        for answers in self._connections:
            connection, _ = self._listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(65536)
                    if answer is None:  # close with a reset
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        break
                    connection.sendall(answer)
            self.is_closed.set()

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


@contextlib.contextmanager
def playing(*connections: list[bytes | None]) -> Iterator[Script]:
    script = Script(*connections)
    try:
        yield script
    finally:
        script.close()


def test_an_answer_is_read_once_it_is_complete() -> None:
    for end in range(len(GOOD)):
        assert parse(GOOD[:end]) is None
    assert parse(GOOD) == Answer(status=200, worker="7", keeps_alive=True)


def test_a_server_may_end_the_connection() -> None:
    answer = parse(GOOD.replace(b"X-Worker: 7", b"Connection: close"))
    assert answer == Answer(status=200, worker="", keeps_alive=False)


@pytest.mark.parametrize(
    "received",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",  # no length
        b"HTTP/1.1 two OK\r\nContent-Length: 0\r\n\r\n",
        GOOD + b"more",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_told(received: bytes) -> None:
    with pytest.raises(Broken) as caught:
        parse(received)
    assert caught.value.cause is Cause.WRONG


def test_a_kept_connection_serves_several_requests() -> None:
    with playing([GOOD, GOOD]) as server:
        client = Client(server.port, is_kept=True)
        results = [client.request("/"), client.request("/")]
        client.close()
    assert [(r.failed, r.repeated, r.worker) for r in results] == [(None, None, "7")] * 2


def test_each_request_has_its_connection_if_they_are_not_kept() -> None:
    with playing([GOOD], [GOOD]) as server:
        client = Client(server.port, is_kept=False)
        results = [client.request("/"), client.request("/")]
    assert [(r.failed, r.repeated) for r in results] == [(None, None)] * 2
    assert client.closed_idle == 0


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ([b""], Cause.CLOSED),
        ([None], Cause.RESET),
        ([GOOD[:-1]], Cause.CUT),
        ([BAD], Cause.STATUS),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], Cause.WRONG),
    ],
)
def test_failures_on_a_fresh_connection_are_told_apart(
    answers: list[bytes | None], cause: Cause
) -> None:
    with playing(answers) as server:
        client = Client(server.port, is_kept=True)
        result = client.request("/")
        client.close()
    assert (result.failed, result.repeated) == (cause, None)


@pytest.mark.parametrize(("end", "cause"), [(b"", Cause.CLOSED), (None, Cause.RESET)])
def test_a_kept_connection_that_ends_without_a_byte_is_tried_once_more(
    end: bytes | None, cause: Cause
) -> None:
    with playing([GOOD, end], [GOOD]) as server:
        client = Client(server.port, is_kept=True)
        client.request("/")
        result = client.request("/")
        client.close()
    assert (result.failed, result.repeated) == (None, cause)


def test_the_repetition_may_fail_too_and_is_the_last() -> None:
    with playing([GOOD, b""], [b""]) as server:
        client = Client(server.port, is_kept=True)
        client.request("/")
        result = client.request("/")
    assert (result.failed, result.repeated) == (Cause.CLOSED, Cause.CLOSED)


def test_a_kept_connection_that_is_cut_in_the_answer_is_a_failure() -> None:
    with playing([GOOD, GOOD[:-1]]) as server:
        client = Client(server.port, is_kept=True)
        client.request("/")
        result = client.request("/")
    assert (result.failed, result.repeated) == (Cause.CUT, None)


def test_a_kept_connection_found_closed_is_no_repetition() -> None:
    with playing([GOOD], [GOOD]) as server:
        client = Client(server.port, is_kept=True)
        client.request("/")
        server.is_closed.wait(10)
        result = client.request("/")
        client.close()
    assert (result.failed, result.repeated, client.closed_idle) == (None, None, 1)


def test_a_closed_door_is_refused() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening
        result = Client(nobody.getsockname()[1], is_kept=True).request("/")
    assert result.failed is Cause.REFUSED

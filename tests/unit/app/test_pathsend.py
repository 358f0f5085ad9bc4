"""A file as a response, read by threads where the kernel cannot send it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from support.fakes_exchange import FakeExchange
from support.waiting import until

from asgibridge.app.pathsend import FileReading, send_path
from asgibridge.app.threads import ThreadPool
from asgibridge.errors import ClientDisconnected, ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START: Any = 200, b"HTTP/1.1 200 OK\r\n", []
CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "film"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture
def pool() -> Iterator[ThreadPool[Any]]:
    pool: ThreadPool[Any] = ThreadPool(1)
    pool.start()
    yield pool
    pool.stop()


def no_pool() -> ThreadPool[Any]:
    raise AssertionError("nobody needs threads here")


async def test_kernel_sends_where_it_can(path: str) -> None:
    """[ASGI-2]."""
    exchange = FakeExchange()
    await send_path(exchange, path, START, no_pool)
    head, _, body = exchange.sent.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(CONTENT) in head
    assert body == CONTENT


async def test_threads_read_where_it_cannot(path: str, pool: ThreadPool[Any]) -> None:
    """[ASGI-2] TLS stands in between, say."""
    exchange = FakeExchange()
    exchange.may_send_file = False
    await send_path(exchange, path, START, lambda: pool)
    assert exchange.sent.partition(b"\r\n\r\n")[2] == CONTENT
    assert exchange.is_over


async def test_reading_waits_for_a_slow_client(path: str, pool: ThreadPool[Any]) -> None:
    """[ASGI-3]."""
    exchange = FakeExchange()
    exchange.may_send_file = False
    exchange.must = True
    sending = asyncio.ensure_future(send_path(exchange, path, START, lambda: pool))
    await until(lambda: len(exchange.sent) >= 262144)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(exchange.sent) < 2 * 262144
    exchange.writable.set()
    await sending
    assert exchange.sent.endswith(CONTENT)


async def test_reading_ends_with_the_client(path: str, pool: ThreadPool[Any]) -> None:
    exchange = FakeExchange()
    exchange.may_send_file = False
    exchange.must = True
    sending = asyncio.ensure_future(send_path(exchange, path, START, lambda: pool))
    await until(lambda: len(exchange.sent) >= 262144)
    exchange.leave()
    with pytest.raises(ClientDisconnected):
        await sending


async def test_file_that_ends_early_is_an_error(path: str, pool: ThreadPool[Any]) -> None:
    exchange = FakeExchange()
    exchange.may_send_file = False
    exchange.must = True
    sending = asyncio.ensure_future(send_path(exchange, path, START, lambda: pool))
    await until(lambda: len(exchange.sent) >= 262144)
    os.truncate(path, 262144)
    exchange.writable.set()
    with pytest.raises(ResponseError, match="ended 262144 bytes too early"):
        await sending


async def test_what_reading_raises_reaches_who_waits(pool: ThreadPool[Any]) -> None:
    read, write = os.pipe()  # has no positions to read from
    reading = FileReading(read, 0, 1)
    os.close(read)
    os.close(write)
    pool.submit((reading,))
    with pytest.raises(OSError, match="seek"):
        await reading.done


async def test_reading_whose_waiter_has_gone_is_forgotten(path: str) -> None:
    """Cancelled with its task; and the descriptor is closed all the same."""
    fd = os.open(path, os.O_RDONLY)
    reading = FileReading(fd, 0, 10)
    reading.done.cancel()
    os.close(fd)
    reading.run()
    await asyncio.sleep(0)
    assert reading.done.cancelled()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading._fd)


async def test_body_that_nobody_read_is_given_up_before_the_head(path: str) -> None:
    exchange = FakeExchange()
    exchange.is_body_complete = False
    with pytest.raises(AssertionError, match="fake exchange"):
        await send_path(exchange, path, START, no_pool)
    assert exchange.sent == b""

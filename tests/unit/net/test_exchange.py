"""One request and its response as handlers see them."""

from __future__ import annotations

import asyncio
import os

import pytest
from support.connections import Rig

from asgibridge.errors import ClientDisconnected


class TlsFacts:
    """What a handler sees of TLS."""

    def extension(self) -> dict[str, object]:
        return {}


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


async def test_body_is_read_in_parts_and_reading_follows() -> None:
    """[ASGI-3]: above the mark the socket is not read."""
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(POST + b"x" * 70_000)
        (exchange,) = rig.handler.exchanges
        assert not rig.transport.is_reading()
        assert await exchange.read() == (b"x" * 70_000, True)
        assert rig.transport.is_reading()
        rig.connection.data_received(b"y" * 30_000)
        assert await exchange.read() == (b"y" * 30_000, False)
        assert await exchange.read() == (b"", False)


async def test_answer_without_a_look_at_a_large_body_lets_reading_go_on() -> None:
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(POST + b"x" * 100_000)
        assert not rig.transport.is_reading()
        rig.handler.answer()
        assert rig.transport.is_reading()


@pytest.mark.parametrize("ending", ["lost", "eof"])
async def test_reader_hears_that_the_client_is_gone(ending: str) -> None:
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(POST)
        (exchange,) = rig.handler.exchanges
        reading = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0)
        if ending == "lost":
            rig.lose()
        else:
            rig.connection.eof_received()
        assert await reading is None
        await exchange.wait_ended()
        await exchange.wait_writable()


async def test_writer_waits_until_the_client_has_read() -> None:
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(GET)
        (exchange,) = rig.handler.exchanges
        head = exchange.response.start(200, b"HTTP/1.1 200 OK\r\n", [])
        exchange.write([head, *exchange.response.piece(b"x" * 100_000)])
        waiting = asyncio.ensure_future(exchange.wait_writable())
        await asyncio.sleep(0)
        assert not waiting.done()
        rig.transport.client_reads()
        await asyncio.wait_for(waiting, 5)


def test_thread_is_told_that_its_client_is_gone() -> None:
    """[WSGI-4]."""
    with Rig() as rig:
        rig.connection.data_received(GET)
        (exchange,) = rig.handler.exchanges
        rig.lose()
        with pytest.raises(ClientDisconnected):
            exchange.post([b"late"])
        exchange.post_last([b"late"])
        exchange.post_failure(500)
        assert rig.loop.due() == []


def test_body_of_a_client_that_left_is_thrown_away_or_taken_once() -> None:
    head = POST.replace(b"100000", b"2000")
    for is_taken in (False, True):
        with Rig() as rig:
            rig.connection.data_received(head + b"x" * 2000)
            (exchange,) = rig.handler.exchanges
            taken = exchange.take_body() if is_taken else None
            rig.lose()
            file, size = taken or exchange.take_body()
            assert size == (2000 if is_taken else 0)
            assert len(file.read()) == size
            file.close()


def test_thread_posts_in_order() -> None:
    with Rig() as rig:
        rig.connection.data_received(GET)
        (exchange,) = rig.handler.exchanges
        exchange.post([b"HTTP/1.1 200 OK\r\n"])
        exchange.post([b"\r\n", b"body"])
        exchange.post_last([b"!"])
        rig.loop.settle()
        assert rig.transport.buffered == b"HTTP/1.1 200 OK\r\n\r\nbody!"


def test_interim_response_is_no_answer() -> None:
    """[ASGI-2] What fails behind it is still told."""
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(GET)
        (exchange,) = rig.handler.exchanges
        exchange.inform(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        exchange.fail(500)
        exchange.inform(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        assert rig.statuses == [103, 500]


def test_kernel_sends_files_unless_tls_stands_in_between() -> None:
    """[ASGI-2]."""
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(GET)
        (exchange,) = rig.handler.exchanges
        assert exchange.may_send_file
        exchange.tls = TlsFacts()
        assert not exchange.may_send_file
        exchange.tls = None
        rig.lose()
        assert not exchange.may_send_file


def test_file_for_nobody_is_closed() -> None:
    read, write = os.pipe()
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(GET)
        (exchange,) = rig.handler.exchanges
        rig.lose()
        exchange.send_file([b"head"], read, 0, 1)
    os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)

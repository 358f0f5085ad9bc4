"""The fake exchange does what the protocol says of the real one."""

from __future__ import annotations

import os
import tempfile

import pytest
from support.fakes_exchange import FakeExchange, FakeWebSocket

from asgibridge.errors import ClientDisconnected


async def test_parts_and_end_are_kept_in_order() -> None:
    exchange = FakeExchange()
    exchange.write([b"one ", b"two "])
    exchange.post([b"three "])
    exchange.finish([b"four"])
    assert (exchange.sent, exchange.is_over) == (b"one two three four", True)


async def test_answered_exchange_takes_nothing_more() -> None:
    exchange = FakeExchange()
    exchange.send_last([b"whole"])
    exchange.post_last([b"more"])
    exchange.fail(500)
    assert (exchange.sent, exchange.failed, exchange.is_gone) == (b"whole", None, True)


async def test_failure_is_answered_only_if_nothing_was_sent() -> None:
    early, late = FakeExchange(), FakeExchange()
    early.fail(503)
    late.write([b"part"])
    late.post_failure(500)
    assert early.sent.startswith(b"HTTP/1.1 503 ")
    assert (late.sent, late.failed, late.is_over) == (b"part", 500, True)


async def test_client_that_leaves_ends_every_wait() -> None:
    exchange = FakeExchange(body=b"hello")
    assert await exchange.read() == (b"hello", False)
    exchange.must = True
    assert exchange.must_wait()
    exchange.leave()
    assert await exchange.read() is None
    await exchange.wait_ended()
    await exchange.wait_writable()
    assert not exchange.must_wait()
    with pytest.raises(ClientDisconnected):
        exchange.post([b"part"])


async def test_body_comes_in_pieces_or_as_a_file() -> None:
    exchange = FakeExchange(body=b"hello")
    exchange.bodies = [b"hel", b"lo"]
    assert [await exchange.read(), await exchange.read()] == [(b"hel", True), (b"lo", False)]
    file, size = exchange.take_body()
    assert (file.read(), size) == (b"hello", 5)


async def test_file_is_sent_from_its_descriptor() -> None:
    exchange = FakeExchange()
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        exchange.post_file([b"head "], file.fileno(), 2, 3)
    assert exchange.sent == b"head 234"


async def test_websocket_brings_messages_and_ends() -> None:
    exchange = FakeExchange()
    assert exchange.open_websocket() is None
    assert exchange.failed == 400
    exchange = FakeExchange()
    exchange.websocket = FakeWebSocket()
    socket = exchange.open_websocket()
    assert socket is exchange.websocket
    with pytest.raises(ClientDisconnected):
        socket.send("too early")
    with pytest.raises(ClientDisconnected):
        socket.close(1000, "")
    socket.accept("chat", [(b"a", b"b")])
    assert socket.take() is None
    socket.bring("hello")
    await socket.wait_message()
    assert socket.take() == "hello"
    assert not socket.send(b"there")
    socket.close(1000, "bye")
    socket.leave(1001)
    await socket.wait_message()
    assert (socket.accepted, socket.sent) == (("chat", [(b"a", b"b")]), [b"there"])
    assert (socket.closed, socket.ended) == ((1000, "bye"), (1001, ""))


def test_interim_response_is_kept_and_no_answer() -> None:
    exchange = FakeExchange()
    exchange.inform(b"hint ")
    exchange.finish([b"whole"])
    exchange.inform(b"late")
    assert exchange.sent == b"hint whole"


def test_file_sent_on_the_loop_is_closed() -> None:
    exchange = FakeExchange()
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        exchange.send_file([b"head "], os.dup(file.fileno()), 2, 3)
    assert (exchange.sent, exchange.is_over) == (b"head 234", True)

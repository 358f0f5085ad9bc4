"""Section 4, the table of timeouts: each bounds what it says, on both loops, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from support.clients import RawClient
from support.serving import Receive, Scope, Send, StartResponse, clients_of, serving
from support.waiting import until

GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSING_GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST: Final = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
# Far more than the kernel's buffers of both ends hold.
LARGE: Final = b"x" * 30_000_000


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def reading(_scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def hello_wsgi(environ: dict[str, object], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [LARGE if environ["PATH_INFO"] == "/large" else b"hello"]


def streaming_wsgi(_environ: dict[str, object], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [b"y" * 65536] * 500


# --- header_timeout


async def test_head_that_stops_arriving_is_told_408() -> None:
    async with serving(hello, header_timeout=0.2, parking_delay=0.02) as server:
        async with clients_of(server.urls) as (client,):
            await client.write(GET[:-2])
            response = await client.read_response()
            assert (response.status, response.header("connection")) == (408, "close")
            assert await client.read_until_eof() == b""
        assert server.statistics().refused == 1


async def test_connection_that_never_says_anything_is_closed_without_a_word() -> None:
    async with serving(hello, header_timeout=0.2, parking_delay=0.02) as server:
        async with clients_of(server.urls) as (client,):
            assert await client.read_until_eof() == b""
            await until(lambda: server.statistics().gate.open == 0)
        assert server.statistics().refused == 0


async def test_time_for_a_head_begins_with_its_first_byte() -> None:
    """A client that was silent for a while has no less time for its request."""
    now = asyncio.get_running_loop().time
    async with (
        serving(hello, header_timeout=0.4, parking_delay=0.02) as server,
        clients_of(server.urls) as (client,),
    ):
        begun = now()
        await until(lambda: now() > begun + 0.25)
        await client.write(GET[:5])
        await until(lambda: now() > begun + 0.5)
        assert (await client.request(GET[5:])).status == 200


async def test_second_head_on_a_connection_is_bounded_too() -> None:
    async with (
        serving(hello, header_timeout=0.2) as server,
        clients_of(server.urls) as (client,),
    ):
        assert (await client.request(GET)).status == 200
        await client.write(GET[:-2])
        assert (await client.read_response()).status == 408


# --- body_timeout


@pytest.mark.parametrize("app", [reading, hello_wsgi], ids=["asgi", "wsgi"])
async def test_body_that_stops_arriving_is_told_408(app: object) -> None:
    async with (
        serving(app, body_timeout=0.2, parking_delay=0.02) as server,
        clients_of(server.urls) as (client,),
    ):
        await client.write(POST + b"part")
        response = await client.read_response()
        assert (response.status, response.header("connection")) == (408, "close")
        assert await client.read_until_eof() == b""


async def test_body_may_take_long_as_long_as_it_moves() -> None:
    async with (
        serving(reading, body_timeout=0.2, parking_delay=0.02) as server,
        clients_of(server.urls) as (client,),
    ):
        now = asyncio.get_running_loop().time
        await client.write(POST)
        for _ in range(10):
            sent_at = now()
            await client.write(b"x")
            await until(lambda: now() > sent_at + 0.06)  # noqa: B023 - awaited here
        assert (await client.read_response()).body == b"10"


async def test_application_that_is_slow_to_read_is_not_held_against_the_client() -> None:
    """While the server itself leaves the body in the kernel, no time of the client's runs."""
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await reading(scope, receive, send)

    size = 300_000
    async with (
        serving(slow, body_timeout=0.1, parking_delay=0.02) as server,
        clients_of(server.urls) as (client,),
    ):
        now = asyncio.get_running_loop().time
        begun = now()
        await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        await client.write(b"x" * (size - 1))
        await until(lambda: now() > begun + 0.4)
        go_on.set()
        await client.write(b"x")
        assert (await client.read_response()).body == b"%d" % size


# --- write_timeout


@pytest.mark.parametrize("app", [hello_wsgi, streaming_wsgi], ids=["at once", "streamed"])
@pytest.mark.parametrize("request_", [GET, CLOSING_GET], ids=["keep-alive", "close"])
async def test_client_that_never_reads_is_cut(app: object, request_: bytes) -> None:
    """Also when the transport is closing already, and only its buffer is left."""
    async with serving(app, interface="wsgi", write_timeout=0.2, keep_alive=0.1) as server:
        url = server.urls[0]
        async with RawClient.connect(url, receive_buffer=4096) as client:
            await client.write(request_.replace(b"/", b"/large", 1))
            await until(lambda: server.statistics().gate.open == 1)
            await until(lambda: server.statistics().gate.open == 0)
            with pytest.raises((OSError, AssertionError)):  # noqa: PT012 - reset at any moment
                body = await client.read_until_eof()
                assert len(body) > len(LARGE)


async def test_small_answers_that_nobody_reads_do_not_keep_a_connection() -> None:
    """Less than the high-water mark is buffered: the idle connection is closed, and cut then."""
    body = b"z" * 40_000

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with (
        serving(app, write_timeout=0.2, keep_alive=0.1) as server,
        RawClient.connect(server.urls[0], receive_buffer=4096) as client,
    ):
        before = 0
        while True:  # until the kernel takes no more, and the transport keeps the rest
            await client.write(GET)
            await until(lambda: server.statistics().requests > before)  # noqa: B023
            before = server.statistics().requests
            (connection,) = server._assembly.wiring.connections  # type: ignore[union-attr]
            if connection.unsent:
                break
        await until(lambda: server.statistics().gate.open == 0)


async def test_slow_reader_gets_all_as_long_as_it_goes_on() -> None:
    size = 1_500_000

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * size})

    async with (
        serving(app, write_timeout=0.3) as server,
        RawClient.connect(server.urls[0], receive_buffer=65536) as client,
    ):
        await client.write(CLOSING_GET)
        now = asyncio.get_running_loop().time
        head = await client.read_head()
        assert head.status == 200
        begun = now()
        received = 0
        while received < size:
            received += len(await client.read_exactly(size // 10))
            read_at = now()
            await until(lambda: now() > read_at + 0.06)  # noqa: B023 - awaited here
        assert now() > begun + 0.3
        assert await client.read_until_eof() == b""


async def test_client_that_sends_but_never_reads_is_cut() -> None:
    """An echo fills both directions: what the client still sends must not keep it alive."""

    async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            await send(
                {"type": "http.response.body", "body": message["body"] * 8, "more_body": True}
            )

    async with (
        serving(echo, write_timeout=0.3, body_timeout=60.0) as server,
        RawClient.connect(server.urls[0], receive_buffer=4096) as client,
    ):
        await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")

        async def send_on() -> None:
            while True:
                await client.write(b"x" * 65536)

        with pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
            await send_on()
        await until(lambda: server.statistics().gate.open == 0)


# --- keep_alive


async def test_idle_connection_is_closed_in_time() -> None:
    now = asyncio.get_running_loop().time
    async with serving(hello, keep_alive=0.2) as server, clients_of(server.urls) as (client,):
        assert (await client.request(GET)).status == 200
        begun = now()
        assert await client.read_until_eof() == b""
        assert 0.15 < now() - begun < 2.0


async def test_keep_alive_is_not_put_off_by_a_longer_timeout_before_it() -> None:
    """A silent start has a deadline of its own, later than that of the first idle time."""
    async with (
        serving(hello, keep_alive=0.2, header_timeout=30.0, parking_delay=0.02) as server,
        clients_of(server.urls) as (client,),
    ):
        await until(lambda: server.statistics().gate.parked == 1)
        assert (await client.request(GET)).status == 200
        assert await client.read_until_eof() == b""


async def test_each_request_renews_the_time() -> None:
    now = asyncio.get_running_loop().time
    async with serving(hello, keep_alive=0.3) as server, clients_of(server.urls) as (client,):
        begun = now()
        for number in range(1, 6):
            assert (await client.request(GET)).status == 200
            await until(lambda: now() > begun + number * 0.1)  # noqa: B023 - awaited here
        assert (await client.request(GET)).status == 200

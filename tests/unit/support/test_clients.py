"""The raw client against small servers that say exactly what a test gives them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from support.clients import BrokenResponse, ConnectionEnded, RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Seconds for a wait that is meant to end in vain.
SHORT = 0.05


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve every connection by *handler* and wait for the handlers in the end."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.ensure_future(handle(reader, writer)))

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        await asyncio.gather(*handlers)


@asynccontextmanager
async def client_that_hears(said: bytes, *, patience: float = 5.0) -> AsyncIterator[RawClient]:
    """Connect a client to a server that says *said* and closes once the client has."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    async with serving(say) as url, RawClient.connect(url, patience=patience) as client:
        yield client


@asynccontextmanager
async def client_that_hears_and_eof(said: bytes) -> AsyncIterator[RawClient]:
    """Connect a client to a server that says *said* and closes at once."""

    async def say(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with serving(say) as url, RawClient.connect(url) as client:
        yield client


async def test_counted_body_ends_where_its_length_says() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nokHTTP/1.1 404 Not Found\r\n"
    async with client_that_hears(said + b"content-length: 0\r\n\r\n") as client:
        first = await client.read_response()
        second = await client.read_response()

    assert (first.version, first.status, first.reason, first.body) == ("1.1", 200, "OK", b"ok")
    assert first.headers == (("content-length", "2"), ("x-a", "b"))
    assert (second.status, second.reason, second.body) == (404, "Not Found", b"")


async def test_chunked_body_is_joined_and_trailers_are_kept_apart() -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    said += b"3\r\n\r\n!\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n"
    async with client_that_hears(said) as client:
        response = await client.read_response()

    assert response.body == b"\r\n!0123456789"
    assert response.trailers == (("x-t", "1"),)
    assert response.header("x-t") is None


async def test_body_without_framing_ends_with_the_connection() -> None:
    async with client_that_hears_and_eof(b"HTTP/1.0 200 OK\r\n\r\nuntil the end") as client:
        assert (await client.read_response()).body == b"until the end"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"204 No Content"), ("GET", b"304 ")]
)
async def test_responses_without_content_end_with_their_head(method: str, status: bytes) -> None:
    said = b"HTTP/1.1 " + status + b"\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\n"
    async with client_that_hears(said + b"Content-Length: 0\r\n\r\n") as client:
        assert (await client.read_response(method=method)).body == b""
        assert (await client.read_response()).status == 200


async def test_informational_responses_are_collected() -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with client_that_hears(said + b"HTTP/1.1 204 No Content\r\n\r\n") as client:
        response = await client.read_response()

    assert response.status == 204
    assert [early.status for early in response.informational] == [100, 103]
    assert response.informational[1].header("LINK") == "</a>"


async def test_repeated_headers_are_told_apart_and_joined() -> None:
    said = b"HTTP/1.1 204 No Content\r\nVary: a\r\nVARY: b\r\n\r\n"
    async with client_that_hears(said) as client:
        response = await client.read_response()

    assert response.values("Vary") == ["a", "b"]
    assert response.header("vary") == "a, b"


@pytest.mark.parametrize(
    "said",
    [
        b"HELLO\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n!\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!!!0\r\n\r\n",
    ],
)
async def test_what_is_no_response_is_called_broken(said: bytes) -> None:
    async with client_that_hears(said) as client:
        with pytest.raises(BrokenResponse):
            await client.read_response()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_a_response_cut_short_is_not_taken_for_a_whole_one(said: bytes) -> None:
    async with client_that_hears_and_eof(said) as client:
        with pytest.raises(ConnectionEnded):
            await client.read_response()


async def test_a_server_that_says_too_little_meets_the_timeout() -> None:
    async with client_that_hears(b"HTTP/1.1 200 OK\r\n", patience=SHORT) as client:
        with pytest.raises(TimeoutError):
            await client.read_response()
        with pytest.raises(TimeoutError):
            await client.read_until_eof()


async def test_a_server_that_does_not_read_meets_the_timeout() -> None:
    released = asyncio.Event()

    async def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport as well
        await released.wait()
        writer.transport.abort()

    async with serving(ignore) as url:
        async with RawClient.connect(url, patience=SHORT) as client:
            with pytest.raises(TimeoutError):
                await client.write(bytes(32 << 20))
        released.set()


async def test_half_closed_client_still_hears_the_answer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(heard), heard))
        await writer.drain()

    async with serving(answer) as url, RawClient.connect(url) as client:
        await client.write(b"all of it")
        client.half_close()
        assert (await client.read_response()).body == b"all of it"
        assert await client.read_until_eof() == b""


async def test_reset_reaches_the_server_as_a_reset() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait_for_end(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            ended.set_result("reset")
        else:
            ended.set_result("closed")

    async with serving(wait_for_end) as url, RawClient.connect(url) as client:
        await client.write(b"x")
        client.reset()
        assert await asyncio.wait_for(ended, 5) == "reset"


async def test_leaving_the_block_closes_without_a_reset() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())

    async with serving(listen) as url:
        async with RawClient.connect(url) as client:
            await client.write(b"bye")
        assert await asyncio.wait_for(heard, 5) == b"bye"


async def test_bytes_are_read_in_any_portion() -> None:
    async with client_that_hears_and_eof(b"0123456789") as client:
        assert await client.read_exactly(3) == b"012"
        assert (await client.read_some())[:1] == b"3"
        await client.read_until_eof()
        assert await client.read_some() == b""


async def test_request_writes_and_reads_in_one_go() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(line), line))
        await writer.drain()

    async with serving(echo) as url, RawClient.connect(url) as client:
        assert (await client.request(b"GET /\n")).body == b"GET /\n"


async def test_unix_sockets_are_reached_by_their_path(tmp_path: Path) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(greet, tmp_path / "s")
    try:
        async with RawClient.connect(f"unix:{tmp_path / 's'}") as client:
            assert (await client.read_response()).status == 204
            assert await client.read_until_eof() == b""
    finally:
        server.close()


async def test_small_receive_buffer_makes_a_slow_reader() -> None:
    async with client_that_hears(b"") as usual:
        host, port = usual.socket.getpeername()
        async with RawClient.connect(f"http://{host}:{port}", receive_buffer=4096) as slow:
            assert receive_buffer(slow) < receive_buffer(usual)


def receive_buffer(client: RawClient) -> int:
    return client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


async def test_nobody_listening_is_an_error_of_the_system() -> None:
    async with client_that_hears(b"") as client:
        place = client.socket.getsockname()  # a port in use, but by no listener
        with pytest.raises(ConnectionRefusedError):
            await RawClient.dial(f"http://{place[0]}:{place[1]}")


async def test_a_url_without_port_is_refused() -> None:
    with pytest.raises(ValueError, match="names no host and port"):
        await RawClient.dial("http://127.0.0.1")

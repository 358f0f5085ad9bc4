"""One connection over real sockets: order, half-closes, bounds, uploads, files, endings."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.clients import ConnectionEnded, RawClient
from support.serving import Receive, Scope, Send, StartResponse, clients_of, serving
from support.waiting import until

if TYPE_CHECKING:
    from asgibridge import Server

GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSING_GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
MIB: Final = 1 << 20


async def path_of(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with the path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def body_size(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body, when it is complete."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def path_of_wsgi(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]


def body_size_wsgi(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    size = 0
    while piece := environ["wsgi.input"].read(65536):
        size += len(piece)
    start_response("200 OK", [])
    return [b"%d" % size]


def get(path: str) -> bytes:
    return GET.replace(b"/", path.encode(), 1)


APPS = pytest.mark.parametrize("app", [path_of, path_of_wsgi], ids=["asgi", "wsgi"])
SIZES = pytest.mark.parametrize("app", [body_size, body_size_wsgi], ids=["asgi", "wsgi"])


# --- pipelining


@APPS
async def test_ten_thousand_pipelined_requests_are_answered_in_order(app: object) -> None:
    """No recursion, and no more memory than what is held: they come faster than they are served."""
    count = 10_000
    async with serving(app) as server, clients_of(server.urls) as (client,):
        requests = b"".join(get(f"/{number}") for number in range(count))
        client.patience = 30.0
        sending = asyncio.ensure_future(client.write(requests))
        for number in range(count):
            assert (await client.read_response()).body == b"/%d" % number
        await sending
        assert server.statistics().gate.peak_open == 1


async def test_requests_held_back_are_bounded() -> None:
    """Above 64 KiB reading stops, the window closes, and the client cannot send any more."""
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await path_of(scope, receive, send)

    async with serving(slow) as server, clients_of(server.urls) as (client,):
        sent = 0
        client.patience = 0.3
        with pytest.raises(TimeoutError):  # noqa: PT012 - at some time
            while True:
                await client.write(GET * 1000)
                sent += len(GET) * 1000
        (connection,) = server._assembly.wiring.connections  # type: ignore[union-attr]
        # What one read may bring on top of the bound: asyncio reads 256 KiB at a time.
        assert len(connection._held) <= 65536 + 262144
        assert sent < 40 * MIB
        go_on.set()


async def test_bodies_in_advance_do_not_make_more_be_held() -> None:
    """An application that asks for its body must not have the next requests read in."""
    held: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def taking_its_time() -> dict[str, Any]:
            message = await receive()
            await asyncio.sleep(0.0001)
            return message

        await body_size(scope, taking_its_time, send)

    async with serving(app) as server, clients_of(server.urls) as (client,):
        connections = server._assembly.wiring.connections  # type: ignore[union-attr]
        padding = b"X-Padding: " + b"x" * 1000
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n%b\r\n\r\nhello" % padding
        client.patience = 20.0
        count = 3_000
        sending = asyncio.ensure_future(client.write(post * count))
        for _ in range(count):
            assert (await client.read_response()).body == b"5"
            held.extend(len(connection._held) for connection in connections)
        await sending
        assert max(held) <= 65536 + 262144


async def test_good_request_before_garbage_is_answered_first() -> None:
    async with serving(path_of) as server, clients_of(server.urls) as (client,):
        await client.write(get("/good") + b"\x00\x01\x02\r\n\r\n")
        assert (await client.read_response()).body == b"/good"
        assert (await client.read_response()).status == 400
        assert await client.read_until_eof() == b""


# --- half-closed clients


@APPS
async def test_client_that_half_closes_gets_its_answers(app: object) -> None:
    async with serving(app) as server, clients_of(server.urls) as (client,):
        await client.write(get("/one") + get("/two"))
        client.half_close()
        assert (await client.read_response()).body == b"/one"
        assert (await client.read_response()).body == b"/two"
        assert await client.read_until_eof() == b""


async def test_half_closed_client_that_is_slow_to_read_gets_all_its_answers() -> None:
    """The end of its half comes while the first answer still fills the transport."""
    size = 3_000_000

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode() * (size // 4)})

    async with (
        serving(app) as server,
        RawClient.connect(server.urls[0], receive_buffer=4096) as client,
    ):
        await client.write(get("/one"))
        await until(lambda: server.statistics().requests == 1)
        await client.write(get("/two"))
        client.half_close()
        assert (await client.read_response()).body == b"/one" * (size // 4)
        assert (await client.read_response()).body == b"/two" * (size // 4)
        assert await client.read_until_eof() == b""


# --- bodies


@SIZES
@pytest.mark.parametrize("ending", ["half-close", "reset"])
async def test_truncated_body_never_reaches_the_application_as_whole(
    app: object, ending: str
) -> None:
    answered: list[object] = []

    def wsgi(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        answered.append(environ)
        return body_size_wsgi(environ, start_response)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: dict[str, Any]) -> None:
            answered.append(message)
            await send(message)

        await body_size(scope, receive, noted)

    served = wsgi if app is body_size_wsgi else asgi
    async with serving(served) as server:
        async with clients_of(server.urls) as (client,):
            await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart")
            await until(lambda: server.statistics().gate.open == 1)
            if ending == "reset":
                client.reset()
            else:
                client.half_close()
                assert (await client.read_response()).status == 400
                assert await client.read_until_eof() == b""
        await until(lambda: server.statistics().gate.open == 0)
        assert answered == []


@SIZES
async def test_client_that_expects_it_is_told_to_continue(app: object) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    async with serving(app) as server, clients_of(server.urls) as (client,):
        for _ in range(2):
            await client.write(head)
            assert (await client.read_head()).status == 100
            assert (await client.request(b"body")).body == b"4"
        assert (await client.request(head + b"body")).body == b"4"


async def test_client_that_is_refused_is_not_told_to_continue() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    async with serving(path_of) as server, clients_of(server.urls) as (client,):
        response = await client.request(head)
        assert (response.status, response.informational) == (200, ())
        assert await client.read_until_eof() == b""


@SIZES
async def test_body_of_tiny_chunks_is_read_whole(app: object) -> None:
    count = 20_000
    async with serving(app) as server, clients_of(server.urls) as (client,):
        await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.write(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        assert (await client.read_response()).body == b"%d" % count
        assert (await client.request(get("/"))).body == b"0"


async def test_body_that_the_application_leaves_does_not_stop_the_connection() -> None:
    """More than is read ahead came, the application answered without a look: reading goes on."""
    size = 100_000
    post = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    may_answer = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await path_of(scope, receive, send)

    async with serving(app) as server, clients_of(server.urls) as (client,):
        await client.write(post + b"x" * size)
        (connection,) = server._assembly.wiring.connections  # type: ignore[union-attr]
        await until(
            lambda: (
                connection.exchange is not None
                and (connection.exchange.is_body_complete or not connection.transport.is_reading())
            )
        )
        may_answer.set()
        assert (await client.read_response()).body == b"/unread"
        assert (await client.request(get("/next"))).body == b"/next"


async def test_broken_rest_of_an_unwanted_body_gets_no_second_answer() -> None:
    """It would be taken for the answer to the next request."""
    async with serving(path_of) as server, clients_of(server.urls) as (client,):
        await client.write(
            b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        assert (await client.read_response()).body == b"/early"
        await client.write(b"no chunk size\r\n" + get("/next"))
        assert await client.read_until_eof() == b""


def descriptors() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def descriptors_at_rest(server: Server) -> int:
    """Count them when the loop has all that it needs itself, and no client is there."""
    async with RawClient.connect(server.urls[0]) as client:
        await client.write(b"broken\r\n\r\n")
        assert (await client.read_response()).status == 400
    await until(lambda: server.statistics().gate.open == 0)
    return descriptors()


def peak_memory() -> int:
    """Return the most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_large_upload_is_spooled_while_memory_stays_bounded() -> None:
    """50 MB go to a temporary file; the thread is taken when all of it is there."""
    size, piece = 50 * MIB, os.urandom(MIB)
    expected = hashlib.sha256()
    for _ in range(50):
        expected.update(piece)
    files: list[bool] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        files.append(hasattr(environ["wsgi.input"], "fileno"))
        digest = hashlib.sha256()
        while data := environ["wsgi.input"].read(65536):
            digest.update(data)
        start_response("200 OK", [])
        return [digest.hexdigest().encode()]

    async with serving(app, interface="wsgi", threads=1) as server:
        async with clients_of(server.urls) as (client,):
            before = peak_memory()
            await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(50):
                await client.write(piece)
            assert (await client.read_response()).body == expected.hexdigest().encode()
            assert peak_memory() - before < 15 * MIB
        assert files == [True]


async def test_client_that_still_sends_gets_to_read_its_refusal() -> None:
    """[lingering close] A close over unread input would make the kernel throw the answer away."""
    async with (
        serving(body_size, max_body_size=1000) as server,
        clients_of(server.urls) as (client,),
    ):
        await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
        for _ in range(10):
            await client.write(b"x" * 50_000)
        response = await client.read_response()
        assert (response.status, response.header("connection")) == (413, "close")
        assert await client.read_until_eof() == b""
        client.half_close()
        await until(lambda: server.statistics().gate.open == 0)


async def test_lingering_is_bounded_in_bytes() -> None:
    async with (
        serving(body_size, max_body_size=1000) as server,
        clients_of(server.urls) as (client,),
    ):
        await client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT011, PT012 - a reset or a broken pipe
            for _ in range(1000):
                await client.write(b"x" * 65536)
        await until(lambda: server.statistics().gate.open == 0)


async def test_slow_reader_with_requests_held_gets_the_whole_last_answer() -> None:
    """Lingering ends what is unread, not what is unsent: its time begins when that has left."""
    size = 2_000_000
    now = asyncio.get_running_loop().time

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]}
        )
        await send({"type": "http.response.body", "body": b"x" * size})

    async with (
        serving(app) as server,
        RawClient.connect(server.urls[0], receive_buffer=4096) as client,
    ):
        await client.write(GET + GET)
        await until(lambda: server.statistics().requests == 1)
        begun = now()
        await until(lambda: now() > begun + 2.3)
        assert (await client.read_response()).body == b"x" * size


# --- files


def file_app(path: Path) -> Any:  # noqa: ANN401 - a WSGI application
    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:  # noqa: ANN401
        start_response("200 OK", [("Content-Length", str(path.stat().st_size))])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    return app


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(MIB) * 20)
    return path


async def test_large_file_arrives_whole_and_the_connection_serves_on(large_file: Path) -> None:
    content = large_file.read_bytes()  # noqa: ASYNC240 - a moment
    async with (
        serving(file_app(large_file), interface="wsgi") as server,
        clients_of(server.urls) as (client,),
    ):
        for _ in range(2):
            assert (await client.request(GET)).body == content
        assert server.statistics().cut == 0


async def test_slow_reader_of_a_file_holds_neither_thread_nor_place(large_file: Path) -> None:
    """[GATE-2]: the kernel sends; the next client is served by the same only thread."""
    content = large_file.read_bytes()  # noqa: ASYNC240 - a moment
    async with serving(file_app(large_file), interface="wsgi", threads=1) as server:
        url = server.urls[0]
        async with (
            RawClient.connect(url, receive_buffer=4096) as slow,
            RawClient.connect(url) as other,
        ):
            await slow.write(GET)
            assert (await other.request(GET)).body == content
            assert server.statistics().gate.in_flight == 0
            assert (await slow.read_response()).body == content
            await until(lambda: server.statistics().gate.idle == 2)


async def test_reader_of_a_file_that_stops_reading_is_cut(large_file: Path) -> None:
    async with serving(file_app(large_file), interface="wsgi", write_timeout=0.2) as server:
        before = await descriptors_at_rest(server)
        async with RawClient.connect(server.urls[0], receive_buffer=4096) as client:
            await client.write(GET)
            await until(lambda: server.statistics().gate.open == 1)
            await until(lambda: server.statistics().gate.open == 0)
        assert server.statistics().cut == 1
        assert descriptors() == before


async def test_file_that_shrinks_while_it_is_sent_ends_the_connection(large_file: Path) -> None:
    """The client was promised more than there is: only a cut can tell it."""
    async with serving(file_app(large_file), interface="wsgi") as server:
        async with RawClient.connect(server.urls[0], receive_buffer=4096) as client:
            await client.write(GET)
            assert (await client.read_head()).status == 200
            os.truncate(large_file, 8 * MIB)
            with pytest.raises((ConnectionEnded, ConnectionResetError)):
                await client.read_exactly(20 * MIB)
        await until(lambda: server.statistics().gate.open == 0)
        assert server.statistics().cut == 1


async def test_spooled_uploads_leave_no_files_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered, refused or cut: the temporary file goes with the request."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    begun = threading.Semaphore(0)

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        begun.release()
        return body_size_wsgi(environ, start_response)

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    async with serving(app, interface="wsgi", max_body_memory=1000) as server:
        before = await descriptors_at_rest(server)
        async with clients_of(server.urls * 2) as (whole, broken):
            assert (await whole.request(head + b"x" * 100_000)).body == b"100000"
            await broken.write(head + b"x" * 50_000)
            broken.half_close()
            assert (await broken.read_response()).status == 400
        await until(lambda: server.statistics().gate.open == 0)
        assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a moment
        await until(lambda: descriptors() == before)


@pytest.mark.parametrize(
    ("headers", "body", "closes"),
    [
        (b"Content-Length: 1000000\r\n", b"abc", True),
        (b"Content-Length: 4\r\nExpect: 100-continue\r\n", b"", True),
        (b"Content-Length: 1000\r\n", b"abc", False),
    ],
)
async def test_client_is_told_if_its_unread_body_ends_the_connection(
    headers: bytes, body: bytes, *, closes: bool
) -> None:
    async with serving(path_of) as server, RawClient.connect(server.urls[0]) as client:
        await client.write(b"POST /p HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n" + body)
        response = await client.read_response()

    assert response.status == 200
    assert closes == (("connection", "close") in response.headers)

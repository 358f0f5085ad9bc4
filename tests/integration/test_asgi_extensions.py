"""Extensions of the ASGI specification over real sockets, by hand and as Starlette uses them."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route
from support.clients import ConnectionEnded, RawClient
from support.tls import TlsClient, issue
from support.waiting import until

from asgibridge import Config, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from apps.asgi_cases import Receive, Scope, Send
    from starlette.requests import Request
    from starlette.responses import Response

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0
CONTENT: Final = bytes(range(256)) * 4000
START: Final = {"type": "http.response.start", "status": 200, "headers": []}


def request_of(path: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/{version}", "Host: a", *lines))
    return f"{head}\r\n".encode()


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[Server]:  # noqa: ANN401
    async with Server(Config(app=app, port=0, graceful_timeout=2.0, **settings)) as server:
        yield server


@asynccontextmanager
async def client_of(app: Any, **settings: Any) -> AsyncIterator[RawClient]:  # noqa: ANN401
    """Serve *app* for one client of exact bytes."""
    async with (
        serving(app, **settings) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        yield client


def starlette(endpoint: Callable[[Request], Awaitable[Response]]) -> Starlette:
    return Starlette(routes=[Route("/", endpoint)])


def fill(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    return content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(CONTENT)
    return path


def sends_path(path: object, *headers: tuple[bytes, bytes]) -> Any:  # noqa: ANN401 - an app
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({**START, "headers": headers})
            await send({"type": "http.response.pathsend", "path": str(path)})

    return app


# http.response.pathsend


async def test_starlette_has_its_files_sent(path: Path) -> None:
    """[ASGI-2] Whole ones by the server; a range is read and sent by Starlette itself."""
    kinds: list[str] = []

    async def endpoint(_request: Request) -> Response:
        return FileResponse(path)

    inner = starlette(endpoint)

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        async def watched(message: Any) -> None:  # noqa: ANN401 - ASGI's
            kinds.append(message["type"])
            await send(message)

        await inner(scope, receive, watched)

    async with client_of(app, lifespan="off") as client:
        whole = await client.request(request_of())
        assert (whole.status, whole.body) == (200, CONTENT)
        assert whole.header("content-length") == str(len(CONTENT))
        assert kinds == ["http.response.start", "http.response.pathsend"]
        part = await client.request(request_of("/", "Range: bytes=1000-1999"))
        assert (part.status, part.body) == (206, CONTENT[1000:2000])
        assert kinds[2:4] == ["http.response.start", "http.response.body"]
        head = await client.request(request_of(method="HEAD"), method="HEAD")
        assert (head.header("content-length"), head.body) == (str(len(CONTENT)), b"")


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, len(CONTENT)])
async def test_file_of_any_size_is_sent_whole(size: int, path: Path) -> None:
    """[ASGI-2] With the length that it has, if the application has not declared it."""
    fill(path, CONTENT[:size])
    async with client_of(sends_path(path)) as client:
        for _ in range(2):
            response = await client.request(request_of())
            assert response.body == CONTENT[:size]
            assert response.header("content-length") == str(size)


async def test_no_more_of_a_file_is_sent_than_is_declared(path: Path) -> None:
    """[ASGI-2] It has grown since the application looked."""
    async with client_of(sends_path(path, (b"content-length", b"100000"))) as client:
        for _ in range(2):
            assert (await client.request(request_of())).body == CONTENT[:100_000]


@pytest.mark.parametrize("what", ["missing", "directory", "fifo", "too short"])
async def test_what_cannot_be_sent_is_a_failure_of_the_application(
    what: str, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """[ASGI-2] Nobody waits for a FIFO to be written to."""
    os.mkfifo(tmp_path / "fifo")
    target = {"missing": tmp_path / "none", "directory": tmp_path, "fifo": tmp_path / "fifo"}
    declared = (b"content-length", str(len(CONTENT) + 1).encode())
    async with client_of(sends_path(target.get(what, path), declared)) as client:
        response = await client.request(request_of())
        assert response.status == 500
    assert "the application failed on GET /" in caplog.text


async def test_file_that_shrinks_while_it_is_sent_cuts_the_connection(path: Path) -> None:
    """[ASGI-2] The client can tell."""
    with path.open("r+b") as file:
        file.truncate(64 << 20)
    async with serving(sends_path(path)) as server:
        url = server.urls[0]
        async with RawClient.connect(url, patience=PATIENCE, receive_buffer=4096) as client:
            await client.write(request_of())
            assert (await client.read_head()).status == 200
            fill(path, b"")
            received = b""
            try:
                while data := await client.read_some():
                    received += data
            except OSError:
                pass
            assert len(received) < 64 << 20


async def test_work_behind_a_file_may_fail_while_it_is_sent(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """[ASGI-2] The file may be gone by then, too: it has been opened."""

    async def work() -> None:
        await asyncio.to_thread(path.unlink)
        raise RuntimeError("the boiler leaks")

    async def endpoint(_request: Request) -> Response:
        return FileResponse(path, background=BackgroundTask(work))

    with path.open("r+b") as file:
        file.truncate(8 << 20)
    async with serving(starlette(endpoint)) as server:
        url = server.urls[0]
        async with RawClient.connect(url, patience=PATIENCE, receive_buffer=4096) as client:
            await client.write(request_of())
            assert (await client.read_head()).status == 200
            await until(lambda: "the boiler leaks" in caplog.text)
            assert len(await client.read_exactly(8 << 20)) == 8 << 20


async def test_client_that_does_not_read_its_file_is_cut(path: Path) -> None:
    """[ASGI-2] By `write_timeout`, and counts as parked meanwhile."""
    with path.open("r+b") as file:
        file.truncate(64 << 20)
    async with serving(sends_path(path), write_timeout=0.3) as server:
        url = server.urls[0]
        async with RawClient.connect(url, patience=PATIENCE, receive_buffer=4096) as client:
            await client.write(request_of())
            await until(lambda: server.statistics().gate.parked == 1)
            await until(lambda: server.statistics().gate.open == 0)
            assert server.statistics().cut == 1


async def test_threads_read_what_has_to_be_encrypted(path: Path) -> None:
    """[ASGI-2] The kernel cannot send it; the loop waits for no disk."""
    async with (
        serving(sends_path(path), threads=2, **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        for _ in range(2):
            assert (await client.request(request_of())).body == CONTENT
        pool = server.statistics().pool
        assert pool is not None
        assert pool.threads == 2


async def test_body_and_file_do_not_mix(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """[ASGI-2]."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await send({"type": "http.response.pathsend", "path": str(path)})

    async with client_of(app, lifespan="off") as client:
        await client.write(request_of())
        with pytest.raises(ConnectionEnded):
            await client.read_response()
    assert "'http.response.pathsend' sent where 'http.response.body' was expected" in caplog.text


# http.response.early_hint


async def hints(request: Request) -> Response:
    await request.send_early_hints("</a.css>; rel=preload; as=style", "</b.js>; rel=preload")
    await request.send_early_hints("</c.png>; rel=preload")
    return PlainTextResponse("hello")


async def test_hints_of_starlette_come_before_the_answer() -> None:
    """[ASGI-2]."""
    async with client_of(starlette(hints)) as client:
        for _ in range(2):
            response = await client.request(request_of())
            first, second = response.informational
            assert (first.status, first.reason) == (103, "Early Hints")
            assert first.values("link") == [
                "</a.css>; rel=preload; as=style",
                "</b.js>; rel=preload",
            ]
            assert second.values("link") == ["</c.png>; rel=preload"]
            assert (response.status, response.body) == (200, b"hello")
            assert response.header("link") is None


async def test_old_clients_get_no_hints() -> None:
    """[ASGI-2] RFC 9110 §15.2: a server must not send them to HTTP/1.0."""
    async with client_of(starlette(hints)) as client:
        response = await client.request(request_of(version="1.0"))
        assert (response.informational, response.body) == ((), b"hello")


async def test_hint_leaves_at_once() -> None:
    """[ASGI-2] Not with the head, which waits for the first piece of body."""
    seen = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        await request.send_early_hints("</a.css>; rel=preload")
        await seen.wait()
        return PlainTextResponse("hello")

    async with client_of(starlette(endpoint)) as client:
        await client.write(request_of())
        assert (await client.read_head()).status == 103
        seen.set()
        assert (await client.read_response()).body == b"hello"


async def test_application_that_fails_after_a_hint_is_answered_500() -> None:
    """[ASGI-2] A hint is no answer."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        raise RuntimeError("leaks")

    async with client_of(app, lifespan="off") as client:
        response = await client.request(request_of())
        assert (response.informational[0].status, response.status) == (103, 500)


async def test_hint_after_the_start_is_sent_and_after_the_body_began_is_not() -> None:
    """[ASGI-2] The specification allows the first; the second would break the response."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.early_hint", "links": [b"</b>"]})
        await send({"type": "http.response.body", "body": b"two"})

    async with client_of(app, lifespan="off") as client:
        for _ in range(2):
            response = await client.request(request_of())
            assert [each.header("link") for each in response.informational] == ["</a>"]
            assert response.body == b"one two"


# http.response.trailers


async def trailing(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stream a body and send what it came to behind it, whether the client wants that or not."""
    path = scope["path"]
    declared = [(b"content-length", b"8")] if path == "/declared" else []
    headers = [(b"trailer", b"x-sum, x-time"), *declared]
    await send({**START, "headers": headers, "trailers": True})
    if path != "/once":
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
    last = b"one two " if path == "/once" else b"two "
    await send({"type": "http.response.body", "body": last})
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"42")]}
    await send({**trailers, "more_trailers": True})
    await send({**trailers, "headers": [(b"x-time", b"7")]})


@pytest.mark.parametrize("path", ["/", "/once"])
async def test_trailers_follow_the_body(path: str) -> None:
    """[ASGI-2] And the connection serves on."""
    async with client_of(trailing, lifespan="off") as client:
        for _ in range(2):
            response = await client.request(request_of(path, "TE: trailers"))
            assert response.body == b"one two "
            assert response.trailers == (("x-sum", "42"), ("x-time", "7"))


@pytest.mark.parametrize(
    ("path", "te", "method", "version"),
    [
        ("/", "gzip", "GET", "1.1"),
        ("/once", "gzip", "GET", "1.1"),
        ("/declared", "trailers", "GET", "1.1"),
        ("/", "trailers", "HEAD", "1.1"),
        ("/", "trailers", "GET", "1.0"),
    ],
)
async def test_where_trailers_cannot_be_they_are_left_out(
    path: str, te: str, method: str, version: str
) -> None:
    """[ASGI-2] No client gets what it did not ask for, and no application has to look."""
    async with client_of(trailing, lifespan="off") as client:
        request = request_of(path, f"TE: {te}", method=method, version=version)
        response = await client.request(request, method=method)
        assert response.status == 200
        assert response.trailers == ()
        assert response.body == (b"" if method == "HEAD" else b"one two ")
        if version != "1.0":
            assert (await client.request(request, method=method)).status == 200


@pytest.mark.parametrize("te", ["trailers", "gzip"])
async def test_extension_is_offered_to_those_who_ask(te: str) -> None:
    """[ASGI-2]."""
    found: list[set[str]] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        found.append(set(scope["extensions"]))
        await send(START)
        await send({"type": "http.response.body"})

    async with client_of(app, lifespan="off") as client:
        await client.request(request_of("/", f"TE: {te}"))
    always = {"http.response.pathsend", "http.response.early_hint", "asgibridge.wsgi"}
    assert found == [always | ({"http.response.trailers"} if te == "trailers" else set())]


@pytest.mark.parametrize("then", ["return", "body", "forbidden"])
async def test_promised_trailers_that_do_not_come_cut_the_connection(
    then: str, caplog: pytest.LogCaptureFixture
) -> None:
    """[ASGI-2] The response never looks complete."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"hello"})
        if then == "body":
            await send({"type": "http.response.body", "body": b" again"})
        if then == "forbidden":
            headers = [(b"content-length", b"5")]
            await send({"type": "http.response.trailers", "headers": headers})

    async with client_of(app, lifespan="off") as client:
        await client.write(request_of("/", "TE: trailers"))
        with pytest.raises(ConnectionEnded):
            await client.read_response()
    assert "GET /" in caplog.text


async def test_large_file_to_slow_clients_arrives_whole(path: Path) -> None:
    """[ASGI-2] Several at once, each at its pace."""
    expected = fill(path, CONTENT * 4)

    async def read(url: str) -> bytes:
        async with RawClient.connect(url, patience=PATIENCE, receive_buffer=4096) as client:
            return (await client.request(request_of())).body

    async with serving(sends_path(path)) as server:
        bodies = await asyncio.gather(*(read(server.urls[0]) for _ in range(8)))
        assert bodies == [expected] * 8

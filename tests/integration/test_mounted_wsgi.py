"""One WSGI application served three ways: natively, mounted by `WSGIMiddleware`, under a2wsgi.

The first two have to agree in all that PEP 3333 speaks of; `DIFFERENCES` names the rest.  Under
a2wsgi it is what users had before; where it differs, the pages say so and a test here shows it.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from apps import wsgi_cases
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from support.clients import ConnectionEnded, RawClient, RawResponse
from support.tls import TlsClient, issue
from support.waiting import until

from asgibridge import Config, Server, WSGIMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from starlette.requests import Request
    from starlette.responses import Response

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0
TEXT: Final = [("Content-Type", "text/plain")]
LARGE: Final = 50 << 20
PIECE: Final = b"x" * 65536


def site(app: WSGIApplication, *middleware: Middleware) -> Starlette:
    """Mount *app* at `/legacy` of a site that has something of its own, too."""

    async def own(_request: Request) -> Response:
        return PlainTextResponse("its own")

    return Starlette(
        routes=[Route("/own", own), Mount("/legacy", WSGIMiddleware(app))],
        middleware=middleware,
    )


def without_extensions(app: Any) -> Any:  # noqa: ANN401 - ASGI applications
    """Be a server that knows no asgibridge: the middleware goes by way of a2wsgi."""

    async def call(scope: dict[str, Any], receive: object, send: object) -> None:
        await app({**scope, "extensions": {}}, receive, send)

    return call


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[Server]:  # noqa: ANN401
    given = {"threads": 2, "graceful_timeout": 2.0, **settings}
    async with Server(Config(app=app, port=0, **given)) as server:
        yield server


@asynccontextmanager
async def client_of(server: Server, receive_buffer: int | None = None) -> AsyncIterator[RawClient]:
    url = server.urls[0]
    async with RawClient.connect(url, patience=PATIENCE, receive_buffer=receive_buffer) as client:
        yield client


def request_of(path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    if body:
        lines = (*lines, f"Content-Length: {len(body)}")
    head = "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: a", *lines))
    return f"{head}\r\n".encode() + body


def queued(server: Server) -> int:
    pool = server.statistics().pool
    return pool.queued if pool is not None else -1


def busy(server: Server) -> int:
    pool = server.statistics().pool
    return pool.busy if pool is not None else -1


async def answer_of(served: object, request: bytes, method: str = "GET") -> object:
    """Ask for one answer; a connection that is cut counts as one."""
    async with serving(served) as server, client_of(server) as client:
        await client.write(request)
        try:
            return comparable(await client.read_response(method=method))
        except ConnectionEnded as error:
            return "cut", error.received


def comparable(response: RawResponse) -> tuple[object, ...]:
    headers = sorted(pair for pair in response.headers if pair[0] != "date")
    return response.status, response.body, headers


# The same requests, three ways


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("case", wsgi_cases.ANSWERS)
async def test_mounted_application_answers_as_it_does_alone(case: str, method: str) -> None:
    """[WSGI-8] Status, headers, framing and body; names of headers compare without case."""
    app, _, _ = wsgi_cases.ANSWERS[case]
    request = request_of(method=method)
    native = await answer_of(app, request, method)
    assert await answer_of(WSGIMiddleware(app), request, method) == native


async def test_messages_have_no_room_for_a_reason_phrase() -> None:
    """[WSGI-8] One of the differences that the page on the bridge lists."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("404 No Such Valve", TEXT.copy())
        return [b"hello"]

    found = []
    for served in (app, WSGIMiddleware(app)):
        async with serving(served) as server, client_of(server) as client:
            found.append((await client.request(request_of())).reason)
    assert found == ["No Such Valve", "Not Found"]


# Where a2wsgi answers otherwise, and why; the page on mounting repeats it.
A2WSGI_DIFFERS: Final = {
    "unsized list": "the length of a list is not looked at: chunked",
    "replaced start": "the head has left when start_response is called again",
    "replaced after an empty chunk": "likewise",
}


@pytest.mark.parametrize("case", [case for case in wsgi_cases.ANSWERS if "file" not in case])
async def test_a2wsgi_answers_the_same_but_for_known_differences(case: str) -> None:
    """[WSGI-8] A difference that has gone is found here as well as one that has come."""
    app, _, _ = wsgi_cases.ANSWERS[case]
    native = await answer_of(app, request_of())
    elsewhere = await answer_of(without_extensions(WSGIMiddleware(app)), request_of())
    assert (native != elsewhere) == (case in A2WSGI_DIFFERS), (native, elsewhere)


@pytest.mark.parametrize(
    ("app", "sent"),
    [
        (wsgi_cases.started_twice, b"never sent"),
        (wsgi_cases.replaced_too_late, b"first never sent"),
    ],
)
async def test_a2wsgi_lets_pass_what_is_an_error_here(app: WSGIApplication, sent: bytes) -> None:
    """[WSGI-8] The page on mounting says so."""
    assert await answer_of(WSGIMiddleware(app), request_of()) == await answer_of(app, request_of())
    elsewhere = await answer_of(without_extensions(WSGIMiddleware(app)), request_of())
    assert isinstance(elsewhere, tuple)
    assert elsewhere[:2] == (200, sent)


@pytest.mark.parametrize("how", [how for how in wsgi_cases.READERS if how != "nothing"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_input_is_read_as_it_is_alone(how: str, framing: str) -> None:
    """[WSGI-8] [WSGI-2]."""
    body = b"alpha\nbeta gamma\n\ndelta without an end"
    request = request_of(f"/?how={how}", method="POST", body=body)
    if framing == "chunked":
        head = request_of(f"/?how={how}", "Transfer-Encoding: chunked", method="POST")
        request = head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    native = await answer_of(wsgi_cases.reads_input, request)
    assert await answer_of(WSGIMiddleware(wsgi_cases.reads_input), request) == native


@pytest.mark.parametrize(
    "app",
    [
        wsgi_cases.raises_at_once,
        wsgi_cases.raises_before_body,
        wsgi_cases.started_twice,
        wsgi_cases.never_started,
        wsgi_cases.split_header,
        wsgi_cases.text_body,
        wsgi_cases.replaced_too_late,
        wsgi_cases.raises_in_body,
        wsgi_cases.too_little,
        wsgi_cases.too_much,
        wsgi_cases.too_much_later,
        wsgi_cases.part_of_a_file,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_goes_wrong_ends_as_it_does_alone(
    app: WSGIApplication, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-8] [WSGI-5] And the log has it once."""
    request = request_of(method=method)
    native = await answer_of(app, request, method)
    count = caplog.text.count("Traceback (most recent call last)")
    caplog.clear()
    assert await answer_of(WSGIMiddleware(app), request, method) == native
    assert caplog.text.count("Traceback (most recent call last)") == count


# The environ


async def environ_of(served: object, request: bytes, **settings: Any) -> dict[str, Any]:  # noqa: ANN401
    async with serving(served, **settings) as server, client_of(server) as client:
        response = await client.request(request)
        assert response.status == 200
        environ: dict[str, Any] = json.loads(response.body)
        for of_the_run in ("REMOTE_PORT", "SERVER_PORT"):
            assert environ.pop(of_the_run).isdigit()
        return environ


@pytest.mark.parametrize(
    "target",
    ["/", "/a/b?c=d", "/caf%C3%A9?q=%20", "/caf%E9", "/a%2Fb%20c", "/%2541/100%", "//x//y/"],
)
async def test_environ_is_what_it_is_alone(target: str) -> None:
    """[WSGI-8] [WSGI-3] The scope is all that a mounted application has more."""
    request = request_of(
        target,
        "Cookie: a=1",
        "Cookie: b=2",
        "X-Twice: 1",
        "X-Twice: 2",
        "X_Forged: yes",
        "Content-Type: text/csv",
        method="PUT",
        body=b"hello",
    )
    native = await environ_of(wsgi_cases.environ_dump, request)
    mounted = await environ_of(WSGIMiddleware(wsgi_cases.environ_dump), request)
    assert mounted.pop("asgi.scope") == "<dict>"
    assert mounted == native


async def test_a2wsgi_gives_another_environ() -> None:
    """[WSGI-8] In just these keys; the page on mounting explains each."""
    request = request_of("/caf%E9", "Cookie: a=1", "Cookie: b=2", "X_Forged: yes")
    native = await environ_of(wsgi_cases.environ_dump, request)
    app = without_extensions(WSGIMiddleware(wsgi_cases.environ_dump))
    elsewhere = await environ_of(app, request)
    differing = {key for key in native.keys() | elsewhere if native.get(key) != elsewhere.get(key)}
    missing = {"RAW_URI", "REQUEST_URI", "SERVER_SOFTWARE"}
    missing |= {"wsgi.file_wrapper", "wsgi.input_terminated"}
    assert native.keys() - elsewhere == missing
    assert elsewhere.keys() - native == {"HTTP_X_FORGED", "asgi.scope"}
    others = {"HTTP_COOKIE", "PATH_INFO", "wsgi.errors", "wsgi.input", "wsgi.multiprocess"}
    assert differing == missing | {"HTTP_X_FORGED", "asgi.scope"} | others


@pytest.mark.parametrize(
    ("target", "root_path", "script_name", "path_info"),
    [
        ("/legacy/", "", "/legacy", "/"),
        ("/legacy/cart", "", "/legacy", "/cart"),
        ("/legacy/caf%E9", "", "/legacy", "/caf\xe9"),
        ("/legacy/caf%C3%A9", "", "/legacy", "/caf\xc3\xa9"),
        ("/legacy/a%2Fb", "", "/legacy", "/a/b"),
        ("/leg%61cy/cart", "", "/legacy", "/cart"),
        ("/legacy/legacy/x", "", "/legacy", "/legacy/x"),
        ("/legacy/cart", "/shop", "/shop/legacy", "/cart"),
        ("/shop/legacy/cart", "/shop", "/shop/legacy", "/cart"),
    ],
)
async def test_path_is_split_where_it_is_mounted(
    target: str, root_path: str, script_name: str, path_info: str
) -> None:
    """[WSGI-8]."""
    app = site(wsgi_cases.environ_dump)
    environ = await environ_of(app, request_of(target), root_path=root_path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)
    assert environ["REQUEST_URI"] == target


async def test_mounted_application_knows_of_tls() -> None:
    """[WSGI-8] As it does alone."""
    found = []
    papers = issue()
    for app in (wsgi_cases.environ_dump, WSGIMiddleware(wsgi_cases.environ_dump)):
        async with (
            serving(app, **papers.settings) as server,
            TlsClient.secure(server.urls[0], papers.trust()) as client,
        ):
            environ = json.loads((await client.request(request_of())).body)
            found.append((environ["wsgi.url_scheme"], environ["HTTPS"]))
    assert found == [("https", "on")] * 2


async def test_what_middleware_says_of_the_request_is_believed() -> None:
    """[WSGI-8] Headers, scheme, client, query and path of the scope, not of the connection."""

    async def proxied(scope: dict[str, Any], receive: object, send: object) -> None:
        changed = {
            **scope,
            "scheme": "https",
            "client": ["192.0.2.7", 4711],
            "server": ["shop.example", 443],
            "path": "/other",
            "query_string": b"a=b",
            "headers": [*scope["headers"], (b"x-added", b"yes")],
        }
        await WSGIMiddleware(wsgi_cases.environ_dump)(changed, receive, send)  # type: ignore[arg-type]

    environ = await environ_of(proxied, request_of("/%61sked?q"))
    assert environ["wsgi.url_scheme"] == "https"
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("192.0.2.7", "shop.example")
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/other", "a=b")
    assert environ["HTTP_X_ADDED"] == "yes"
    assert environ["REQUEST_URI"] == "/%61sked?q"


# What stands in between


class Watching(BaseHTTPMiddleware):
    """Adds a header, as most middleware of users does."""

    async def dispatch(self, request: Request, call_next: Callable[..., Any]) -> Response:
        response: Response = await call_next(request)
        response.headers["x-watched"] = str(response.status_code)
        return response


async def test_middleware_sees_the_answer() -> None:
    """[WSGI-8] CORS, compression and BaseHTTPMiddleware: nothing is sent past them."""
    middleware = [
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(GZipMiddleware, minimum_size=10),
        Middleware(Watching),
    ]
    app = site(wsgi_cases.many_chunks, *middleware)
    async with serving(app) as server, client_of(server) as client:
        request = request_of("/legacy/", "Origin: http://b", "Accept-Encoding: gzip")
        response = await client.request(request)
        assert response.header("access-control-allow-origin") == "*"
        assert response.header("content-encoding") == "gzip"
        assert response.header("x-watched") == "200"
        assert (await client.request(request_of("/own"))).body == b"its own"


async def test_context_variables_of_the_call_reach_the_thread() -> None:
    """[WSGI-8] Request ids and traces are kept in them."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT.copy())
        return [name.get().encode()]

    middleware = WSGIMiddleware(app)

    async def named(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        name.set(scope["path"])
        await middleware(scope, receive, send)

    async with serving(named) as server, client_of(server) as client:
        for path in ("/one", "/two"):
            assert (await client.request(request_of(path))).body == path.encode()


async def test_error_goes_through_the_handlers_of_the_site() -> None:
    """[WSGI-8] [WSGI-5] As an error of an endpoint does; SystemExit does not end the server."""

    def app(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
        raise SystemExit(3) if environ["PATH_INFO"] == "/exit" else LookupError("no valve")

    async def handler(_request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{type(error).__name__}: {error}", 418)

    starlette = site(app, Middleware(Watching))
    starlette.add_exception_handler(LookupError, handler)
    async with serving(starlette) as server:
        async with client_of(server) as client:
            response = await client.request(request_of("/legacy/"))
            assert (response.status, response.body) == (418, b"LookupError: no valve")
        async with client_of(server) as client:
            assert (await client.request(request_of("/legacy/exit"))).status == 500
        async with client_of(server) as client:
            assert (await client.request(request_of("/own"))).body == b"its own"


# Threads


class Scene:
    """Requests to `/hold` wait for the test; `/stream` answers 50 MB; others their path."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.held = threading.Semaphore(0)
        self.release = threading.Event()
        self.produced = 0
        self.closed = threading.Event()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.calls.append(path)
        if path == "/hold":
            self.held.release()
            assert self.release.wait(PATIENCE)
        start_response("200 OK", TEXT.copy())
        return self._stream() if path == "/stream" else [path.encode()]

    def _stream(self) -> Iterator[bytes]:
        try:
            for _ in range(LARGE // len(PIECE)):
                self.produced += len(PIECE)
                yield PIECE
        finally:
            self.closed.set()

    async def until_held(self) -> None:
        assert await asyncio.to_thread(self.held.acquire, timeout=PATIENCE)


async def test_threads_are_started_when_they_are_needed() -> None:
    """[WSGI-8] As many as `threads` says, for all mounts together."""
    async with serving(site(Scene()), threads=3) as server, client_of(server) as client:
        assert (await client.request(request_of("/own"))).status == 200
        assert server.statistics().pool is None
        assert (await client.request(request_of("/legacy/x"))).body == b"/x"
        pool = server.statistics().pool
        assert pool is not None
        assert pool.threads == 3


async def test_slow_upload_holds_no_thread() -> None:
    """[WSGI-2] [WSGI-8] The only thread serves others meanwhile."""
    async with serving(site(wsgi_cases.echo), threads=1) as server, client_of(server) as slow:
        request = request_of("/legacy/", method="POST", body=b"hello")
        await slow.write(request[:-2])
        async with client_of(server) as client:
            assert (await client.request(request)).body == b"hello"
        await slow.write(request[-2:])
        assert (await slow.read_response()).body == b"hello"


async def test_large_upload_goes_through_a_file() -> None:
    """[WSGI-2] [WSGI-8]."""
    body = bytes(range(256)) * 8000
    settings = {"max_body_memory": 1000, "threads": 1}
    async with serving(site(wsgi_cases.echo), **settings) as server, client_of(server) as client:
        request = request_of("/legacy/", method="POST", body=body)
        assert (await client.request(request)).body == body


async def test_stream_waits_for_its_client() -> None:
    """[WSGI-4] [WSGI-8] And all of it arrives."""
    scene = Scene()
    async with serving(site(scene)) as server, client_of(server, 4096) as client:
        await client.write(request_of("/legacy/stream"))
        before = -1
        while before != scene.produced:
            before = scene.produced
            await asyncio.sleep(1.2)  # longer than the thread's look at the clock
        assert 0 < scene.produced < LARGE // 2
        client.patience = 30
        assert len((await client.read_response()).body) == LARGE


@pytest.mark.parametrize("between", [None, Watching, GZipMiddleware])
@pytest.mark.parametrize("way", ["reset", "stops reading"])
async def test_stream_ends_with_its_client(way: str, between: Any) -> None:  # noqa: ANN401
    """[WSGI-4] [WSGI-8] `close()` is called, and the thread is free."""
    scene = Scene()
    middleware = [Middleware(between)] if between is not None else []
    app = site(scene, *middleware)
    async with serving(app, threads=1, write_timeout=0.2) as server:
        async with client_of(server, 4096) as client:
            await client.write(request_of("/legacy/stream"))
            assert (await client.read_head()).status == 200
            if way == "reset":
                client.reset()
            assert await asyncio.to_thread(scene.closed.wait, PATIENCE)
        async with client_of(server) as client:
            assert (await client.request(request_of("/legacy/x"))).body == b"/x"
        assert 0 < scene.produced < LARGE


async def test_request_of_a_client_that_left_is_never_run() -> None:
    """[WSGI-6] [WSGI-8]."""
    scene = Scene()
    async with serving(site(scene), threads=1) as server, client_of(server) as holder:
        await holder.write(request_of("/legacy/hold"))
        await scene.until_held()
        async with client_of(server) as leaver:
            await leaver.write(request_of("/legacy/left"))
            await until(lambda: queued(server) == 1)
            leaver.reset()
        await until(lambda: server.statistics().gate.open == 1)
        scene.release.set()
        assert (await holder.read_response()).body == b"/hold"
        assert (await holder.request(request_of("/legacy/other"))).body == b"/other"
    assert scene.calls == ["/hold", "/other"]


async def test_request_that_waits_too_long_is_answered_503() -> None:
    """[WSGI-6] [WSGI-8] With `Retry-After`, through the middleware, and it is never run."""
    scene = Scene()
    app = site(scene, Middleware(Watching))
    async with (
        serving(app, threads=1, queue_timeout=0.1) as server,
        client_of(server) as holder,
    ):
        await holder.write(request_of("/legacy/hold"))
        await scene.until_held()
        async with client_of(server) as client:
            response = await client.request(request_of("/legacy/late"))
            assert (response.status, response.header("retry-after")) == (503, "1")
            assert response.header("x-watched") == "503"
            assert await client.read_until_eof() == b""
        scene.release.set()
        assert (await holder.read_response()).body == b"/hold"
        assert (await holder.request(request_of("/legacy/other"))).body == b"/other"
    assert scene.calls == ["/hold", "/other"]


async def test_request_that_runs_too_long_is_answered_504(caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-7] [WSGI-8] Its stack is logged, its neighbours are served."""
    scene = Scene()
    async with serving(site(scene), request_timeout=0.1) as server:
        async with client_of(server) as client:
            response = await client.request(request_of("/legacy/hold"))
            assert (response.status, response.body) == (504, b"504 Gateway Timeout\n")
            assert server.statistics().overdue == 1
        async with client_of(server) as client:
            assert (await client.request(request_of("/legacy/x"))).body == b"/x"
        scene.release.set()
        await until(lambda: busy(server) == 0)
        assert server.statistics().overdue == 0
    assert "request overdue method=GET target=/legacy/hold" in caplog.text
    assert "self.release.wait(PATIENCE)" in caplog.text


async def test_stream_that_runs_too_long_is_cut() -> None:
    """[WSGI-7] [WSGI-8]."""
    scene = Scene()
    async with (
        serving(site(scene), request_timeout=0.2) as server,
        client_of(server, 4096) as client,
    ):
        await client.write(request_of("/legacy/stream"))
        assert (await client.read_head()).status == 200
        assert await asyncio.to_thread(scene.closed.wait, PATIENCE)
        with suppress(OSError):
            assert not (await client.read_until_eof()).endswith(b"0\r\n\r\n")
        await until(lambda: busy(server) == 0)


async def test_server_without_a_thread_in_time_stops(caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-7] [WSGI-8]."""
    scene = Scene()
    config = Config(app=site(scene), port=0, threads=1, request_timeout=0.1, graceful_timeout=0.5)
    server = Server(config)
    await server.start()
    try:
        async with client_of(server) as client:
            assert (await client.request(request_of("/legacy/hold"))).status == 504
        async with asyncio.timeout(PATIENCE):
            report = await server.serve()
    finally:
        scene.release.set()
    assert not report.is_clean
    assert caplog.text.count("all threads are overdue") == 1


async def test_stop_waits_for_mounted_calls_and_no_longer_than_it_may() -> None:
    """[STOP-1] [WSGI-8]."""
    for is_released in (True, False):
        scene = Scene()
        async with serving(site(scene), graceful_timeout=0.6) as server:
            async with client_of(server) as client:
                await client.write(request_of("/legacy/hold"))
                await scene.until_held()
                server.stop()
                if is_released:
                    scene.release.set()
                    response = await client.read_response()
                    assert (response.body, response.header("connection")) == (b"/hold", "close")
                async with asyncio.timeout(PATIENCE):
                    report = await server.serve()
            scene.release.set()
        assert report.is_clean is is_released


async def test_one_record_for_a_mounted_request(caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-8] With what the native bridge knows of threads."""
    caplog.set_level(logging.INFO, logger="asgibridge.access")
    app = site(wsgi_cases.hello)
    async with serving(app, access_log=True) as server, client_of(server) as client:
        assert (await client.request(request_of("/legacy/x"))).body == b"hello"
    records = [each for each in caplog.records if each.name == "asgibridge.access"]
    assert [each.getMessage().count("GET /legacy/x") for each in records] == [1]


# Elsewhere


async def test_other_servers_get_a2wsgi() -> None:
    """[WSGI-8] Nothing of ours is asked of them; its threads are its own."""
    app = without_extensions(site(wsgi_cases.hello))
    async with serving(app) as server, client_of(server) as client:
        for _ in range(3):
            assert (await client.request(request_of("/legacy/x"))).body == b"hello"
        assert server.statistics().pool is None


async def test_it_is_a_whole_application_with_a_lifespan() -> None:
    """[WSGI-8]."""
    app = WSGIMiddleware(wsgi_cases.hello)
    async with serving(app, lifespan="on") as server, client_of(server) as client:
        assert (await client.request(request_of("/"))).body == b"hello"

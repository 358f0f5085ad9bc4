"""The seam between ASGI calls and the bridge; more of it in integration/test_mounted_wsgi.py."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.detection import Nature, detect
from asgibridge.app.environ import EnvironBuilder
from asgibridge.app.mount import MountedEnvirons, MountHandler, WSGIMiddleware, split_path
from asgibridge.app.threads import ThreadPool
from asgibridge.app.wsgi import WsgiHandler
from asgibridge.errors import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asgibridge.app.messages import Body, MessageExchange

PATIENCE = 10.0
TEXT = [("Content-Type", "text/plain")]


def hello(_environ: Any, start: Any) -> list[bytes]:  # noqa: ANN401 - PEP 3333's
    start("200 OK", TEXT.copy())
    return [b"hello"]


def no_room() -> Body:
    raise OSError(28, "No space left on device")


@pytest.fixture
def pool() -> Iterator[ThreadPool[Any]]:
    pool: ThreadPool[Any] = ThreadPool(1)
    pool.start()
    yield pool
    pool.stop()


def handler_of(app: object, pool: ThreadPool[Any], new_body: Callable[[], Body] = no_room) -> Any:  # noqa: ANN401
    """Return an ASGI handler of *app*, as a process with mounts has it."""
    loop = asyncio.get_running_loop()
    environs = MountedEnvirons(root_path="", multithread=False, multiprocess=False)
    assert isinstance(environs, EnvironBuilder)
    bridge = WsgiHandler(None, pool, environs, loop.call_soon)

    def post(exchange: MessageExchange) -> None:
        loop.call_soon_threadsafe(exchange.deliver)

    handler = AsgiHandler(app, loop)
    handler.mounts = lambda: MountHandler(bridge, new_body, post)
    return handler


async def answer(app: object, pool: ThreadPool[Any], exchange: FakeExchange) -> bytes:
    handler = handler_of(app, pool)
    handler.begin(exchange)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*handler.tasks)
    return exchange.sent


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/a/b", "root_path": "/a"}, ("/a", "/b")),
        ({"path": "/a", "root_path": "/a"}, ("/a", "")),
        ({"path": "/ab", "root_path": "/a"}, ("/a", "/ab")),
        ({"path": "/b", "root_path": "/a/"}, ("/a", "/b")),
        ({"path": "/b"}, ("", "/b")),
        ({"path": "/\xe9", "raw_path": b"/%C3%A9"}, ("", "/\xc3\xa9")),
        ({"path": "/\ufffd", "raw_path": b"/%E9"}, ("", "/\xe9")),
        ({"path": "/\xe9/x", "raw_path": None, "root_path": "/\xe9"}, ("/\xc3\xa9", "/x")),
        ({"path": "/changed", "raw_path": b"/%E9"}, ("", "/changed")),
    ],
)
def test_path_is_split_at_the_mount(scope: dict[str, Any], expected: tuple[str, str]) -> None:
    """[WSGI-8] Bytes that are no UTF-8 survive."""
    assert split_path(scope) == expected


def test_middleware_is_an_asgi_application() -> None:
    assert detect(WSGIMiddleware(hello)) is Nature.ASGI


async def test_call_goes_to_the_pool_and_comes_back(pool: ThreadPool[Any]) -> None:
    """[WSGI-8]."""
    sent = await answer(WSGIMiddleware(hello), pool, FakeExchange())
    assert sent.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n")
    assert sent.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    ("size", "declared", "status", "expected"),
    [
        (1000, None, 200, 1000),
        (100_000, None, 200, 100_000),
        (100_000, 70_000, 200, 70_000),
        (100_000, 100_001, 500, None),
    ],
)
async def test_file_is_read_for_the_messages(
    size: int,
    declared: int | None,
    status: int,
    expected: int | None,
    pool: ThreadPool[Any],
    tmp_path: Path,
) -> None:
    """[WSGI-8] [WSGI-3] No more of it than is declared, and large ones get their length."""
    path = tmp_path / "file"
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await asyncio.to_thread(path.write_bytes, content)

    def app(environ: Any, start: Any) -> Any:  # noqa: ANN401 - PEP 3333's
        length = [("Content-Length", str(declared))] if declared is not None else []
        start("200 OK", [*TEXT, *length])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    head, _, body = (await answer(WSGIMiddleware(app), pool, FakeExchange())).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    if expected is not None and expected > 65536:
        assert b"Content-Length: %d" % expected in head
        assert body == content[:expected]
    elif expected is not None:
        assert content in body  # chunked, as it would be alone


async def test_file_that_shrinks_is_never_made_to_look_whole(
    pool: ThreadPool[Any], tmp_path: Path
) -> None:
    """[WSGI-5] [WSGI-8]."""
    path = tmp_path / "file"
    await asyncio.to_thread(path.write_bytes, b"x" * 100_000)
    exchange = FakeExchange()

    def app(environ: Any, start: Any) -> Any:  # noqa: ANN401 - PEP 3333's
        start("200 OK", TEXT.copy())
        wrapper = environ["wsgi.file_wrapper"](path.open("rb"))
        span = wrapper.span()
        path.write_bytes(b"")
        wrapper.span = lambda: span
        return wrapper

    await answer(WSGIMiddleware(app), pool, exchange)
    assert exchange.failed == 500


async def test_body_that_finds_no_room_is_answered_507(
    pool: ThreadPool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-2] The application is not called."""
    exchange = FakeExchange("POST", body=b"hello")
    app = WSGIMiddleware(lambda _environ, _start: pytest.fail("it was called"))
    assert (await answer(app, pool, exchange)).startswith(b"HTTP/1.1 507 ")
    assert "cannot keep a request body: No space left on device" in caplog.text


async def test_client_that_leaves_during_its_upload_is_not_served(pool: ThreadPool[Any]) -> None:
    """[WSGI-2] A truncated body never reaches the application."""
    exchange = FakeExchange("POST", body=b"")
    exchange.bodies = []
    exchange.leave()
    app = WSGIMiddleware(lambda _environ, _start: pytest.fail("it was called"))
    assert await answer(app, pool, exchange) == b""


async def test_task_that_is_cancelled_leaves_the_thread_to_itself(
    pool: ThreadPool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """[STOP-1] What the application raises then is logged, for nobody is there to hear it."""
    entered, release = threading.Event(), threading.Event()

    def app(_environ: Any, _start: Any) -> list[bytes]:  # noqa: ANN401 - PEP 3333's
        entered.set()
        release.wait(PATIENCE)
        raise LookupError("no valve")

    handler = handler_of(WSGIMiddleware(app), pool)
    handler.begin(FakeExchange())
    assert await asyncio.to_thread(entered.wait, PATIENCE)
    (task,) = handler.tasks
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    pool.stop()
    assert await asyncio.to_thread(pool.join, 1e6)
    assert "no valve" in caplog.text


async def test_dropped_call_ends_its_task_quietly(
    pool: ThreadPool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-6] Middleware around it sees an exception, not a missing answer."""
    raised: list[BaseException] = []
    exchange = FakeExchange()

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        async def leaving() -> Any:  # noqa: ANN401 - ASGI's
            message = await receive()
            exchange.leave()
            return message

        try:
            await WSGIMiddleware(hello)(scope, leaving, send)
        except ClientDisconnected as error:
            raised.append(error)
            raise

    caplog.set_level(logging.INFO)
    assert await answer(app, pool, exchange) == b""
    assert len(raised) == 1
    assert caplog.text == ""


@pytest.mark.parametrize("extensions", [None, {}, {"asgibridge.wsgi": {}}])
async def test_scope_of_another_server_leads_to_a2wsgi(extensions: object) -> None:
    """[WSGI-8]."""
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 - ASGI's
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [],
        "extensions": extensions,
    }
    middleware = WSGIMiddleware(hello, workers=1)
    for _ in range(2):
        sent.clear()
        await middleware(scope, receive, send)
        assert sent[0]["status"] == 200
    middleware._elsewhere.executor.shutdown()


async def test_websocket_is_refused() -> None:
    """[WSGI-8] WSGI knows none."""
    sent: list[Any] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    async def receive() -> Any:  # noqa: ANN401 - ASGI's
        return {"type": "websocket.connect"}

    await WSGIMiddleware(hello)({"type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]

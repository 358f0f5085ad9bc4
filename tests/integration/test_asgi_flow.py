"""Back-pressure, disconnects, tasks and contexts of ASGI requests, on both loops.

What one request and its messages look like is in test_asgi_conformance.py, the plain lifespan in
test_asgi_lifespan.py.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from apps.asgi_cases import Message, Receive, Scope, Send, body, hello, start, whole_body
from support.clients import RawClient

from asgibridge import Config, Server
from asgibridge.errors import LifespanFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0
PIECE: Final = b"x" * 65536
LARGE: Final = 64 << 20
# What the buffers of two sockets and a transport may hold, generously.
BUFFERS: Final = 16 << 20


def get(path: str = "/", *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: a", *lines))
    return f"{head}\r\n".encode()


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[Server]:  # noqa: ANN401
    given = {"lifespan": "off", "graceful_timeout": 1.0, **settings}
    async with Server(Config(app=app, interface="asgi", port=0, **given)) as server:
        yield server


@asynccontextmanager
async def client_of(server: Server, receive_buffer: int | None = None) -> AsyncIterator[RawClient]:
    url = server.urls[0]
    async with RawClient.connect(url, patience=PATIENCE, receive_buffer=receive_buffer) as client:
        yield client


async def standing(count: Callable[[], int]) -> int:
    """Wait until *count* has not moved for a while, and return it."""
    async with asyncio.timeout(PATIENCE):
        before = -1
        while before != count():
            before = count()
            await asyncio.sleep(0.1)
    return before


class Probe:
    """Keeps what an application meets."""

    def __init__(self) -> None:
        self.sent = 0
        self.messages: list[Message] = []
        self.raised: list[BaseException] = []
        self.called = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()


# Back-pressure: ASGI-3 of the semantics


async def test_send_waits_above_the_high_water_mark_and_goes_on() -> None:
    """[ASGI-3] What a client does not read is not produced; once it reads, all of it arrives."""
    probe = Probe()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start(send)
        while probe.sent < LARGE:
            await body(send, PIECE, more=True)
            probe.sent += len(PIECE)
        await body(send, b"")

    async with serving(app) as server, client_of(server) as client:
        await client.write(get())
        assert await standing(lambda: probe.sent) < BUFFERS
        assert len((await client.read_response()).body) == LARGE


async def test_waiting_send_ends_when_its_client_leaves() -> None:
    """[ASGI-3] [ASGI-1] It returns, and the next one raises an `OSError`."""
    probe = Probe()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start(send)
        try:
            while True:
                await body(send, PIECE, more=True)
                probe.sent += len(PIECE)
        except OSError as error:
            probe.raised.append(error)
            probe.ended.set()
            raise

    async with serving(app) as server:
        async with client_of(server, 4096) as client:
            await client.write(get())
            await standing(lambda: probe.sent)
            client.reset()
        await asyncio.wait_for(probe.ended.wait(), PATIENCE)
    assert isinstance(probe.raised[0], OSError)


async def test_upload_that_nobody_reads_stays_with_its_client() -> None:
    """[ASGI-3] The bytes taken from the socket are bounded; the rest follows when asked for."""
    probe = Probe()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        probe.called.set()
        await probe.release.wait()
        size = len(await whole_body(receive))
        await start(send)
        await body(send, str(size).encode())

    async with serving(app) as server, client_of(server) as client:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"
        await client.write(head.encode())
        await asyncio.wait_for(probe.called.wait(), PATIENCE)
        written = 0

        async def upload() -> None:
            nonlocal written
            while written < LARGE:
                await client.write(PIECE)
                written += len(PIECE)

        uploading = asyncio.create_task(upload())
        assert await standing(lambda: written) < BUFFERS
        assert server._assembly is not None
        (connection,) = server._assembly.wiring.connections
        assert connection.exchange is not None
        assert connection.exchange._unread < 1 << 20
        probe.release.set()
        await uploading
        assert (await client.read_response()).body == str(LARGE).encode()


# Disconnects


@pytest.mark.parametrize("how", ["reset", "fin"])
async def test_disconnect_is_told_at_once(how: str) -> None:
    """[ASGI-3] To an application that waits for it while it works on its answer."""
    probe = Probe()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        probe.called.set()
        probe.messages.append(await receive())
        probe.ended.set()

    async with serving(app) as server, client_of(server) as client:
        await client.write(get())
        await asyncio.wait_for(probe.called.wait(), PATIENCE)
        if how == "reset":
            client.reset()
        else:
            client.half_close()
        await asyncio.wait_for(probe.ended.wait(), PATIENCE)
    assert [message["type"] for message in probe.messages] == ["http.disconnect"]


async def test_client_that_only_stops_sending_is_answered() -> None:
    """A FIN is no farewell: what is sent after `http.disconnect` still goes out."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await hello(scope, receive, send)

    async with serving(app) as server, client_of(server) as client:
        await client.write(get())
        client.half_close()
        assert (await client.read_response()).body == b"hello"
        assert await client.read_until_eof() == b""


@pytest.mark.parametrize("shape", ["cause", "group"])
async def test_disconnect_in_the_guise_of_a_framework_is_no_failure(
    shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Frameworks wrap what `send` raised; the log stays silent about clients that leave."""
    probe = Probe()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start(send)
        try:
            while True:
                await body(send, PIECE, more=True)
                probe.called.set()
                await asyncio.sleep(0)
        except OSError as error:
            if shape == "group":
                raise BaseExceptionGroup("tasks", [error]) from None
            raise RuntimeError("wrapped") from error
        finally:
            probe.ended.set()

    async with serving(app) as server:
        async with client_of(server) as client:
            await client.write(get())
            await asyncio.wait_for(probe.called.wait(), PATIENCE)
            client.reset()
        await asyncio.wait_for(probe.ended.wait(), PATIENCE)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# Tasks


async def test_work_after_the_response_does_not_hold_the_connection() -> None:
    """[ASGI-1] The next request on it is served, and the server waits for the work at its end."""
    probe = Probe()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        if scope["path"] == "/works":
            await probe.release.wait()
            probe.ended.set()

    async with serving(app, graceful_timeout=PATIENCE) as server, client_of(server) as client:
        assert (await client.request(get("/works"))).body == b"hello"
        assert (await client.request(get())).body == b"hello"
        assert server.statistics().gate.in_flight == 0
        probe.release.set()
    assert probe.ended.is_set()


async def test_hundred_requests_run_at_once() -> None:
    """[ASGI-1] All are in the application before the first is answered."""
    barrier = asyncio.Barrier(100)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await barrier.wait()
        await start(send)
        await body(send, scope["path"].encode())

    async with serving(app) as server:

        async def ask(number: int) -> None:
            async with client_of(server) as client:
                response = await client.request(get(f"/{number}"))
                assert response.body == f"/{number}".encode()

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(ask(number))


@pytest.mark.parametrize("is_in_advance", [False, True])
async def test_context_variables_stay_in_their_request(*, is_in_advance: bool) -> None:
    """Also when the requests come in one packet, and the second begins as the first ends."""
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen = user.get()
        user.set(scope["path"])
        await start(send)
        await body(send, seen.encode())

    async with serving(app) as server, client_of(server) as client:
        if is_in_advance:
            await client.write(get("/anna") * 3)
        for _ in range(3):
            if not is_in_advance:
                await client.write(get("/anna"))
            assert (await client.read_response()).body == b"nobody"


async def test_context_of_the_start_reaches_every_request() -> None:
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")
    place.set("here")

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, place.get().encode())

    async with serving(app) as server, client_of(server) as client:
        assert (await client.request(get())).body == b"here"


async def test_application_that_ignores_cancellation_does_not_keep_the_server() -> None:
    """[ASGI-1] The stop is bounded, and not clean."""
    probe = Probe()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        probe.called.set()
        while not probe.release.is_set():
            try:
                await probe.release.wait()
            except asyncio.CancelledError:
                probe.ended.set()

    server = Server(Config(app=app, port=0, lifespan="off", graceful_timeout=0.5))
    await server.start()
    async with client_of(server) as client:
        await client.write(get())
        await asyncio.wait_for(probe.called.wait(), PATIENCE)
        server.stop()
        async with asyncio.timeout(PATIENCE):
            report = await server.serve()
    assert probe.ended.is_set()
    assert not report.is_clean
    probe.release.set()


async def test_cancellation_by_the_application_itself_is_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody cancelled its task, so it is an error like any other: 500, and told in the log."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise asyncio.CancelledError

    async with serving(app) as server, client_of(server) as client:
        assert (await client.request(get())).status == 500
    assert "the application failed on GET /" in caplog.text


@pytest.mark.parametrize("content", ["text", 5, None])
@pytest.mark.parametrize("more", [False, True])
async def test_body_of_no_bytes_is_answered_500(
    content: Any,  # noqa: ANN401 - what no application should send
    caplog: pytest.LogCaptureFixture,
    *,
    more: bool,
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, content, more=more)

    async with serving(app) as server, client_of(server) as client:
        assert (await client.request(get())).status == 500
    assert f"a body is made of bytes, not of {type(content).__name__}" in caplog.text


@pytest.mark.parametrize(
    ("target", "path", "raw_path"),
    [
        ("/item", "/shop/item", "/shop/item"),
        ("/shop", "/shop", "/shop"),
        ("/shop/item", "/shop/item", "/shop/item"),
        ("/shopping", "/shop/shopping", "/shop/shopping"),
        ("/", "/shop/", "/shop/"),
        ("/%73hop/x", "/shop/x", "/%73hop/x"),
    ],
)
async def test_path_begins_with_the_root_path(target: str, path: str, raw_path: str) -> None:
    """[ASGI-1] Whether a proxy took the prefix off or not; `/shopping` is not below `/shop`."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, f"{scope['path']} {scope['raw_path'].decode()}".encode())

    async with serving(app, root_path="/shop") as server, client_of(server) as client:
        assert (await client.request(get(target))).body == f"{path} {raw_path}".encode()


# The lifespan at its limits


class Life:
    """A lifespan that hangs, fails or ends where its test wants it to."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.never = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await hello(scope, receive, send)
            return
        if self.where == "cancels itself":
            raise asyncio.CancelledError
        await receive()
        if self.where == "hangs at startup":
            await self.never.wait()
        await send({"type": "lifespan.startup.complete"})
        if self.where == "ends while running":
            return
        if self.where == "fails while running":
            raise RuntimeError("the boiler burst")
        await receive()
        match self.where:
            case "hangs at shutdown":
                await self.never.wait()
            case "raises at shutdown":
                raise RuntimeError("the boiler burst")
            case "fails at shutdown":
                message = {"type": "lifespan.shutdown.failed", "message": "the boiler burst"}
                await send(message)
            case _:
                await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_startup_that_takes_too_long_fails_the_start(mode: str) -> None:
    """[ASGI-1] The message names the setting to change."""
    with pytest.raises(LifespanFailed, match="startup_timeout"):
        async with serving(Life("hangs at startup"), lifespan=mode, startup_timeout=0.1):
            pass  # never entered


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_startup_that_is_cancelled_fails_at_once(mode: str) -> None:
    """[ASGI-1] Not when the timeout comes."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(LifespanFailed, match="cancelled"):
            async with serving(Life("cancels itself"), lifespan=mode, startup_timeout=60.0):
                pass  # never entered


@pytest.mark.parametrize(
    ("where", "is_clean", "told"),
    [
        ("hangs at shutdown", False, "shutdown took longer"),
        ("raises at shutdown", False, "the boiler burst"),
        ("fails at shutdown", False, "the boiler burst"),
        ("fails while running", False, "the boiler burst"),
        ("ends while running", True, "ended while it should run"),
        ("ends at shutdown", True, ""),
    ],
)
async def test_stop_ends_however_the_lifespan_does(
    where: str, told: str, caplog: pytest.LogCaptureFixture, *, is_clean: bool
) -> None:
    """[ASGI-1] Requests are served until then, and what went wrong is in the log."""
    grace = 1.0 if where == "hangs at shutdown" else 60.0
    config = Config(app=Life(where), port=0, lifespan="on", graceful_timeout=grace)
    server = Server(config)
    await server.start()
    async with client_of(server) as client:
        assert (await client.request(get("/", "Connection: close"))).body == b"hello"
    server.stop()
    async with asyncio.timeout(PATIENCE):
        report = await server.serve()
    assert report.is_clean is is_clean
    assert told in caplog.text

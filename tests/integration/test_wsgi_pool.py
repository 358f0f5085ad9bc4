"""Threads, slow clients and time in the WSGI bridge, over real sockets, on both loops.

What PEP 3333 asks of one request is in test_wsgi_conformance.py.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.clients import ConnectionEnded, RawClient

from asgibridge import Config, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0
TEXT: Final = [("Content-Type", "text/plain")]
PIECE: Final = b"x" * 65536
# Far more than the buffers of two sockets and a transport hold.
LARGE: Final = 100 << 20


def get(path: str = "/", *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: a", *lines))
    return f"{head}\r\n".encode()


class Scene:
    """An application whose requests wait for the test, by path.

    `/hold` waits for `release`, `/stream` answers 100 MB, `/sized` as much as its query says,
    `/echo` its body, and the others are answered with their path at once.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.held = threading.Semaphore(0)
        self.release = threading.Event()
        self.produced = 0
        self.closed: list[int] = []
        self.has_closed = threading.Event()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.calls.append(path)
        if path == "/hold":
            self.held.release()
            assert self.release.wait(PATIENCE)
        start_response("200 OK", TEXT.copy())
        if path == "/stream":
            return Stream(self)
        if path == "/echo":
            return [environ["wsgi.input"].read()]
        if path == "/sized":
            return [b"y" * int(environ["QUERY_STRING"])]
        return [path.encode()]

    async def until_held(self) -> None:
        assert await asyncio.to_thread(self.held.acquire, timeout=PATIENCE)


class Stream:
    """A body of 100 MB that counts what it has given away."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(LARGE // len(PIECE)):
            self._scene.produced += len(PIECE)
            yield PIECE

    def close(self) -> None:
        self._scene.closed.append(threading.get_ident())
        self._scene.has_closed.set()


@asynccontextmanager
async def serving(app: WSGIApplication, **settings: Any) -> AsyncIterator[Server]:  # noqa: ANN401
    given = {"threads": 1, "max_in_flight": 100, "graceful_timeout": 2.0, **settings}
    async with Server(Config(app=app, interface="wsgi", port=0, **given)) as server:
        yield server


@asynccontextmanager
async def client_of(server: Server, receive_buffer: int | None = None) -> AsyncIterator[RawClient]:
    url = server.urls[0]
    async with RawClient.connect(url, patience=PATIENCE, receive_buffer=receive_buffer) as client:
        yield client


def limit_send_buffer(server: Server) -> None:
    """Have the kernel take few bytes at a time for those who connect from now on."""
    for listener in server._listeners:
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)


def unsent(server: Server) -> list[int]:
    """Return the bytes that wait in the transport of each connection."""
    assert server._assembly is not None
    return [
        connection.transport.get_write_buffer_size()
        for connection in server._assembly.wiring.connections
        if connection._transport is not None
    ]


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until *condition*: for facts that no event tells."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - of the pool, which knows no events of the loop
            await asyncio.sleep(0)


async def assert_serves(server: Server) -> None:
    async with client_of(server) as client:
        assert (await client.request(get("/other"))).body == b"/other"


# Slow clients: WSGI-2


async def test_client_that_sends_slowly_holds_no_thread() -> None:
    """[WSGI-2] With one thread, others are served between each two bytes of a body."""
    async with serving(Scene()) as server, client_of(server) as slow, client_of(server) as quick:
        await slow.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        for byte in b"hello":
            assert (await quick.request(get("/quick"))).body == b"/quick"
            statistics = server.statistics().pool
            assert statistics is not None
            assert statistics.queued == 0
            await slow.write(bytes([byte]))
        assert (await slow.read_response()).body == b"hello"


async def test_client_that_does_not_read_holds_no_thread() -> None:
    """[WSGI-2] A whole answer is the loop's to send, however large."""
    size = 20 << 20
    async with serving(Scene()) as server, client_of(server, 4096) as slow:
        await slow.write(get(f"/sized?{size}"))
        assert (await slow.read_head()).status == 200
        for _ in range(3):
            await assert_serves(server)
        assert len(await slow.read_exactly(size)) == size


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1 << 20, 5 << 20])
async def test_answer_that_is_sent_in_parts_arrives_whole(size: int) -> None:
    """The thread sends what the kernel takes, the loop the rest, to a client of few bytes."""
    async with serving(Scene()) as server:
        limit_send_buffer(server)
        async with client_of(server, 2048) as client:
            for _ in range(2):
                response = await client.request(get(f"/sized?{size}"))
                assert response.body == b"y" * size


# Streams: WSGI-4 of the semantics


async def test_stream_waits_for_its_client() -> None:
    """[WSGI-4] What a client does not read is not produced; when it goes, the thread is free."""
    scene = Scene()
    async with serving(scene) as server:
        async with client_of(server, 4096) as client:
            await client.write(get("/stream"))
            assert (await client.read_head()).status == 200
            await until_it_stands(scene)
            assert scene.produced < 16 << 20
            assert not scene.closed
            await client.read_exactly(1 << 20)
            client.reset()
        assert await asyncio.to_thread(scene.has_closed.wait, PATIENCE)
        await assert_serves(server)
        assert len(scene.closed) == 1
        assert scene.produced < LARGE


async def until_it_stands(scene: Scene) -> None:
    """Wait until the stream has produced nothing more for a while."""
    async with asyncio.timeout(PATIENCE):
        before = -1
        while before != scene.produced:
            before = scene.produced
            await asyncio.sleep(0.1)


async def test_stream_goes_on_when_its_client_does() -> None:
    """[WSGI-4] All 100 MB arrive, in order and framed, after a pause."""
    scene = Scene()
    async with serving(scene) as server, client_of(server) as client:
        await client.write(get("/stream", "Connection: close"))
        await until_it_stands(scene)
        response = await client.read_response()
        assert len(response.body) == LARGE
        assert len(scene.closed) == 1


async def test_stream_to_a_client_that_stops_reading_is_cut() -> None:
    """[WSGI-4] `write_timeout` frees the thread, and `close()` is called once."""
    scene = Scene()
    async with serving(scene, write_timeout=0.2) as server, client_of(server, 4096) as client:
        await client.write(get("/stream"))
        assert (await client.read_head()).status == 200
        assert await asyncio.to_thread(scene.has_closed.wait, PATIENCE)
        await assert_serves(server)
        assert len(scene.closed) == 1


async def test_endless_answer_to_head_ends_with_its_client() -> None:
    """[WSGI-4] Nothing is sent that could fail, yet the thread is free when the client goes."""
    entered, closed = threading.Event(), threading.Event()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT.copy())
        return [b"/other"] if environ["REQUEST_METHOD"] == "GET" else endless()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
                entered.set()
        finally:
            closed.set()

    async with serving(app) as server:
        async with client_of(server) as client:
            await client.write(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await asyncio.to_thread(entered.wait, PATIENCE)
            client.reset()
        assert await asyncio.to_thread(closed.wait, PATIENCE)
        await assert_serves(server)


# What applications do wrong: WSGI-5


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_application_cannot_end_the_server(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-5] What ends a process elsewhere is a failed request here; the one thread lives on."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/raise":
            raise error
        start_response("200 OK", TEXT.copy())
        return [b"/other"]

    async with serving(app) as server:
        async with client_of(server) as client:
            assert (await client.request(get("/raise"))).status == 500
        await assert_serves(server)
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        ("text", "str"),
        (["text"], "str"),
        (["two", "texts"], "str"),
        (["mixed", b"one"], "str"),
        (b"bytes alone", "int"),
        ([bytearray(b"one")], "bytearray"),
        (None, "NoneType"),
    ],
)
async def test_body_of_no_bytes_is_answered_500(
    body: Any,  # noqa: ANN401 - what no application should answer
    culprit: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """[WSGI-5] The log names the type that came in place of bytes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Any:  # noqa: ANN401
        start_response("200 OK", TEXT.copy())
        return body if environ["PATH_INFO"] == "/whole" else iter(body)

    async with serving(app) as server, client_of(server) as client:
        for path in ("/whole", "/iterated"):
            assert (await client.request(get(path))).status == 500
    assert culprit in caplog.text
    assert "the application failed on GET /whole" in caplog.text


async def test_failing_log_handler_keeps_no_answer_back() -> None:
    """[WSGI-5] A handler of the user's that raises costs neither the client nor the thread."""
    import logging  # noqa: PLC0415 - for this test alone

    class Failing(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            raise RuntimeError("the disk is full")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/raise":
            raise ValueError
        start_response("200 OK", TEXT.copy())
        return [b"/other"]

    handler = Failing()
    async with serving(app) as server:
        async with client_of(server) as client:
            logging.getLogger("asgibridge").addHandler(handler)
            try:
                assert (await client.request(get("/raise"))).status == 500
            finally:
                logging.getLogger("asgibridge").removeHandler(handler)
        await assert_serves(server)


# Waiting for a thread: WSGI-6


async def test_request_of_a_client_that_left_is_never_run() -> None:
    """[WSGI-6] It waited for the only thread and its client reset the connection."""
    scene = Scene()
    async with serving(scene) as server, client_of(server) as holder:
        await holder.write(get("/hold"))
        await scene.until_held()
        async with client_of(server) as leaver:
            await leaver.write(b"POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            await until(lambda: queued(server) == 1)
            leaver.reset()
        await until(lambda: server.statistics().gate.open == 1)
        scene.release.set()
        assert (await holder.read_response()).body == b"/hold"
        await assert_serves(server)
    assert scene.calls == ["/hold", "/other"]


def queued(server: Server) -> int:
    statistics = server.statistics().pool
    assert statistics is not None
    return statistics.queued


def busy(server: Server) -> int:
    statistics = server.statistics().pool
    assert statistics is not None
    return statistics.busy


@pytest.mark.parametrize("request_timeout", [None, 30.0])
async def test_request_that_waits_too_long_is_answered_503(request_timeout: float | None) -> None:
    """[WSGI-6] With `Retry-After`, while the thread is still busy, and it is never run."""
    scene = Scene()
    settings = {"queue_timeout": 0.1, "request_timeout": request_timeout}
    async with serving(scene, **settings) as server, client_of(server) as holder:
        await holder.write(get("/hold"))
        await scene.until_held()
        async with client_of(server) as one, client_of(server) as two:
            for client in (one, two):
                await client.write(get("/late"))
            for client in (one, two):
                response = await client.read_response()
                assert response.status == 503
                assert int(response.header("retry-after") or 0) >= 1
        assert busy(server) == 1
        scene.release.set()
        assert (await holder.read_response()).body == b"/hold"
        await assert_serves(server)
    assert scene.calls == ["/hold", "/other"]


# Running for too long: WSGI-7


@pytest.mark.parametrize("queue_timeout", [None, 30.0])
async def test_request_that_runs_too_long_is_answered_504(
    queue_timeout: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-7] Its stack is logged, its neighbours are served, its late answer goes nowhere."""
    scene = Scene()
    settings = {"threads": 2, "request_timeout": 0.1, "queue_timeout": queue_timeout}
    async with serving(scene, **settings) as server, client_of(server) as neighbour:
        assert (await neighbour.request(get("/before"))).body == b"/before"
        async with client_of(server) as client:
            await client.write(get("/hold"))
            assert (await client.read_response()).status == 504
            assert await client.read_until_eof() == b""
        assert (await neighbour.request(get("/during"))).body == b"/during"
        await until(lambda: busy(server) == 1)  # the neighbour's thread has come back
        scene.release.set()
        await until(lambda: busy(server) == 0)
        for _ in range(5):
            assert (await neighbour.request(get("/after"))).body == b"/after"
            await assert_serves(server)
    assert "request overdue method=GET target=/hold" in caplog.text
    assert "self.release.wait(PATIENCE)" in caplog.text
    assert caplog.text.count("request overdue") == 1


async def test_stream_that_runs_too_long_is_cut() -> None:
    """[WSGI-7] A head is on its way, so no 504 can follow it; the thread is freed."""
    scene = Scene()
    settings: dict[str, Any] = {"threads": 2, "request_timeout": 0.2}
    async with serving(scene, **settings) as server, client_of(server, 4096) as client:
        await client.write(get("/stream"))
        assert (await client.read_head()).status == 200
        assert await asyncio.to_thread(scene.has_closed.wait, PATIENCE)
        with suppress(OSError):
            assert not (await client.read_until_eof()).endswith(b"0\r\n\r\n")
        await until(lambda: busy(server) == 0)


async def test_overdue_threads_that_come_back_count_no_more() -> None:
    """[WSGI-7] One after another is late, on two threads; there is always room, so none stops."""
    scene = Scene()
    async with serving(scene, threads=2, request_timeout=0.05) as server:
        for _ in range(4):
            scene.release.clear()
            async with client_of(server) as client:
                assert (await client.request(get("/hold"))).status == 504
            scene.release.set()
            await until(lambda: busy(server) == 0)
        await assert_serves(server)
        assert server.phase.value == "serving"


async def test_server_without_a_thread_in_time_stops(caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-7] All threads are overdue: it cannot serve, so it ends, and not cleanly."""
    scene = Scene()
    config = Config(
        app=scene,
        interface="wsgi",
        port=0,
        threads=2,
        request_timeout=0.1,
        graceful_timeout=0.5,
    )
    server = Server(config)
    await server.start()
    try:
        async with client_of(server) as one, client_of(server) as two:
            for client in (one, two):
                await client.write(get("/hold"))
            for client in (one, two):
                assert (await client.read_response()).status == 504
        async with asyncio.timeout(PATIENCE):
            report = await server.serve()
    finally:
        scene.release.set()
    assert not report.is_clean
    assert caplog.text.count("all threads are overdue") == 1


# Answers sent from the pool thread


async def test_answers_to_requests_in_advance_keep_their_order() -> None:
    """A thread sends only while the transport holds nothing back."""
    paths = [f"/{number}" for number in range(300)]
    async with serving(Scene(), threads=4) as server, client_of(server) as client:
        await client.write(b"".join(get(path) for path in paths))
        for path in paths:
            assert (await client.read_response()).body == path.encode()


async def test_thread_does_not_overtake_what_the_transport_holds() -> None:
    """The first of two answers waits in part for its client; then the kernel has room again."""
    scene = Scene()
    async with serving(scene) as server:
        limit_send_buffer(server)
        async with client_of(server, 4096) as probe:
            await probe.write(get("/sized?1000000"))
            await until(lambda: bool(unsent(server)) and unsent(server)[0] > 0)
            taken = 1_000_000 - unsent(server)[0]
        await until(lambda: not unsent(server))
        async with client_of(server, 4096) as client:
            size = taken + 30_000
            await client.write(get(f"/sized?{size}") + get("/hold"))
            await scene.until_held()
            assert 0 < unsent(server)[0] < 65536, "the first answer has to be in between"
            # The loop stands still from here: only the thread could send.
            early = bytearray()
            with suppress(BlockingIOError):
                while True:
                    early += client.socket.recv(65536)
            scene.release.set()
            while busy(server):
                scene.has_closed.wait(0.001)
            with suppress(BlockingIOError):
                early += client.socket.recv(65536)
            assert b"/hold" not in early
            client._unread += early
            assert (await client.read_response()).body == b"y" * size
            assert (await client.read_response()).body == b"/hold"


async def test_large_answers_in_advance_keep_their_order() -> None:
    sizes = [3_000_000, 1, 500_000, 0, 65_537, 12]
    async with serving(Scene(), threads=4) as server, client_of(server, 4096) as client:
        await client.write(b"".join(get(f"/sized?{size}") for size in sizes))
        for size in sizes:
            assert len((await client.read_response()).body) == size


async def test_every_client_gets_its_own_answer_while_others_reset() -> None:
    """Descriptors are closed and their numbers given away at any moment: no answer goes astray."""
    chance = random.Random(7)  # noqa: S311 - an order, no secret
    scene = Scene()
    ends_at = asyncio.get_running_loop().time() + 1.5

    async def steady(name: int) -> int:
        count = 0
        while asyncio.get_running_loop().time() < ends_at:
            async with client_of(server) as client:
                for number in range(chance.randrange(1, 6)):
                    path = f"/{name}/{number}/{count}"
                    assert (await client.request(get(path))).body == path.encode()
                    count += 1
        return count

    async def rude(name: int) -> None:
        while asyncio.get_running_loop().time() < ends_at:
            client = await RawClient.dial(server.urls[0], patience=PATIENCE)
            try:
                path = chance.choice([f"/rude/{name}", "/sized?200000", "/stream"])
                await client.write(get(path) * chance.randrange(1, 3))
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                if chance.random() < 0.3:
                    with suppress(OSError, ConnectionEnded):
                        await client.read_head()
            finally:
                client.reset()

    async with serving(scene, threads=6, max_in_flight=None) as server:
        async with asyncio.TaskGroup() as group:
            steadies = [group.create_task(steady(name)) for name in range(4)]
            for name in range(4):
                group.create_task(rude(name))
        assert min(task.result() for task in steadies) > 0
        await until(lambda: server.statistics().gate.open == 0)
        await until(lambda: busy(server) == 0)
        statistics = server.statistics().gate
        assert (statistics.in_flight, statistics.parked, statistics.idle) == (0, 0, 0)

"""[GATE-1] to [GATE-8] with real sockets: what a process takes, what it leaves to the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.clients import RawClient
from support.commands import running_command
from support.serving import Receive, Scope, Send, StartResponse, clients_of, serving
from support.waiting import until

if TYPE_CHECKING:
    from asgibridge import Server

APPS: Final = Path(__file__).parent.parent / "apps"
GET: Final = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
CLOSING_GET: Final = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
# Seconds after which a connection has had its share: as in the promise [GATE-6].
SHARE: Final = 1.0


class Turnstile:
    """An ASGI application whose requests wait until the test lets one go.

    Attributes:
        ports: of the listeners by which the requests came, in the order in which they began.
    """

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._tickets = asyncio.Semaphore(0)

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self._tickets.release()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.ports.append(scope["server"][1])
        await self._tickets.acquire()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"through"})


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


class Threads:
    """A WSGI application whose threads wait until the test lets them go."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.gone = threading.Event()

    def __call__(self, _environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        self.started.release()
        self.gone.wait(10.0)
        start_response("200 OK", [])
        return [b"through"]


def accepted_sockets(server: Server) -> int:
    """Count the sockets of this process that belong to the server's end of a connection."""
    ports = {int(url.rpartition(":")[2]) for url in server.urls}
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            sock = socket.socket(fileno=int(path.name))  # somebody else's: only looked at
        except OSError:
            continue
        try:
            sock.getpeername()
            count += sock.getsockname()[1] in ports
        except (OSError, IndexError):
            continue
        finally:
            sock.detach()
    return count


# --- worker_connections


@pytest.mark.parametrize("bind", [("127.0.0.1:0",), ("127.0.0.1:0", "127.0.0.1:0")])
async def test_twice_the_limit_of_clients_opens_exactly_the_limit(bind: tuple[str, ...]) -> None:
    """[GATE-1], [GATE-3]: the rest waits in the kernel's queue; one goes, exactly one comes."""
    app = Turnstile()
    limit = 4
    async with serving(app, bind=bind, worker_connections=limit) as server:
        urls = server.urls * (2 * limit // len(bind))
        async with clients_of(urls) as clients:
            for client in clients:
                await client.write(CLOSING_GET)
            await until(lambda: server.statistics().is_paused and len(app.ports) == limit)
            for gone in range(limit + 1):
                await until(lambda: len(app.ports) == limit + gone)  # noqa: B023 - awaited here
                # A busy kernel may be late to queue those whom it has told already.
                await until(lambda: server.statistics().queue_length == limit - gone)  # noqa: B023
                assert server.statistics().gate.open == limit
                assert accepted_sockets(server) == limit
                if gone < limit:
                    app.let_go()
            app.let_go(limit)
            for client in clients:
                assert (await client.read_response()).status == 200
            assert len(app.ports) == 2 * limit
            assert server.statistics().gate.peak_open == limit
            await until(lambda: server.statistics().gate.open == 0)
            assert accepted_sockets(server) == 0


async def test_listeners_take_turns_when_room_comes_one_by_one() -> None:
    """[GATE-4]: a crowd at one door does not keep those at the other waiting."""
    app = Turnstile()
    bind = ("127.0.0.1:0", "127.0.0.1:0")
    async with serving(app, bind=bind, worker_connections=1) as server:
        crowded, quiet = server.urls
        async with clients_of([crowded] * 7 + [quiet] * 3) as clients:
            for client in clients:
                await client.write(CLOSING_GET)
            for number in range(1, 8):
                await until(lambda: len(app.ports) == number)  # noqa: B023 - awaited here
                app.let_go()
            app.let_go(3)
            for client in clients:
                assert (await client.read_response()).status == 200
            by_quiet = [port == int(quiet.rpartition(":")[2]) for port in app.ports]
            assert by_quiet[1:7].count(True) == 3


async def test_clients_that_vanish_from_the_queue_cost_nothing() -> None:
    """[GATE-1]: their sockets are taken, seen dead and closed, and the next one is served."""
    app = Turnstile()
    async with serving(app, worker_connections=1) as server:
        url = server.urls[0]
        async with clients_of([url] * 5) as (first, *vanishing, last):
            await first.write(CLOSING_GET)
            await until(lambda: app.ports)
            for client in vanishing:
                client.reset()
            await last.write(CLOSING_GET)
            app.let_go(2)
            assert (await first.read_response()).status == 200
            assert (await last.read_response()).status == 200
            await until(lambda: server.statistics().gate.open == 0)
            assert server.statistics().gate.peak_open == 1
            assert accepted_sockets(server) == 0


# --- max_in_flight


async def test_silent_connection_stops_counting_after_the_parking_delay() -> None:
    """[GATE-2]: a client that says nothing keeps nobody out for long."""
    async with serving(hello, max_in_flight=1, parking_delay=0.05) as server:
        url = server.urls[0]
        async with clients_of([url, url]) as (_silent, talking):
            assert (await talking.request(GET)).body == b"hello"
            counts = server.statistics().gate
            assert (counts.open, counts.in_flight, counts.parked) == (2, 0, 2)


async def test_slow_head_stops_counting_and_counts_again_when_complete() -> None:
    """[GATE-2]: the request counts from its last byte on."""
    app = Turnstile()
    async with (
        serving(app, max_in_flight=1, parking_delay=0.02) as server,
        clients_of(server.urls) as (slow,),
    ):
        await slow.write(GET[:10])
        await until(lambda: server.statistics().gate.parked == 1)
        assert server.statistics().gate.idle == 0
        await slow.write(GET[10:])
        await until(lambda: server.statistics().gate.in_flight == 1)
        app.let_go()
        assert (await slow.read_response()).status == 200


async def test_slow_upload_in_advance_of_its_turn_stops_counting() -> None:
    """[GATE-2]: an upload that began while another answer was due holds no place either."""
    app = Threads()
    start = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart"
    async with (
        serving(app, interface="wsgi", threads=1) as server,
        clients_of(server.urls) as (client,),
    ):
        await client.write(GET + start)
        await asyncio.to_thread(app.started.acquire)
        app.gone.set()
        assert (await client.read_response()).status == 200
        await until(lambda: server.statistics().gate.in_flight == 0)
        await client.write(b" done")
        assert (await client.read_response()).status == 200


async def test_busy_threads_leave_further_clients_to_the_kernel() -> None:
    """[GATE-2], [GATE-3]: by default as many WSGI requests as threads; no 503 for the others."""
    app = Threads()
    async with (
        serving(app, interface="wsgi", threads=2) as server,
        clients_of(server.urls * 2) as served,
        contextlib.AsyncExitStack() as stack,
    ):
        for client in served:
            await client.write(GET)
        for _ in range(2):
            assert await asyncio.to_thread(app.started.acquire, timeout=5)
        # Only now: those who are silent, be it for a moment, would be parked for them.
        clients = served + await stack.enter_async_context(clients_of(server.urls * 4))
        for client in clients[2:]:
            await client.write(GET)
        await until(lambda: server.statistics().is_paused)
        await until(lambda: server.statistics().queue_length == 4)
        statistics = server.statistics()
        assert (statistics.gate.open, statistics.gate.in_flight) == (2, 2)
        assert not app.started.acquire(blocking=False)
        app.gone.set()
        assert [(await client.read_response()).status for client in clients] == [200] * 6
        assert server.statistics().paused_seconds["max_in_flight"] > 0


async def test_readers_of_large_answers_keep_nobody_out() -> None:
    """[GATE-2]: once the application has done its part, a slow reader holds no place."""
    large = b"x" * 4_000_000

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [large if environ["PATH_INFO"] == "/large" else b"small"]

    async with serving(app, interface="wsgi", threads=1) as server:
        url = server.urls[0]
        async with (
            RawClient.connect(url, receive_buffer=4096) as slow,
            RawClient.connect(url, receive_buffer=4096) as closing,
            RawClient.connect(url) as other,
        ):
            await slow.write(GET.replace(b"/", b"/large", 1))
            await closing.write(CLOSING_GET.replace(b"/", b"/large", 1))
            assert (await other.request(GET)).body == b"small"
            await until(lambda: server.statistics().gate.in_flight == 0)
            assert server.statistics().gate.idle == 1
            assert (await slow.read_response()).body == large
            assert (await closing.read_response()).body == large
            assert (await slow.request(GET)).body == b"small"
            await until(lambda: server.statistics().gate.idle == 2)


# --- eviction


async def test_longest_idle_connection_makes_room_for_those_who_wait() -> None:
    """[GATE-5]: in the order of idleness, and only as many as are needed."""
    async with serving(hello, worker_connections=3) as server:
        url = server.urls[0]
        async with clients_of([url] * 3) as (first, second, third):
            for client in (second, first, third, second):
                assert (await client.request(GET)).status == 200
            async with clients_of([url, url]) as newcomers:
                for client in newcomers:
                    assert (await client.request(GET)).body == b"hello"
                assert await first.read_until_eof() == b""
                assert await third.read_until_eof() == b""
                assert (await second.request(GET)).body == b"hello"
            assert server.statistics().gate.peak_open == 3


async def test_full_gate_hears_of_the_next_client_after_those_before_have_gone() -> None:
    """[GATE-5]: clients that give up waiting do not make it deaf for the next."""
    app = Turnstile()
    async with serving(app, worker_connections=1) as server:
        url = server.urls[0]
        async with clients_of([url, url]) as (busy, impatient):
            await busy.write(GET)
            await until(lambda: server.statistics().is_paused)
            impatient.reset()
            app.let_go()
            assert (await busy.read_response()).status == 200
            await until(lambda: server.statistics().gate.in_flight == 0)
            async with RawClient.connect(url) as patient:
                app.let_go()
                assert (await patient.request(GET)).body == b"through"


# --- a share for everybody


async def pipelined_pair(app: Turnstile, server: Server, client: RawClient) -> list[str | None]:
    """Have two requests answered, the second begun as the first ends; return their Connection."""
    before = len(app.ports)
    await client.write(GET + GET)
    await until(lambda: len(app.ports) == before + 1)
    app.let_go()
    first = await client.read_response()
    await until(lambda: len(app.ports) == before + 2)
    app.let_go()
    second = await client.read_response()
    assert server.statistics().gate.peak_open <= 2
    return [first.header("connection"), second.header("connection")]


async def grown_old() -> None:
    """Wait until what was opened before is older than a connection's share."""
    now = asyncio.get_running_loop().time
    begun = now()
    await until(lambda: now() > begun + SHARE + 0.02)


async def test_connection_that_has_had_its_share_gives_way_to_those_who_wait() -> None:
    """[GATE-6]: kept-alive traffic spreads, and nobody waits for ever."""
    app = Turnstile()
    async with serving(app, max_in_flight=1) as server:
        url = server.urls[0]
        async with clients_of([url]) as (old,):
            app.let_go()
            assert (await old.request(GET)).status == 200
            await grown_old()
            await old.write(GET + GET)
            await until(lambda: len(app.ports) == 2)
            async with RawClient.connect(url) as waiting:
                await waiting.write(GET)
                await until(lambda: server.statistics().is_paused)
                app.let_go(2)
                assert (await old.read_response()).header("connection") is None
                assert (await old.read_response()).header("connection") == "close"
                app.let_go()
                assert (await waiting.read_response()).status == 200


async def test_young_connection_keeps_its_place_while_others_wait() -> None:
    """[GATE-6]: everybody gets a share before giving way."""
    app = Turnstile()
    async with serving(app, max_in_flight=1) as server:
        url = server.urls[0]
        async with clients_of([url]) as (young,):
            await young.write(GET + GET)
            await until(lambda: len(app.ports) == 1)
            async with RawClient.connect(url) as waiting:
                await waiting.write(GET)
                await until(lambda: server.statistics().is_paused)
                app.let_go(2)
                for _ in range(2):
                    assert (await young.read_response()).header("connection") is None
                app.let_go()
                assert (await waiting.read_response()).status == 200


async def test_old_connection_is_kept_as_long_as_nobody_waits() -> None:
    """[GATE-6]: keep-alive is never shortened without need, not even at the limit."""
    app = Turnstile()
    async with serving(app, max_in_flight=1) as server, clients_of(server.urls) as (old,):
        assert await pipelined_pair(app, server, old) == [None, None]
        await grown_old()
        assert await pipelined_pair(app, server, old) == [None, None]


async def test_old_connection_is_kept_when_another_process_took_the_waiting_client() -> None:
    """[GATE-6]: being at the limit is no reason; only somebody who waits is."""
    app = Turnstile()
    async with serving(app, max_in_flight=1) as server:
        url = server.urls[0]
        async with clients_of([url]) as (old,):
            app.let_go()
            assert (await old.request(GET)).status == 200
            await grown_old()
            await old.write(GET + GET)
            await until(lambda: len(app.ports) == 2)
            async with clients_of([url]):
                await until(lambda: server.statistics().is_paused)
                taken, _ = server._listeners[0].socket.accept()
                with taken:
                    app.let_go(2)
                    for _ in range(2):
                        assert (await old.read_response()).header("connection") is None


# --- out of descriptors


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_shortage_of_descriptors_passes(loop: str) -> None:
    """[GATE-7]: said once when it begins and once when it ends; the process serves on."""
    options = ("--app-dir", str(APPS), "--loop", loop, "--worker-connections", "20")
    with running_command("hungry_asgi:app", "--lifespan", "off", *options) as command:

        async def drive() -> None:
            async with RawClient.connect(command.url, patience=10) as hog:
                await hog.write(GET.replace(b"/", b"/hog", 1))
                await hog.read_head()
                assert await hog.read_exactly(len(b"7\r\nholding\r\n")) == b"7\r\nholding\r\n"
                async with RawClient.connect(command.url, patience=10) as waiting:
                    assert (await waiting.request(GET)).body == b"served"
                assert b"released" in await hog.read_exactly(len(b"8\r\nreleased\r\n"))

        asyncio.run(drive())
        command.wait_for_log("accepting again")
        command.signal(signal.SIGTERM)
        assert command.wait(10) == 0
        log = "\n".join(command.log_lines)
    assert log.count("cannot accept: Too many open files") == 1
    assert log.count("accepting again") == 1


async def test_silent_clients_hardly_delay_those_with_requests() -> None:
    """While others wait, a connection that sends nothing is parked long before its delay [GATE-5].

    With a parking delay of ten seconds, forty of them would be four hundred seconds.
    """
    settings = {"max_in_flight": 1, "parking_delay": 10.0, "graceful_timeout": 1.0}
    async with serving(hello, **settings) as server, contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            await stack.enter_async_context(RawClient.connect(server.urls[0]))
        client = await stack.enter_async_context(RawClient.connect(server.urls[0]))
        await client.write(GET)

        assert (await client.read_response()).status == 200

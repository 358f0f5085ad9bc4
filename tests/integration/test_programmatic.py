"""The server inside somebody else's program: started, stopped and failed without a trace.

Point 11 of the foundation: no signal handlers, no exit, nothing left open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from apps import asgi_cases
from support.clients import RawClient

import asgibridge
from asgibridge import Config, Server
from asgibridge.errors import BindError, IllegalMove, LifespanFailed, SettingsError, StartError
from asgibridge.process.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATIENCE = 10.0


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    del environ
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


async def fetch(url: str, path: str = "/") -> httpx.Response:
    if url.startswith("unix:"):
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("unix:"))
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.get(f"http://site{path}")
    async with httpx.AsyncClient() as client:
        return await client.get(url + path)


async def test_the_context_starts_and_stops() -> None:
    config = Config(app=hello, port=0)
    async with Server(config) as server:
        assert server.statistics().phase is Phase.SERVING
        assert (await fetch(server.urls[0])).text == "hello"
        assert server.report is None
    assert server.statistics().phase is Phase.STOPPED
    assert server.report is not None
    assert (server.report.requests, server.report.cut, server.report.is_clean) == (1, 0, True)
    with pytest.raises(httpx.ConnectError):
        await fetch(server.urls[0])


async def test_serve_runs_until_stop_and_reports() -> None:
    server = Server(Config(app=hello, port=0))
    serving = asyncio.create_task(server.serve())
    await until_serving(server)
    assert (await fetch(server.urls[0])).text == "hello"
    server.stop()
    report = await asyncio.wait_for(serving, PATIENCE)
    assert report is server.report
    assert report.is_clean


async def test_a_cancelled_serve_stops_gracefully_first() -> None:
    app = asgi_cases.WithLifespan()
    server = Server(Config(app=app, port=0))
    serving = asyncio.create_task(server.serve())
    await until_serving(server)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, PATIENCE)
    assert app.events == ["startup", "shutdown"]
    assert server.phase is Phase.STOPPED


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    entered = asyncio.Event()
    cancelled = asyncio.Event()

    async def app(_scope: object, receive: Callable[[], Any], _send: object) -> None:
        await receive()
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server = Server(Config(app=app, port=0))
    serving = asyncio.create_task(server.serve())
    await asyncio.wait_for(entered.wait(), PATIENCE)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await asyncio.wait_for(cancelled.wait(), PATIENCE)
    assert (server.phase, server.urls) == (Phase.STOPPED, [])


async def test_stop_may_be_called_again_and_after_the_end() -> None:
    async with Server(Config(app=hello, port=0)) as server:
        server.stop()
        server.stop()
        await asyncio.wait_for(server.wait_stopped(), PATIENCE)
        server.stop()
    assert server.report is not None


async def test_a_second_stop_brings_the_end_forward_and_a_third_cannot_put_it_off() -> None:
    """[STOP-2]."""
    app = asgi_cases.Witness()
    async with Server(Config(app=app, port=0, lifespan="off")) as server:
        client = await RawClient.dial(server.urls[0])
        await client.write(b"GET /ignores HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(app.called.wait(), PATIENCE)
        server.stop(grace=600)
        server.stop(grace=0.2)
        server.stop(grace=600)
        await asyncio.wait_for(server.wait_stopped(), PATIENCE)
        client.close()
    assert server.report is not None
    assert (server.report.cut, server.report.is_clean) == (1, False)


async def test_stop_before_the_start_is_an_error() -> None:
    with pytest.raises(StartError, match="before it has started"):
        Server(Config(app=hello)).stop()


async def test_a_server_runs_once() -> None:
    async with Server(Config(app=hello, port=0)) as server:
        pass
    with pytest.raises(IllegalMove, match=r"Phase\.STOPPED"):
        await server.start()


async def test_a_port_in_use_leaves_nothing_open() -> None:
    """Neither the listeners before it nor the application's lifespan."""
    app = asgi_cases.WithLifespan()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = ("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}")
        server = Server(Config(app=app, bind=bind))
        before = open_descriptors()
        with pytest.raises(BindError, match="in use"):
            await server.start()
        assert open_descriptors() == before
    assert app.events == ["startup", "shutdown"]
    assert (server.phase, server.urls) == (Phase.STOPPED, [])


async def test_a_failed_lifespan_leaves_nothing_open() -> None:
    app = asgi_cases.WithLifespan(startup="failed")
    before = open_descriptors()
    with pytest.raises(LifespanFailed, match="no such boiler"):
        async with Server(Config(app=app, port=0)):
            pass  # never entered
    assert open_descriptors() == before


async def test_an_access_format_that_is_wrong_leaves_nothing_open() -> None:
    """It is found out when the listeners are open already."""
    before = open_descriptors()
    with pytest.raises(SettingsError, match="nonsense"):
        await Server(
            Config(app=hello, port=0, access_log=True, access_log_format="%(nonsense)s")
        ).start()
    assert open_descriptors() == before


async def test_two_servers_share_a_loop() -> None:
    async with Server(Config(app=hello, port=0)) as one:
        async with Server(Config(app=asgi_cases.hello, port=0)) as other:
            assert one.urls != other.urls
            for server in (one, other):
                assert (await fetch(server.urls[0])).text == "hello"
        assert (await fetch(one.urls[0])).text == "hello"


async def test_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "site.sock"
    async with Server(Config(app=hello, uds=str(path), uds_mode=0o600)) as server:
        assert server.urls == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await fetch(server.urls[0])).text == "hello"
    assert not path.exists()


async def test_the_mode_in_an_address_is_stronger_than_the_general_one(tmp_path: Path) -> None:
    one, other = tmp_path / "a.sock", tmp_path / "b.sock"
    config = Config(app=hello, bind=(f"unix:{one}?mode=640", f"unix:{other}"), uds_mode=0o600)
    async with Server(config):
        assert [stat.S_IMODE(path.stat().st_mode) for path in (one, other)] == [0o640, 0o600]


async def test_an_inherited_descriptor_serves_and_goes_on_to_queue() -> None:
    """[STOP-3] Its queue is not ours: those who come after the stop are for the next server."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as theirs, ExitStack() as stack:
        url = f"http://127.0.0.1:{theirs.getsockname()[1]}"
        for _ in range(2):  # one server after the other
            async with Server(Config(app=hello, fd=os.dup(theirs.fileno()))) as server:
                assert server.urls == [url]
                assert (await fetch(url)).text == "hello"
        waiting = [await RawClient.dial(url, patience=PATIENCE) for _ in range(5)]
        for client in waiting:
            stack.callback(client.close)
            await client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with Server(Config(app=hello, fd=os.dup(theirs.fileno()))):
            for client in waiting:
                assert (await client.read_response()).body == b"hello"


async def test_no_signal_handler_is_touched() -> None:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]
    before = [signal.getsignal(number) for number in numbers]
    async with Server(Config(app=hello, port=0)):
        assert [signal.getsignal(number) for number in numbers] == before
    assert [signal.getsignal(number) for number in numbers] == before


async def test_no_log_is_configured() -> None:
    logger = logging.getLogger("asgibridge")
    before = (list(logger.handlers), logger.level, logger.propagate)
    async with Server(Config(app=hello, port=0, log_level="debug")):
        pass
    assert (list(logger.handlers), logger.level, logger.propagate) == before


async def test_statistics_tell_what_is_and_was() -> None:
    server = Server(Config(app=hello, port=0, threads=3))
    with pytest.raises(StartError, match="no statistics before"):
        server.statistics()
    async with server, RawClient.connect(server.urls[0]) as client:
        await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        now = server.statistics()
        # The thread has sent its answer by itself; the loop counts it a moment later.
        assert (now.phase, now.refused, now.cut) == (Phase.SERVING, 0, 0)
        assert (now.gate.open, now.gate.peak_open, now.gate.max_in_flight) == (1, 1, 3)
        assert now.pool is not None
        assert now.pool.threads == 3
        assert now.is_paused is False
    after = server.statistics()
    assert (after.phase, after.requests, after.gate.open) == (Phase.STOPPED, 1, 0)


async def test_the_deadline_reports_and_leaves_the_program_alone() -> None:
    """[STOP-1] Embedded, the server never ends the process, not even for a stuck thread."""
    entered, release = threading.Event(), threading.Event()

    def stuck(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        release.wait(PATIENCE)
        return hello(environ, start_response)

    try:
        async with Server(Config(app=stuck, port=0, graceful_timeout=0.3)) as server:
            client = await RawClient.dial(server.urls[0])
            await client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.to_thread(entered.wait, PATIENCE)
        assert server.report is not None
        assert (server.report.cut, server.report.is_clean) == (1, False)
        assert server.report.seconds < PATIENCE
        client.close()
    finally:
        release.set()


async def test_threads_of_a_stopped_server_end() -> None:
    async with Server(Config(app=hello, port=0, threads=5)) as server:
        await fetch(server.urls[0])
        mine = [each for each in threading.enumerate() if each.name.startswith("asgibridge-")]
        assert len(mine) >= 5
    for thread in mine:
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


# --- asgibridge.run


RUN = """
import os, signal, sys, threading, asgibridge

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("http only")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ.get("NAME", "nobody").encode()})

code = asgibridge.run(app, port=0, **eval(sys.argv[1]))
handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGQUIT)]
print("returned", code, handlers == [signal.SIG_DFL] * 2, flush=True)
threading.Event().wait(0.4)  # longer than graceful_timeout
print("still here")
"""


def test_run_serves_a_callable_and_returns_the_process_to_its_caller(tmp_path: Path) -> None:
    """The environment file is read before the application answers."""
    (tmp_path / ".env").write_text("NAME=somebody\n")
    settings = f"dict(graceful_timeout=0.2, env_file={str(tmp_path / '.env')!r})"
    with subprocess.Popen(
        [sys.executable, "-c", RUN, settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            line = next(each for each in process.stderr if "listening on" in each)
            assert httpx.get(line.split()[-1]).text == "somebody"
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert output == "returned 0 True\nstill here\n"
    assert process.returncode == 0


def test_run_raises_what_the_command_would_print() -> None:
    with pytest.raises(SettingsError, match="port"):
        asgibridge.run(hello, port=70000)


def test_run_needs_the_main_thread() -> None:
    raised: list[BaseException] = []

    def target() -> None:
        try:
            asgibridge.run(hello, port=0)
        except StartError as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(PATIENCE)
    assert "main thread" in str(raised[0])


async def until_serving(server: Server) -> None:
    """Turn the loop until *server* listens; bounded."""
    async with asyncio.timeout(PATIENCE):
        while server.phase is not Phase.SERVING:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)


def open_descriptors() -> set[tuple[str, str]]:
    """List the sockets that are open, by number and what is behind it."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add((link.name, target))
    return found

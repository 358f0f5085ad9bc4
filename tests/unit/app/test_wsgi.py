"""One WSGI call against a fake exchange; the bridge over sockets is in integration/test_wsgi_*."""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.environ import EnvironBuilder
from asgibridge.app.threads import ThreadPool
from asgibridge.app.wsgi import WsgiCall, WsgiHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Start = Any
TEXT = [("Content-Type", "text/plain")]


def handler_of(app: object, deferred: list[Callable[[], None]] | None = None) -> WsgiHandler:
    environs = EnvironBuilder(root_path="", multithread=False, multiprocess=False)
    waiting: list[Callable[[], None]] = deferred if deferred is not None else []
    return WsgiHandler(app, ThreadPool[WsgiCall](1), environs, waiting.append)


def answer(app: object, exchange: FakeExchange | None = None) -> FakeExchange:
    """Run *app* in this thread and return the exchange that it answered."""
    exchange = exchange or FakeExchange()
    WsgiCall(handler_of(app), exchange).run()
    return exchange


def test_requests_of_one_turn_go_to_the_pool_together() -> None:
    deferred: list[Callable[[], None]] = []
    handler = handler_of(None, deferred)
    pool = handler._pool
    for _ in range(3):
        handler.begin(FakeExchange())
    assert len(deferred) == 1
    while deferred:
        assert pool.statistics().queued == 0
        deferred.pop()()  # it may look again whether more has come
    assert pool.statistics().queued == 3
    handler.begin(FakeExchange())
    assert len(deferred) == 1


def test_request_goes_to_a_busy_pool_at_once() -> None:
    deferred: list[Callable[[], None]] = []
    environs = EnvironBuilder(root_path="", multithread=True, multiprocess=False)
    pool = ThreadPool[WsgiCall](3)  # not started: none of the three sleeps
    handler = WsgiHandler(None, pool, environs, deferred.append)
    handler.begin(FakeExchange())

    assert deferred == []
    assert pool.statistics().queued == 1


def test_call_of_a_client_that_left_is_not_run() -> None:
    """[WSGI-6] Its body is thrown away."""
    exchange = FakeExchange("POST", body=b"hello")
    exchange.leave()
    answer(lambda _environ, _start: pytest.fail("it was run"), exchange)
    assert exchange.taken.closed
    assert exchange.sent == b""


def test_times_are_noted_only_if_they_are_kept() -> None:
    def app(_environ: object, start: Start) -> list[bytes]:
        start("204 No Content", [])
        return []

    exchange, watched = FakeExchange(), FakeExchange()
    answer(app, exchange)
    handler = handler_of(app)
    handler.keeps_times = True
    WsgiCall(handler, watched).run()
    assert (len(exchange.started_by), len(watched.started_by)) == (0, 1)


@pytest.mark.parametrize(
    "status",
    ["200", "200OK", "20 OK", "1000 OK", "abc OK", "100 Continue", "200 O\r\nK", b"200 OK", None],
)
def test_ill_formed_status_is_a_failure(status: object, caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-5] `200` alone has no reason phrase, but HTTP lets that be empty."""

    def app(_environ: object, start: Start) -> list[bytes]:
        start(status, [])
        return [b"hello"]

    exchange = answer(app)
    if status == "200":
        assert exchange.sent.startswith(b"HTTP/1.1 200 \r\n")
    else:
        assert exchange.failed == 500
        assert "status" in caplog.text or "reason phrase" in caplog.text


def test_head_is_kept_until_the_first_piece_that_is_not_empty() -> None:
    """[WSGI-1]."""
    exchange = FakeExchange()
    seen = []

    def app(_environ: object, start: Start) -> Iterator[bytes]:
        start("200 OK", TEXT)
        for piece in (b"", b"one", b"two"):
            yield piece
            seen.append(exchange.sent.count(b"HTTP/1.1 200 OK"))

    answer(app, exchange)
    assert seen == [0, 1, 1]
    assert exchange.sent.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_write_sends_at_once_and_the_iterable_follows() -> None:
    """[WSGI-1]."""
    exchange = FakeExchange()

    def app(_environ: object, start: Start) -> list[bytes]:
        write = start("200 OK", TEXT)
        write(b"")
        assert exchange.sent == b""
        write(b"one")
        assert exchange.sent.endswith(b"3\r\none\r\n")
        return [b"two"]

    answer(app, exchange)
    assert exchange.sent.endswith(b"3\r\ntwo\r\n0\r\n\r\n")


def test_exc_info_after_the_head_is_raised_as_it_was() -> None:
    """[WSGI-1]."""
    caught: list[BaseException] = []

    def app(_environ: object, start: Start) -> Iterator[bytes]:
        start("200 OK", TEXT)
        yield b"one"
        try:
            1 / 0  # noqa: B018 - for its exception
        except ZeroDivisionError:
            try:
                start("500 Oh", TEXT, sys.exc_info())
            except ZeroDivisionError as error:
                caught.append(error)
                raise

    exchange = answer(app)
    assert len(caught) == 1
    assert (exchange.failed, b"500" in exchange.sent) == (500, False)


@pytest.mark.parametrize("fails_in", ["call", "iteration", "close", "nothing"])
def test_body_is_closed_once(fails_in: str, caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-1] Whatever fails; a failure in `close()` itself comes too late for the client."""

    class Body:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            if fails_in == "iteration":
                raise ZeroDivisionError
            return iter([b"hello"])

        def close(self) -> None:
            self.closed += 1
            if fails_in == "close":
                raise ZeroDivisionError

    body = Body()

    def app(_environ: object, start: Start) -> Body:
        if fails_in != "call":
            start("200 OK", TEXT)
        return body

    exchange = answer(app)
    assert body.closed == 1
    assert exchange.failed == (500 if fails_in in {"call", "iteration"} else None)
    assert ("the application failed" in caplog.text) is (fails_in != "nothing")


def test_single_item_needs_no_chunks() -> None:
    """PEP 3333 asks for it where the iterable knows its length."""

    class One:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"hello"])

        def __len__(self) -> int:
            return 1

    def app(_environ: object, start: Start) -> Iterable[bytes]:
        start("200 OK", TEXT)
        return One()

    assert b"Content-Length: 5\r\n" in answer(app).sent


@pytest.mark.parametrize("size", [0, 65536, 65537, 300_000])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_is_sent_whole_from_the_kernel_or_read(size: int, method: str) -> None:
    """[WSGI-3] On both sides of the bound, and none of it in answer to HEAD."""

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the call closes it
        file.write(b"z" * size)
        file.seek(0)
        start("200 OK", TEXT)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped

    exchange = answer(app, FakeExchange(method))
    assert exchange.is_over
    assert exchange.failed is None
    assert exchange.sent.count(b"z") == (size if method == "GET" else 0)


def test_unfinished_line_of_errors_is_logged_with_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """[WSGI-3] Not with the next request that the thread runs."""

    def app(environ: dict[str, Any], start: Start) -> list[bytes]:
        environ["wsgi.errors"].write("no line end")
        start("204 No Content", [])
        return []

    answer(app)
    assert caplog.messages == ["no line end"]

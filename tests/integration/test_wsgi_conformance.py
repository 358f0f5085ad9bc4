"""WSGI as PEP 3333 and `wsgiref.validate` see it, plain and under the validator, on both loops.

What the environ holds is in test_wsgi_environ.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from wsgiref.validate import validator

import httpx
import pytest
from apps import wsgi_cases
from support.clients import RawClient

from asgibridge import Config, Server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

Wrap = Callable[["WSGIApplication"], "WSGIApplication"]

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0
GET: Final = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
HEAD: Final = b"HEAD / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
OLD_GET: Final = b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n"
BODY: Final = b"alpha\nbeta gamma\n\ndelta without an end"
LINES: Final = ["alpha\n", "beta gamma\n", "\n", "delta without an end"]


@pytest.fixture(params=["plain", "validator"])
def wrap(request: pytest.FixtureRequest) -> Wrap:
    """Serve an application as it is, or inside the validator of the standard library."""
    return validator if request.param == "validator" else lambda app: app


@asynccontextmanager
async def raw_client(app: WSGIApplication) -> AsyncIterator[RawClient]:
    """Serve *app* for one client of exact bytes."""
    async with (
        Server(Config(app=app, interface="wsgi", port=0)) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        yield client


@asynccontextmanager
async def http_client(app: WSGIApplication) -> AsyncIterator[httpx.AsyncClient]:
    """Serve *app* for one client as users have it."""
    async with (
        Server(Config(app=app, interface="wsgi", port=0)) as server,
        httpx.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client,
    ):
        yield client


# Responses


@pytest.mark.parametrize("case", wsgi_cases.ANSWERS)
async def test_application_is_answered_and_the_connection_serves_on(case: str, wrap: Wrap) -> None:
    """[WSGI-1]: whatever frames the body, the next request finds a clean connection."""
    app, status, body = wsgi_cases.ANSWERS[case]
    async with raw_client(wrap(app)) as client:
        for _ in range(2):
            response = await client.request(GET)
            assert (response.status, response.body) == (status, body)
            assert response.header("connection") in {None, "keep-alive"}


@pytest.mark.parametrize("case", wsgi_cases.ANSWERS)
async def test_old_client_gets_the_same_without_chunks(case: str, wrap: Wrap) -> None:
    """[WSGI-1]: HTTP/1.0 knows no chunked coding; the end of the connection ends the body."""
    app, status, body = wsgi_cases.ANSWERS[case]
    async with raw_client(wrap(app)) as client:
        response = await client.request(OLD_GET)
        assert (response.status, response.body) == (status, body)
        assert response.header("transfer-encoding") is None
        assert await client.read_until_eof() == b""


@pytest.mark.parametrize("case", wsgi_cases.ANSWERS)
async def test_head_is_answered_without_a_body(case: str, wrap: Wrap) -> None:
    """[WSGI-1]: a body sent after HEAD would be taken for the next answer."""
    app, status, _ = wsgi_cases.ANSWERS[case]
    async with raw_client(wrap(app)) as client:
        for _ in range(2):
            assert (await client.request(HEAD, method="HEAD")).status == status


async def test_declared_length_survives_head(wrap: Wrap) -> None:
    async with raw_client(wrap(wsgi_cases.hello)) as client:
        response = await client.request(HEAD, method="HEAD")
        assert response.header("content-length") == "5"


@pytest.mark.parametrize("app", [wsgi_cases.unsized_list, wsgi_cases.empty_iterable])
async def test_list_body_gets_its_length(app: WSGIApplication) -> None:
    """A list is known whole, so it needs no chunks."""
    async with raw_client(app) as client:
        response = await client.request(GET)
        assert response.header("content-length") == str(len(response.body))


@pytest.mark.parametrize("app", [wsgi_cases.no_content, wsgi_cases.not_modified])
async def test_answer_that_cannot_have_a_body_has_no_framing(
    app: WSGIApplication, wrap: Wrap
) -> None:
    async with raw_client(wrap(app)) as client:
        response = await client.request(GET)
        assert response.header("transfer-encoding") is None
        assert response.header("content-length") is None


@pytest.mark.parametrize("app", [wsgi_cases.replaced_start, wsgi_cases.replaced_after_empty_chunk])
async def test_exc_info_replaces_a_head_that_is_not_sent(app: WSGIApplication, wrap: Wrap) -> None:
    """[WSGI-1]: headers leave with the first non-empty chunk; until then they can change."""
    async with raw_client(wrap(app)) as client:
        response = await client.request(GET)
        assert (response.status, response.reason) == (502, "Bad Gateway")
        assert response.header("x-second") == "yes"
        assert response.header("x-first") is None


@pytest.mark.parametrize("app", [wsgi_cases.replaced_too_late, wsgi_cases.raises_in_body])
async def test_error_after_the_head_cuts_the_connection(
    app: WSGIApplication, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-1] [WSGI-5]: the client can tell, for the last chunk never comes."""
    async with raw_client(wrap(app)) as client:
        await client.write(GET)
        assert (await client.read_head()).status == 200
        body = await client.read_until_eof()
    assert b"first " in body
    assert b"never sent" not in body
    assert not body.endswith(b"0\r\n\r\n")
    assert "BoilerError" in caplog.text


@pytest.mark.parametrize(
    "app",
    [
        wsgi_cases.raises_at_once,
        wsgi_cases.raises_before_body,
        wsgi_cases.started_twice,
        wsgi_cases.never_started,
        wsgi_cases.split_header,
        wsgi_cases.text_body,
    ],
)
async def test_error_before_the_head_is_answered_500(
    app: WSGIApplication, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """[WSGI-5]: the client learns the status alone, the log has the traceback, and it goes on."""
    async with http_client(wrap(app)) as client:
        for _ in range(2):
            response = await client.get("/")
            assert response.status_code == 500
            assert "never sent" not in response.text
            assert "Traceback" not in response.text
    assert "Traceback" in caplog.text


async def test_body_that_is_too_short_cuts_the_connection(wrap: Wrap) -> None:
    """[WSGI-5]: no other answer may stand where the client waits for the rest."""
    async with raw_client(wrap(wsgi_cases.too_little)) as client:
        await client.write(GET + GET)
        assert (await client.read_head()).header("content-length") == "10"
        assert await client.read_until_eof() == b"hello"


@pytest.mark.parametrize("app", [wsgi_cases.too_much, wsgi_cases.too_much_later])
async def test_body_that_is_too_long_cuts_the_connection(app: WSGIApplication, wrap: Wrap) -> None:
    """[WSGI-5]: never a byte more than was promised."""
    async with raw_client(wrap(app)) as client:
        await client.write(GET)
        declared = (await client.read_head()).header("content-length")
        body = await client.read_until_eof()
        assert b"hello and more".startswith(body)
        assert len(body) <= int(declared or 0)


async def test_file_wrapper_sends_no_more_than_is_declared() -> None:
    """[WSGI-3]: from the current position of the file on, as a range response needs it."""
    async with raw_client(wsgi_cases.part_of_a_file) as client:
        for _ in range(2):
            response = await client.request(GET)
            assert (response.status, response.body) == (206, wsgi_cases.FILE_CONTENT[100:1100])


async def test_errors_go_to_the_log(wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-3]: every line that an application writes is one that an operator reads."""
    with caplog.at_level(logging.DEBUG, logger="asgibridge"):
        async with raw_client(wrap(wsgi_cases.complains)) as client:
            assert (await client.request(GET)).body == b"hello"
    assert "pressure is high" in caplog.text
    assert "valve one is open" in caplog.text
    assert "valve two is shut" in caplog.text


# The end of a body, and its thread


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/whole", "/empty", "/raises", "/never-started"])
async def test_close_is_called_once_whatever_happens(path: str, method: str, wrap: Wrap) -> None:
    """[WSGI-1]."""
    app = wsgi_cases.ClosingApplication()
    request = f"{method} {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
    async with Server(Config(app=wrap(app), interface="wsgi", port=0)) as server:
        url = server.urls[0]
        async with RawClient.connect(url, patience=PATIENCE) as client:
            await client.write(request.encode())
            assert (await client.read_until_eof()).startswith(b"HTTP/1.1 ")
        assert await asyncio.to_thread(app.closed.wait, PATIENCE)
        # A connection of its own: one that is cut may look alive to its client for a moment.
        async with RawClient.connect(url, patience=PATIENCE) as client:
            assert (await client.request(GET.replace(b"/", b"/count", 1))).body == b"1"


async def test_close_is_called_once_when_the_client_leaves(wrap: Wrap) -> None:
    """[WSGI-1] [WSGI-4]: an endless body ends with its reader, and its only thread is free."""
    app = wsgi_cases.ClosingApplication()
    async with (
        Server(Config(app=wrap(app), interface="wsgi", port=0, threads=1)) as server,
        httpx.AsyncClient(base_url=server.urls[0], timeout=PATIENCE) as client,
    ):
        async with client.stream("GET", "/endless") as response:
            await anext(response.aiter_bytes())
        assert await asyncio.to_thread(app.closed.wait, PATIENCE)
        assert (await client.get("/count")).text == "1"


@pytest.mark.parametrize("path", ["/whole", "/empty", "/raises"])
async def test_one_thread_calls_iterates_and_closes(path: str, wrap: Wrap) -> None:
    """[WSGI-1]."""
    app = wsgi_cases.ClosingApplication()
    async with http_client(wrap(app)) as client:
        for _ in range(4):
            app.closed.clear()
            try:
                await client.get(path)
            except httpx.RemoteProtocolError:
                assert path == "/raises"
            assert await asyncio.to_thread(app.closed.wait, PATIENCE)
            assert app.iterated_by == {app.called_by[-1]}
            app.iterated_by.clear()
    assert app.closed_by == app.called_by


# The input


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Make httpx send *body* with chunked coding."""
    for start in range(0, len(body), 5):
        yield body[start : start + 5]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    ("how", "pieces"),
    [
        ("all-by-size", ["".join(LINES)]),
        ("all-by-minus-one", ["".join(LINES)]),
        ("pieces", ["alpha\nb", "eta gam", "ma\n\ndel", "ta with", "out an ", "end"]),
        ("readline", LINES),
        ("readlines", LINES),
        ("iteration", LINES),
        ("nothing", []),
        ("mixed", ["alph", "a\n", *LINES[1:], ""]),
    ],
)
async def test_input_is_read_in_every_way(
    how: str, pieces: list[str], framing: str, wrap: Wrap
) -> None:
    """[WSGI-1] [WSGI-3]: it ends where the body ends, whichever way it is read."""
    content = BODY if framing == "length" else in_chunks(BODY)
    async with http_client(wrap(wsgi_cases.reads_input)) as client:
        response = await client.post(f"/?how={how}", content=content)
    assert response.json() == pieces


@pytest.mark.parametrize("how", ["all-by-size", "pieces", "readline", "readlines", "iteration"])
async def test_input_of_a_request_without_body_is_empty(how: str, wrap: Wrap) -> None:
    async with http_client(wrap(wsgi_cases.reads_input)) as client:
        assert "".join((await client.get(f"/?how={how}")).json()) == ""


@pytest.mark.parametrize(
    ("how", "pieces"),
    [("all", ["".join(LINES)]), ("readline-size", ["alp", "ha\n", "bet", "a g"])],
)
async def test_input_is_a_file_in_what_the_validator_does_not_see(
    how: str, pieces: list[str]
) -> None:
    """`read()` it forbids to applications, `readline(size)` PEP 3333 leaves to files."""
    async with http_client(wsgi_cases.reads_input) as client:
        response = await client.post(f"/?how={how}", content=BODY)
    assert response.json()[: len(pieces)] == pieces


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 3 << 20])
async def test_input_larger_than_memory_allows_is_the_same(size: int, wrap: Wrap) -> None:
    """[WSGI-2]: at the bound of memory, one byte above it, and far above (a temporary file)."""
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    async with http_client(wrap(wsgi_cases.echo)) as client:
        response = await client.post("/", content=body)
    assert response.content == body


async def test_body_that_was_not_read_does_not_disturb_the_next_request(wrap: Wrap) -> None:
    async with http_client(wrap(wsgi_cases.hello)) as client:
        for _ in range(3):
            assert (await client.post("/", content=b"x" * 100_000)).text == "hello"


async def test_waiting_client_is_told_to_send_its_body(wrap: Wrap) -> None:
    """[WSGI-2]: the loop reads the body, so 100 comes before any thread is taken."""
    async with raw_client(wrap(wsgi_cases.echo)) as client:
        await client.write(
            b"POST / HTTP/1.1\r\nHost: shop.example\r\n"
            b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await client.read_head()).status == 100
        response = await client.request(b"later")
        assert (response.status, response.body) == (200, b"later")

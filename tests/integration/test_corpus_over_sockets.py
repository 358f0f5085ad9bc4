"""Every case of the corpus over a real socket, served by an ASGI and by a WSGI application.

The parser's own test knows each request to the byte; this one shows that the connection around it
answers in order, refuses with the right status, closes in a way that lets the client read the
refusal, and serves the next client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clients import RawClient, RawResponse
from support.corpus import InvalidCase, PlainRequest, ValidCase, load_invalid, load_valid

from asgibridge import Config, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from asgibridge.interfaces import Application

VALID = [pytest.param(case, id=case.name) for case in load_valid()]
INVALID = [pytest.param(case, id=case.name) for case in load_invalid()]

# Fits into the smallest limits of the corpus.
PING = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"


async def asgi_echo(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer the body that came, but only when all of it did."""
    assert scope["type"] == "http", "no lifespan here"
    body = b""
    is_more = True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"x-method", scope["method"].encode()),
        (b"x-path", scope["raw_path"]),
        (b"x-query", scope["query_string"]),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi_echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the body that came."""
    body = environ["wsgi.input"].read()
    path, _, query = environ["RAW_URI"].partition("?")
    headers = [
        ("Content-Length", str(len(body))),
        ("X-Method", environ["REQUEST_METHOD"]),
        ("X-Path", path),
        ("X-Query", query),
    ]
    start_response("200 OK", headers)
    return [body]


@pytest.fixture(params=[pytest.param(asgi_echo, id="asgi"), pytest.param(wsgi_echo, id="wsgi")])
def app(request: pytest.FixtureRequest) -> Application:
    return request.param


def config_for(app: Application, case: ValidCase | InvalidCase) -> Config:
    # One thread: hundreds of servers are started here, and one client at a time is served.
    limits: dict[str, Any] = dict(case.limits)
    return Config(app=app, port=0, threads=1, **limits)


@pytest.mark.parametrize("case", VALID)
async def test_valid_requests_are_answered_in_order(app: Application, case: ValidCase) -> None:
    async with (
        Server(config_for(app, case)) as server,
        RawClient.connect(server.urls[0]) as client,
    ):
        await client.write(case.data)
        for request in case.requests:
            assert_answers(await client.read_response(method=request.method), request)
        if case.requests[-1].keep_alive:
            assert (await client.request(PING)).header("x-path") == "/ping"
        else:
            assert await client.read_until_eof() == b""


def assert_answers(response: RawResponse, request: PlainRequest) -> None:
    """Fail unless *response* is what an echo says to *request*."""
    assert (response.status, response.header("x-method")) == (200, request.method)
    assert response.body == (b"" if request.method == "HEAD" else request.body)
    assert response.header("transfer-encoding") is None
    if request.target.startswith(b"/"):
        path, _, query = request.target.decode("latin-1").partition("?")
        assert (response.header("x-path"), response.header("x-query")) == (path, query)
    options = [option.lower() for option in response.values("connection")]
    if request.keep_alive:
        assert "close" not in options
        # RFC 9112 9.3: an HTTP/1.0 client goes on only if it is told so.
        assert request.version == "1.1" or "keep-alive" in options
    else:
        assert request.version == "1.0" or "close" in options


@pytest.mark.parametrize("case", INVALID)
async def test_invalid_requests_are_refused_and_the_next_client_is_served(
    app: Application, case: InvalidCase
) -> None:
    async with Server(config_for(app, case)) as server:
        async with RawClient.connect(server.urls[0]) as client:
            await client.write(case.data)
            for _ in range(case.after):
                assert (await client.read_response()).status == 200
            refusal = await client.read_response()
            assert refusal.status == case.status, case.why
            assert refusal.header("connection") == "close"
            assert await client.read_until_eof() == b""
        async with RawClient.connect(server.urls[0]) as next_client:
            assert (await next_client.request(PING)).status == 200

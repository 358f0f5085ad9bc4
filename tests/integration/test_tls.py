"""TLS with real sockets, on both loops: who is let in, what is told, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.clients import ConnectionEnded, RawClient
from support.serving import Receive, Scope, Send, StartResponse, clients_of, serving
from support.tls import TlsClient, issue
from support.waiting import until

from asgibridge.net import link

if TYPE_CHECKING:
    from pathlib import Path

GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
CLOSING_GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
LARGE = b"x" * 8_000_000


class Recorder:
    """Answers small or large, and keeps the scopes."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        await self.go.wait()
        body = LARGE if scope["path"] == "/large" else b"hello" if not size else b"%d" % size
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def test_scope_tells_of_tls() -> None:
    """[ASGI-2]."""
    app = Recorder()
    async with (
        serving(app, **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        assert server.urls[0].startswith("https://127.0.0.1:")
        for _ in range(2):
            assert (await client.request(GET)).body == b"hello"
        assert client.ssl.selected_alpn_protocol() is None
    first, second = (scope["extensions"]["tls"] for scope in app.scopes)
    assert app.scopes[0]["scheme"] == "https"
    assert first == second
    assert first is not second
    assert first["server_cert"].startswith("-----BEGIN CERTIFICATE-----")
    assert (first["tls_version"], first["client_cert_name"]) == (0x0304, None)
    assert first["cipher_suite"] in {0x1301, 0x1302, 0x1303}
    assert first["client_cert_chain"] == []


async def test_http_1_1_is_agreed_upon() -> None:
    context = issue().trust()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        serving(Recorder(), **issue().settings) as server,
        TlsClient.secure(server.urls[0], context) as client,
    ):
        assert client.ssl.selected_alpn_protocol() == "http/1.1"


async def test_client_certificates_are_asked_for_and_told_of() -> None:
    app = Recorder()
    papers = issue()
    settings = papers.settings | {"ssl_ca_certs": papers.authority, "ssl_cert_reqs": "required"}
    async with serving(app, **settings) as server:
        context = papers.trust(shows_client=True)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with TlsClient.secure(server.urls[0], context) as client:
            assert (await client.request(GET)).status == 200
        # Under TLS 1.3 a client takes the handshake for done before the server has judged it.
        with pytest.raises((ssl.SSLError, ConnectionEnded, ConnectionError)):
            async with TlsClient.secure(server.urls[0]) as client:
                await client.request(GET)
        await until(lambda: server.statistics().gate.open == 0)
    (scope,) = app.scopes
    told = scope["extensions"]["tls"]
    assert told["tls_version"] == 0x0303
    assert "CN=Visitor\\, first" in told["client_cert_name"]
    assert told["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")


async def test_wsgi_is_told_of_https_and_sends_files(tmp_path: Path) -> None:
    environs: list[dict[str, Any]] = []
    file = tmp_path / "large"
    file.write_bytes(LARGE)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Any:  # noqa: ANN401
        environs.append(environ)
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](file.open("rb"))
        return [b"hello"]

    async with (
        serving(app, interface="wsgi", threads=1, **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        # The second would be sent by the thread itself, were it not for TLS.
        for _ in range(2):
            assert (await client.request(GET)).body == b"hello"
        assert (await client.request(GET.replace(b"/", b"/file", 1))).body == LARGE
        assert (await client.request(GET)).body == b"hello"
    assert (environs[0]["wsgi.url_scheme"], environs[0]["HTTPS"]) == ("https", "on")


async def test_large_bodies_pass_both_ways() -> None:
    async with (
        serving(Recorder(), **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
        assert (await client.request(head + LARGE)).body == b"%d" % len(LARGE)
        assert (await client.request(GET.replace(b"/", b"/large", 1))).body == LARGE


async def test_large_answer_comes_whole_before_the_goodbye() -> None:
    """However slowly it is read: nothing is cut because the connection is to be closed."""
    async with (
        serving(Recorder(), **issue().settings) as server,
        TlsClient.secure(server.urls[0], receive_buffer=4096) as client,
    ):
        await client.write(CLOSING_GET.replace(b"/", b"/large", 1))
        answer = await client.read_until_eof()
        assert answer.endswith(LARGE)
        assert client.has_goodbye


@pytest.mark.parametrize("below", [False, True], ids=["close_notify", "FIN"])
async def test_client_that_ends_its_half_gets_its_answer(*, below: bool) -> None:
    app = Recorder()
    app.go.clear()
    async with (
        serving(app, **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        await client.write(GET)
        if below:
            client.half_close()
        else:
            await client.say_goodbye()
        await until(lambda: app.scopes)
        app.go.set()
        assert (await client.read_until_eof()).endswith(b"hello")
        assert client.has_goodbye


async def test_refusal_can_be_read_though_more_was_sent() -> None:
    """Lingering, under TLS."""
    async with (
        serving(Recorder(), **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        await client.write(b"BROKEN\r\n\r\n" + b"y" * 100_000)
        assert (await client.read_until_eof()).startswith(b"HTTP/1.1 400 ")
        assert client.has_goodbye
        await client.write_raw(b"more of it")
        client.close()
        await until(lambda: server.statistics().gate.open == 0)


async def test_bytes_of_a_request_may_come_one_by_one() -> None:
    async with (
        serving(Recorder(), **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        client.ssl.write(GET)
        for byte in client._outgoing.read():
            await client.write_raw(bytes([byte]))
        assert (await client.read_response()).body == b"hello"


# --- those who fail


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\x00garbage" * 9, id="garbage"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="half a hello"),
        pytest.param(b"", id="nothing"),
    ],
)
@pytest.mark.parametrize("resets", [False, True], ids=["ends", "resets"])
async def test_failed_handshake_leaves_the_gate_without_a_word(
    said: bytes, caplog: pytest.LogCaptureFixture, *, resets: bool
) -> None:
    app = Recorder()
    async with serving(app, **issue().settings) as server:
        with caplog.at_level(logging.DEBUG, logger="asgibridge"):
            client = await RawClient.dial(server.urls[0])
            await until(lambda: server.statistics().gate.open == 1)
            with contextlib.suppress(OSError):
                await client.write(said)
            if resets:
                client.reset()
            else:
                client.close()
            await until(lambda: server.statistics().gate.open == 0)
        assert app.scopes == []
        assert server.statistics().refused == 0
        loud = [each for each in caplog.records if each.levelno > logging.DEBUG]
        assert loud == []
        assert len([each for each in caplog.records if "handshake" in each.message]) <= 1


async def test_plain_http_is_told_what_this_port_speaks() -> None:
    app = Recorder()
    async with serving(app, **issue().settings) as server, clients_of(server.urls) as (client,):
        answer = await client.request(GET)
        assert (answer.status, answer.body) == (400, b"This port speaks https.\n")
        await until(lambda: server.statistics().gate.open == 0)
    assert app.scopes == []


async def test_old_versions_are_refused() -> None:
    context = issue().trust()
    context.set_ciphers("ALL:@SECLEVEL=0")  # or the client itself would decline
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(Recorder(), **issue().settings) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with TlsClient.secure(server.urls[0], context):
                pass
        await until(lambda: server.statistics().gate.open == 0)


async def test_broken_record_ends_the_connection() -> None:
    async with (
        serving(Recorder(), **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        assert (await client.request(GET)).status == 200
        await client.write_raw(b"\x17\x03\x03\x00\x20" + b"q" * 32)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await client.read_until_eof()
        await until(lambda: server.statistics().gate.open == 0)


async def test_handshake_has_the_header_timeout() -> None:
    async with serving(Recorder(), header_timeout=0.2, **issue().settings) as server:
        async with clients_of(server.urls) as (client,):
            assert await client.read_until_eof() == b""
        await until(lambda: server.statistics().gate.open == 0)


# --- the gate


async def test_twice_the_limit_of_clients_opens_exactly_the_limit_under_tls() -> None:
    """[GATE-1], [GATE-3]: handshakes count as open; each that goes admits one."""
    app = Recorder()
    app.go.clear()
    limit = 4
    async with serving(app, worker_connections=limit, **issue().settings) as server:
        async with contextlib.AsyncExitStack() as stack:
            urls = [server.urls[0].replace("https", "http")] * 2 * limit
            plain = await stack.enter_async_context(clients_of(urls))
            clients = [TlsClient(each, issue().trust()) for each in plain]
            await until(lambda: server.statistics().queue_length == limit)
            assert server.statistics().gate.open == limit
            for client in clients:
                await client.begin_handshake()
            for client in clients[:limit]:
                await client.shake_hands()
                await client.write(CLOSING_GET)
            await until(lambda: len(app.scopes) == limit)
            statistics = server.statistics()
            assert (statistics.gate.open, statistics.queue_length) == (limit, limit)
            app.go.set()
            for client in clients[:limit]:
                assert (await client.read_response()).status == 200
            for client in clients[limit:]:
                await client.shake_hands()
                assert (await client.request(CLOSING_GET)).status == 200
            await until(lambda: server.statistics().gate.open == 0)
        assert server.statistics().gate.peak_open == limit


async def test_handshake_under_way_keeps_nobody_out_of_the_threads() -> None:
    """[GATE-2]: the time of its round trips is the network's."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        del environ
        start_response("200 OK", [])
        return [b"hello"]

    async with serving(app, interface="wsgi", threads=1, **issue().settings) as server:
        plain = await RawClient.dial(server.urls[0])
        slow = TlsClient(plain, issue().trust())
        await slow.begin_handshake()
        async with TlsClient.secure(server.urls[0]) as quick:
            assert (await quick.request(GET)).status == 200
        await slow.shake_hands()
        assert (await slow.request(GET)).status == 200
        slow.close()


async def test_late_handshake_makes_way_for_those_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """[GATE-5]."""
    monkeypatch.setattr(link, "HANDSHAKE_PATIENCE", 0.2)
    async with serving(Recorder(), worker_connections=1, **issue().settings) as server:
        silent = await RawClient.dial(server.urls[0])
        async with TlsClient.secure(server.urls[0]) as client:
            assert (await client.request(GET)).status == 200
        assert await silent.read_until_eof() == b""
        silent.close()


# --- the end


async def test_stop_says_goodbye_to_idle_connections() -> None:
    """[STOP-1]."""
    async with serving(Recorder(), graceful_timeout=5, **issue().settings) as server:
        async with TlsClient.secure(server.urls[0]) as client:
            assert (await client.request(GET)).status == 200
            server.stop()
            assert await client.read_until_eof() == b""
            assert client.has_goodbye
        await server.wait_stopped()
        assert server.report is not None
        assert server.report.is_clean


async def test_handshake_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """[STOP-1]."""
    monkeypatch.setattr(link, "HANDSHAKE_PATIENCE", 0.2)
    async with (
        serving(Recorder(), graceful_timeout=20, **issue().settings) as server,
        clients_of(server.urls) as (silent,),
    ):
        await until(lambda: server.statistics().gate.open == 1)
        server.stop()
        assert await silent.read_until_eof() == b""
        await server.wait_stopped()
        assert server.report is not None
        assert server.report.seconds < 5


async def test_httpx_is_served() -> None:
    async with (
        serving(Recorder(), **issue().settings) as server,
        httpx.AsyncClient(verify=issue().trust()) as client,
    ):
        for _ in range(3):
            answer = await client.get(server.urls[0])
            assert answer.text == "hello"

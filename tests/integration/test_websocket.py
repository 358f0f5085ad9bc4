"""WebSockets over real sockets, on both loops: the handshake, messages, the end, and the counts.

What comes in bad frames is in test_websocket_corpus.py, back-pressure in test_websocket_flow.py.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from apps.websocket_cases import Recorder, accepting, echo, hello_or_echo
from support.clients import RawClient
from support.serving import clients_of, serving
from support.tls import TlsClient, issue
from support.waiting import until
from support.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameClient,
    close_payload,
    frame,
    handshake,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from support.serving import Receive, Scope, Send

    from asgibridge import Server

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 10.0
GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def websocket_url(server: Server) -> str:
    return server.urls[0].replace("http:", "ws:")


# --- a real client


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_client_of_its_own_kind_talks_and_leaves(compression: Any) -> None:  # noqa: ANN401
    """[ASGI-4] Text, bytes, fragments, large and many messages, pings, and a clean end."""
    app = Recorder()
    async with serving(app) as server:
        url = websocket_url(server)
        async with connect(url, compression=compression, max_size=None) as client:
            large = "grüße " * 200_000
            for message in ("hello", b"\x00\xff", "", b"", large, large.encode()):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["in ", "three ", "pieces"])
            assert await client.recv() == "in three pieces"
            for number in range(200):
                await client.send(str(number))
            assert [await client.recv() for _ in range(200)] == [str(n) for n in range(200)]
            await asyncio.wait_for(await client.ping(), PATIENCE)
            await client.close(3001, "bye")
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (3001, "bye")
        await until(lambda: server.statistics().gate.open == 0)
        assert (server.statistics().requests, server.statistics().cut) == (1, 0)


async def test_compression_can_be_turned_off() -> None:
    async with serving(echo, ws_deflate=False) as server:
        async with connect(websocket_url(server)) as client:
            assert client.protocol.extensions == []
        async with serving(echo) as other, connect(websocket_url(other)) as client:
            assert len(client.protocol.extensions) == 1


# --- the handshake


async def test_acceptance_carries_subprotocol_and_headers() -> None:
    app = Recorder(subprotocol="talk", headers=[(b"x-room", b"blue"), (b"set-cookie", b"a=b")])
    async with serving(app) as server:
        lines = ("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: talk")
        async with FrameClient.connect(server.urls[0], "/room?x=1", *lines) as client:
            answer = client.response
            assert answer.reason == "Switching Protocols"
            assert answer.header("sec-websocket-protocol") == "talk"
            assert (answer.header("x-room"), answer.header("set-cookie")) == ("blue", "a=b")
            assert (answer.header("upgrade"), answer.header("connection")) == (
                "websocket",
                "Upgrade",
            )
            assert answer.header("date")
        (scope,) = app.scopes
        assert scope["subprotocols"] == ["chat", "talk"]
        assert (scope["path"], scope["query_string"], scope["scheme"]) == ("/room", b"x=1", "ws")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake(without="Sec-WebSocket-Key"), 400),
        (handshake("/", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (handshake("/", "Sec-WebSocket-Key: short", without="Sec-WebSocket-Key"), 400),
        (handshake(without="Sec-WebSocket-Version"), 426),
        (handshake("/", "Sec-WebSocket-Version: 8", without="Sec-WebSocket-Version"), 426),
        (handshake("/", "Content-Length: 5") + b"hello", 400),
        (handshake("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (handshake().replace(b"GET", b"POST"), 400),
        (handshake("/", "Sec-WebSocket-Extensions: ;"), 400),
    ],
)
async def test_bad_handshake_is_refused_with_the_version(request_: bytes, status: int) -> None:
    async with serving(echo) as server, clients_of(server.urls) as (client,):
        answer = await client.request(request_)
        assert answer.status == status
        assert answer.header("sec-websocket-version") == "13"
        assert answer.values("connection") == ["close", "upgrade"][: 1 + (status == 426)]
        assert answer.header("upgrade") == ("websocket" if status == 426 else None)
        assert await client.read_until_eof() == b""
        await until(lambda: server.statistics().refused == 1)


@pytest.mark.parametrize(
    "request_",
    [
        handshake(without="Upgrade"),
        handshake(without="Connection"),
        handshake("/", "Upgrade: h2c", without="Upgrade"),
        handshake("/", "Connection: keep-alive", without="Connection"),
        handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_what_is_no_handshake_is_an_ordinary_request(request_: bytes) -> None:
    async with serving(hello_or_echo) as server, clients_of(server.urls) as (client,):
        answer = await client.request(request_)
        assert (answer.status, answer.body) == (200, b"hello")


async def test_wsgi_application_sees_an_ordinary_request() -> None:
    """RFC 9110 §7.8: an offer of another protocol may be left unanswered."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ANN401
        seen.append(environ)
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    async with serving(app, interface="wsgi") as server, clients_of(server.urls) as (client,):
        assert (await client.request(handshake())).status == 200
        assert (await client.request(GET)).status == 200
        assert seen[0]["HTTP_UPGRADE"] == "websocket"


@pytest.mark.parametrize("is_early", [True, False])
async def test_refusal_is_403_and_the_end(*, is_early: bool) -> None:
    """[ASGI-4] What may be frames behind it is never taken for a request."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    async with serving(app) as server:
        async with clients_of(server.urls) as (client,):
            answer = await client.request(handshake() + (GET if is_early else b""))
            assert (answer.status, answer.header("connection")) == (403, "close")
            assert await client.read_until_eof() == b""
        await until(lambda: server.statistics().gate.open == 0)
        assert (server.statistics().requests, server.statistics().cut) == (1, 0)


async def test_denial_is_answered_as_the_application_says() -> None:
    """[ASGI-4]."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        assert "websocket.http.response" in scope["extensions"]
        kind = "websocket.http.response"
        await send({"type": f"{kind}.start", "status": 401, "headers": [(b"x-a", b"b")]})
        await send({"type": f"{kind}.body", "body": b"first, ", "more_body": True})
        await send({"type": f"{kind}.body", "body": b"who are you?"})

    async with serving(app) as server, clients_of(server.urls) as (client,):
        answer = await client.request(handshake())
        assert (answer.status, answer.header("x-a")) == (401, "b")
        assert answer.body == b"first, who are you?"
        assert await client.read_until_eof() == b""


async def test_application_that_knows_no_websockets_is_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        raise NotImplementedError(scope["type"])

    async with serving(app) as server, clients_of(server.urls) as (client,):
        answer = await client.request(handshake())
        assert (answer.status, answer.header("connection")) == (500, "close")
    assert "the application failed on WebSocket /" in caplog.text


async def test_application_that_does_not_decide_is_504() -> None:
    ended = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        assert (await receive())["code"] == 1006
        ended.set()

    async with serving(app, ws_handshake_timeout=0.1) as server:
        async with RawClient.connect(server.urls[0]) as client:
            assert (await client.request(handshake())).status == 504
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_client_that_leaves_before_the_acceptance_is_told_of() -> None:
    raised: list[BaseException] = []
    ended = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert await receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            raised.append(error)
        ended.set()

    async with serving(app) as server:
        async with RawClient.connect(server.urls[0]) as client:
            await client.write(handshake())
            await until(lambda: server.statistics().gate.open == 1)
            client.reset()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        assert len(raised) == 1


@pytest.mark.parametrize("size", [1, 1000])
async def test_handshake_and_frames_may_come_byte_by_byte_and_in_advance(size: int) -> None:
    everything = handshake() + frame(TEXT, b"hello")
    async with serving(echo) as server, clients_of(server.urls) as (client,):
        for start in range(0, len(everything), size):
            await client.write(everything[start : start + size])
        assert (await client.read_head()).status == 101
        assert await client.read_exactly(7) == b"\x81\x05hello"


async def test_handshake_follows_requests_on_the_same_connection() -> None:
    async with serving(hello_or_echo) as server, clients_of(server.urls) as (client,):
        assert (await client.request(GET)).body == b"hello"
        await client.write(GET + handshake() + frame(TEXT, b"there"))
        assert (await client.read_response()).body == b"hello"
        assert (await client.read_head()).status == 101
        assert await client.read_exactly(7) == b"\x81\x05there"
        assert server.statistics().gate.peak_open == 1


# --- the end


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4999])
async def test_close_codes_go_both_ways(code: int) -> None:
    """[ASGI-4]."""
    app = Recorder()
    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        await client.send(CLOSE, close_payload(code, "grüße"))
        got = await client.read()
        assert (got.opcode, got.payload) == (CLOSE, close_payload(code, "grüße"))
        assert await client.is_ended()
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (code, "grüße")

    async def closing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": code, "reason": "grüße"})

    async with serving(closing) as server, FrameClient.connect(server.urls[0]) as client:
        got = await client.read()
        assert got.payload == close_payload(code, "grüße")
        await client.send(CLOSE, got.payload)
        assert await client.is_ended()


async def test_close_without_a_code_is_1005() -> None:
    app = Recorder()
    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        await client.send(CLOSE)
        assert await client.read_close() is None
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (1005, "")


@pytest.mark.parametrize("is_reset", [True, False])
async def test_client_that_vanishes_is_1006(*, is_reset: bool) -> None:
    app = Recorder()
    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        if is_reset:
            client.raw.reset()
        else:
            client.raw.half_close()
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (1006, "")
        await until(lambda: server.statistics().gate.open == 0)
        assert (server.statistics().requests, server.statistics().cut) == (1, 1)


async def test_error_of_the_application_is_1011(caplog: pytest.LogCaptureFixture) -> None:
    """[ASGI-4]."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        raise ValueError("trouble")

    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        await client.send(TEXT, b"go")
        got = await client.read()
        assert (got.opcode, got.code) == (CLOSE, 1011)
        await client.send(CLOSE, close_payload(1011))
        assert await client.is_ended()
    assert "ValueError: trouble" in caplog.text


async def test_send_after_the_end_raises_an_oserror_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """[ASGI-1] As the specification asks."""
    raised: list[BaseException] = []
    ended = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            await send({"type": "websocket.send", "text": "hello?"})
        except OSError as error:
            raised.append(error)
            ended.set()
            raise

    with caplog.at_level(logging.INFO, "asgibridge"):
        async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
            await client.send(CLOSE)
            await asyncio.wait_for(ended.wait(), PATIENCE)
    assert raised
    assert "failed" not in caplog.text


# --- pings


async def test_ping_of_the_client_is_answered_with_its_payload() -> None:
    async with serving(accepting) as server, FrameClient.connect(server.urls[0]) as client:
        for payload in (b"", b"hello", bytes(125)):
            await client.send(PING, payload)
            got = await client.read()
            assert (got.opcode, got.payload) == (PONG, payload)


async def test_silent_client_is_pinged_and_given_up() -> None:
    """[ASGI-4]."""
    app = Recorder()
    async with (
        serving(app, ws_ping_interval=0.1, ws_ping_timeout=0.2) as server,
        FrameClient.connect(server.urls[0]) as client,
    ):
        for _ in range(3):
            assert (await client.read()).opcode == PING
            await client.send(PONG)
        while (got := await client.read()).opcode == PING:
            pass
        assert (got.opcode, got.code) == (CLOSE, 1011)
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (1011, "keepalive ping timeout")


# --- counts, records and the stop


async def test_websocket_counts_as_open_and_in_flight_until_its_end() -> None:
    """[ASGI-4] [GATE-1] [GATE-2] A full process leaves the next client to the kernel."""
    async with (
        serving(hello_or_echo, worker_connections=2, parking_delay=0.01) as server,
        FrameClient.connect(server.urls[0]) as first,
        FrameClient.connect(server.urls[0]),
    ):
        gate = server.statistics().gate
        assert (gate.open, gate.in_flight, gate.idle) == (2, 2, 0)
        async with RawClient.connect(server.urls[0]) as waiting:
            await waiting.write(GET)
            await until(lambda: server.statistics().is_paused)
            assert server.statistics().gate.open == 2
            await first.send(CLOSE)
            assert (await waiting.read_response()).body == b"hello"


async def test_one_record_tells_of_the_whole_websocket(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "asgibridge.access"):
        settings = {"access_log": True, "access_log_format": "%(r)s %(s)s %(B)s %(L)s"}
        async with serving(echo, **settings) as server:
            async with FrameClient.connect(server.urls[0], "/chat") as client:
                await client.send(TEXT, b"hello")
                await client.read()
                await asyncio.sleep(0.2)  # a time that the record must tell
                await client.send(CLOSE)
                await client.is_ended()
            await until(lambda: server.statistics().requests == 1)
    (record,) = [each for each in caplog.records if each.name == "asgibridge.access"]
    line, _, seconds = record.getMessage().rpartition(" ")
    assert line == "GET /chat HTTP/1.1 101 5"
    assert 0.2 <= float(seconds) < 5


@pytest.mark.parametrize(("is_retiring", "code"), [(False, 1001), (True, 1012)])
async def test_stop_says_goodbye_to_both_sides(code: int, *, is_retiring: bool) -> None:
    """[ASGI-4] [STOP-1]."""
    app = Recorder()
    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        server.stop(grace=5.0, is_retiring=is_retiring)
        got = await client.read()
        assert (got.opcode, got.code) == (CLOSE, code)
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (code, "")
        assert server.phase.value == "draining"
        await client.send(CLOSE, got.payload)
        assert await client.is_ended()
        await asyncio.wait_for(server.wait_stopped(), PATIENCE)
    assert server.report is not None
    assert (server.report.is_clean, server.report.cut) == (True, 0)


async def test_stop_does_not_wait_for_a_client_that_does_not_answer() -> None:
    """[STOP-1]."""
    async with serving(accepting) as server, FrameClient.connect(server.urls[0]):
        begun = asyncio.get_running_loop().time()
        server.stop(grace=0.5)
        await asyncio.wait_for(server.wait_stopped(), PATIENCE)
        assert asyncio.get_running_loop().time() - begun < 2


async def test_messages_and_fragments_of_many_clients_do_not_mix() -> None:
    async with serving(echo) as server:

        async def talk(name: str) -> None:
            async with FrameClient.connect(server.urls[0]) as client:
                for number in range(20):
                    text = f"{name} {number}".encode()
                    await client.send(TEXT, text[:2], fin=False)
                    await client.send(PING, b"p")
                    await client.send(CONTINUATION, text[2:])
                    await client.send(BINARY, text)
                    frames = [await client.read() for _ in range(3)]
                    assert [(each.opcode, each.payload) for each in frames] == [
                        (PONG, b"p"),
                        (TEXT, text),
                        (BINARY, text),
                    ]

        await asyncio.gather(*(talk(f"client {number}") for number in range(20)))
        await until(lambda: server.statistics().gate.open == 0)


async def test_a_client_that_closes_badly_learns_the_reason() -> None:
    async with serving(echo, ws_max_size=100) as server:
        async with connect(websocket_url(server), compression=None) as client:
            with suppress(ConnectionClosed):
                await client.send(bytes(1_000_000))
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


# --- under TLS


async def test_a_websocket_under_tls_is_served_like_any_other() -> None:
    """[ASGI-4] The scheme is wss, and what is known of the TLS is told."""
    app = Recorder()
    async with serving(app, **issue().settings) as server:
        url = server.urls[0].replace("https:", "wss:")
        async with connect(url, ssl=issue().trust(), max_size=None) as client:
            for message in ("hello", "grüße " * 200_000, bytes(3_000_000)):
                await client.send(message)
                assert await client.recv() == message
            await asyncio.wait_for(await client.ping(), PATIENCE)
            await client.close(3001, "bye")
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
        assert app.end == (3001, "bye")
        await until(lambda: server.statistics().gate.open == 0)
        assert (server.statistics().requests, server.statistics().cut) == (1, 0)
    (scope,) = app.scopes
    assert scope["scheme"] == "wss"
    assert scope["extensions"].keys() == {"websocket.http.response", "tls"}


async def test_end_under_tls_is_a_close_frame_and_then_that_of_tls() -> None:
    async with serving(echo, ws_max_size=1000, **issue().settings) as server:
        for sent, code in (
            (frame(CLOSE, close_payload(1000)), 1000),
            (frame(BINARY, bytes(1001)), 1009),
            (frame(TEXT, b"\xff"), 1007),
            (b"garbage that is no frame", 1002),
        ):
            async with TlsClient.secure(server.urls[0]) as raw:
                client = FrameClient(raw, await raw.request(handshake() + sent))
                assert client.response.status == 101
                assert (await client.read()).code == code
                assert await client.is_ended()
                assert raw.has_goodbye
        async with TlsClient.secure(server.urls[0]) as raw:
            client = FrameClient(raw, await raw.request(handshake()))
            server.stop(grace=5.0)
            assert (await client.read()).code == 1001
            await client.send(CLOSE, close_payload(1001))
            assert await client.is_ended()
            await asyncio.wait_for(server.wait_stopped(), PATIENCE)


async def test_slow_reader_under_tls_makes_the_application_wait() -> None:
    """[ASGI-4]."""
    sent = 0
    large = 32 << 20

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "websocket.accept"})
        while sent < large:
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            sent += 65536

    async with (
        serving(app, **issue().settings) as server,
        TlsClient.secure(server.urls[0], receive_buffer=65536) as raw,
    ):
        client = FrameClient(raw, await raw.request(handshake()))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 16 << 20
        read = 0
        while (got := await client.read()).opcode == BINARY:
            read += len(got.payload)
        assert read == large

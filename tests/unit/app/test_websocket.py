"""One ASGI WebSocket call against a fake; the whole over sockets is in integration/."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.fakes_exchange import FakeExchange, FakeWebSocket

from asgibridge.app.asgi import AsgiHandler
from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.lifecycle import WebSocketStage

if TYPE_CHECKING:
    from apps.asgi_cases import Application, Message, Receive, Scope, Send

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 10.0
ACCEPT: Final[Message] = {"type": "websocket.accept"}
CLOSE: Final[Message] = {"type": "websocket.close"}
HEADERS: Final = (
    (b"host", b"shop.example"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-protocol", b"chat, talk"),
)


def asking(target: bytes = b"/") -> tuple[FakeExchange, FakeWebSocket]:
    exchange = FakeExchange(target=target, headers=HEADERS)
    exchange.websocket = FakeWebSocket()
    return exchange, exchange.websocket


async def answer(app: Application, exchange: FakeExchange, **settings: Any) -> None:  # noqa: ANN401
    """Run *app* to its end."""
    handler = AsgiHandler(app, asyncio.get_running_loop(), **settings)
    handler.begin(exchange)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*handler.tasks, return_exceptions=True)
    assert handler.tasks == set()


async def test_scope_is_that_of_the_specification() -> None:
    """[ASGI-1]."""
    scopes: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send(CLOSE)

    exchange, _ = asking(b"/caf%C3%A9?a=b")
    await answer(app, exchange, root_path="/shop", state={"db": 1})
    assert scopes == [
        {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/shop/café",
            "raw_path": b"/shop/caf%C3%A9",
            "query_string": b"a=b",
            "root_path": "/shop",
            "headers": list(HEADERS),
            "client": ("192.0.2.7", 4711),
            "server": ("127.0.0.1", 8000),
            "subprotocols": ["chat", "talk"],
            "state": {"db": 1},
            "extensions": {"websocket.http.response": {}},
        }
    ]


async def test_messages_go_both_ways() -> None:
    exchange, socket = asking()
    events: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        events.append(await receive())
        await send({**ACCEPT, "subprotocol": "chat", "headers": [(b"a", b"b")]})
        socket.bring("text")
        socket.bring(b"bytes")
        events.extend([await receive(), await receive()])
        await send({"type": "websocket.send", "text": "there"})
        await send({"type": "websocket.send", "text": None, "bytes": b""})
        await send({"type": "websocket.send", "bytes": None, "text": ""})
        socket.leave(1001, "bye")
        events.extend([await receive(), await receive()])

    await answer(app, exchange)
    gone = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
    assert events == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "text"},
        {"type": "websocket.receive", "bytes": b"bytes"},
        gone,
        gone,
    ]
    assert socket.accepted == ("chat", [(b"a", b"b")])
    assert socket.sent == ["there", b"", ""]


async def test_receive_waits_for_what_comes_later() -> None:
    exchange, socket = asking()
    got: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        got.append(await receive())

    handler = AsgiHandler(app, asyncio.get_running_loop())
    handler.begin(exchange)
    (task,) = handler.tasks
    for _ in range(5):
        await asyncio.sleep(0)
    socket.bring("later")
    await asyncio.wait_for(task, PATIENCE)
    assert got == [{"type": "websocket.receive", "text": "later"}]


async def test_send_waits_for_a_slow_client() -> None:
    """[ASGI-4]."""
    exchange, socket = asking()
    socket.must = True
    went_on = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "large"})
        went_on.set()

    handler = AsgiHandler(app, asyncio.get_running_loop())
    handler.begin(exchange)
    (task,) = handler.tasks
    for _ in range(5):
        await asyncio.sleep(0)
    assert socket.sent == ["large"]
    assert not went_on.is_set()
    exchange.writable.set()
    await asyncio.wait_for(task, PATIENCE)
    assert went_on.is_set()


@pytest.mark.parametrize(
    ("message", "closed"),
    [
        (CLOSE, (1000, "")),
        ({**CLOSE, "code": 3001, "reason": "done"}, (3001, "done")),
        ({**CLOSE, "code": None, "reason": None}, (1000, "")),
    ],
)
async def test_close_is_a_close_frame_after_the_acceptance(
    message: Message, closed: tuple[int, str]
) -> None:
    exchange, socket = asking()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send(message)

    await answer(app, exchange)
    assert socket.closed == closed


async def test_close_before_the_acceptance_is_403() -> None:
    exchange, socket = asking()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({**CLOSE, "code": 4000})
        socket.leave()  # as the exchange does it when it is over

    await answer(app, exchange)
    assert exchange.sent.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert exchange.failed is None


async def test_denial_is_a_response_of_the_application() -> None:
    """[ASGI-4]."""
    exchange, socket = asking()
    kind = "websocket.http.response"

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"x-why", b"no")]
        await send({"type": f"{kind}.start", "status": 401, "headers": headers})
        await send({"type": f"{kind}.body", "body": b"who ", "more_body": True})
        await send({"type": f"{kind}.body", "body": b"are you?"})
        socket.leave()

    await answer(app, exchange)
    assert exchange.sent.startswith(b"HTTP/1.1 401 Unauthorized\r\nx-why: no\r\n")
    assert b"who " in exchange.sent
    assert b"are you?" in exchange.sent
    assert exchange.failed is None


@pytest.mark.parametrize(
    "wrong",
    [
        [{"type": "websocket.send"}],
        [{"type": "http.response.start", "status": 200}],
        [{"type": "nonsense"}],
        [ACCEPT, ACCEPT],
        [ACCEPT, {"type": "websocket.http.response.start", "status": 401}],
        [{"type": "websocket.http.response.body", "body": b""}],
    ],
)
async def test_messages_out_of_place_are_refused(wrong: list[Message]) -> None:
    exchange, _ = asking()
    raised: list[ResponseError] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        *before, last = wrong
        for message in before:
            await send(message)
        with pytest.raises(ResponseError) as caught:
            await send(last)
        raised.append(caught.value)

    await answer(app, exchange)
    assert raised


async def test_sending_to_nobody_raises() -> None:
    """[ASGI-1] An `OSError`, as the specification asks."""
    exchange, socket = asking()
    raised: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        socket.leave()
        for message in (
            {"type": "websocket.send", "text": "hello"},
            CLOSE,
            {"type": "websocket.http.response.start", "status": 401},
        ):
            try:
                await send(message)
            except OSError as error:
                raised.append(error)

    await answer(app, exchange)
    assert [type(error) for error in raised] == [ClientDisconnected] * 3


async def test_an_application_that_returns_closes_what_it_left_open() -> None:
    exchange, socket = asking()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)

    await answer(app, exchange)
    assert socket.closed == (1000, "")


async def test_an_application_that_returns_undecided_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange, _ = asking(b"/chat")

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()

    await answer(app, exchange)
    assert exchange.failed == 500
    assert "neither accepted nor refused WebSocket /chat" in caplog.text


@pytest.mark.parametrize("is_accepted", [True, False])
@pytest.mark.parametrize("error", [SystemExit(2), asyncio.CancelledError(), ValueError()])
async def test_an_error_is_1011_or_500(
    error: BaseException, caplog: pytest.LogCaptureFixture, *, is_accepted: bool
) -> None:
    """[ASGI-4]."""
    exchange, socket = asking()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        if is_accepted:
            await send(ACCEPT)
        raise error

    await answer(app, exchange)
    assert socket.closed == ((1011, "") if is_accepted else None)
    assert exchange.failed == (None if is_accepted else 500)
    assert "the application failed on WebSocket /" in caplog.text


@pytest.mark.parametrize("is_logged", [True, False])
async def test_errors_about_a_client_that_left_are_not_the_applications(
    caplog: pytest.LogCaptureFixture, *, is_logged: bool
) -> None:
    exchange, socket = asking()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        socket.leave()
        if is_logged:
            raise ValueError
        await send({"type": "websocket.send", "text": "hello"})

    await answer(app, exchange)
    assert ("the application failed" in caplog.text) is is_logged


async def test_a_bad_handshake_never_reaches_the_application() -> None:
    exchange, _ = asking()
    exchange.websocket = None
    called: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        called.append(scope)

    await answer(app, exchange)
    assert (called, exchange.failed) == ([], 400)


async def test_cancelled_call_is_ended_and_told_of() -> None:
    """As happens when the server stops."""
    exchange, socket = asking()
    told: list[int] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await asyncio.Event().wait()

    handler = AsgiHandler(app, asyncio.get_running_loop())
    handler.on_task_done = lambda: told.append(len(handler.tasks))
    handler.begin(exchange)
    (task,) = handler.tasks
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert socket.stage is WebSocketStage.CLOSING
    assert told == [0]

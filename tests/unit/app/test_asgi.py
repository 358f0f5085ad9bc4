"""One ASGI call against a fake exchange; the whole over sockets is in integration/test_asgi_*."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.asgi import AsgiHandler
from asgibridge.errors import ClientDisconnected, ResponseError

if TYPE_CHECKING:
    from apps.asgi_cases import Application, Message, Receive, Scope, Send

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 10.0
START: Final[Message] = {"type": "http.response.start", "status": 200, "headers": []}
END: Final[Message] = {"type": "http.response.body", "body": b"hello"}


async def answer(
    app: Application,
    exchange: FakeExchange | None = None,
    root_path: str = "",
    state: dict[str, Any] | None = None,
) -> FakeExchange:
    """Run *app* to its end and return the exchange that it answered."""
    exchange = exchange or FakeExchange()
    handler = AsgiHandler(app, asyncio.get_running_loop(), root_path=root_path, state=state)
    handler.begin(exchange)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*handler.tasks, return_exceptions=True)
    assert handler.tasks == set()
    return exchange


async def scope_of(
    root_path: str = "", state: dict[str, Any] | None = None, target: bytes = b"/"
) -> Scope:
    scopes: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send(START)
        await send(END)

    exchange = FakeExchange("OPTIONS", target)
    await answer(app, exchange, root_path, state)
    return scopes[0]


@pytest.mark.parametrize(
    ("target", "path", "raw_path"),
    [
        (b"/x", "/café/x", b"/caf%C3%A9/x"),
        (b"/caf%C3%A9/x", "/café/x", b"/caf%C3%A9/x"),
        (b"/caf%C3%A9s", "/café/cafés", b"/caf%C3%A9/caf%C3%A9s"),
        (b"http://a/x?y", "/café/x", b"/caf%C3%A9/x"),
    ],
)
async def test_root_path_may_be_beyond_ascii(target: bytes, path: str, raw_path: bytes) -> None:
    """[ASGI-1]."""
    scope = await scope_of(target=target, root_path="/café")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (path, raw_path, "/café")


async def test_asterisk_is_below_no_root() -> None:
    scope = await scope_of(target=b"*", root_path="/shop")
    assert (scope["path"], scope["raw_path"]) == ("*", b"*")


async def test_state_is_copied_and_versions_are_not_shared() -> None:
    """[ASGI-1]."""
    state: dict[str, Any] = {"pool": []}
    first, second = [await scope_of(state=state) for _ in range(2)]
    assert first["state"] is not second["state"]
    assert first["state"]["pool"] is state["pool"]
    assert first["asgi"] is not second["asgi"]
    assert first["extensions"] is not second["extensions"]


async def test_head_waits_for_the_first_piece() -> None:
    exchange = FakeExchange()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        assert exchange.sent == b""
        await send(END)

    await answer(app, exchange)
    assert exchange.sent.endswith(b"Content-Length: 5\r\n\r\nhello")


async def test_send_waits_while_it_must() -> None:
    """[ASGI-3]."""
    exchange = FakeExchange()
    exchange.must = True
    went_on = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({**END, "more_body": True})
        went_on.set()
        await send(END)

    handler = AsgiHandler(app, asyncio.get_running_loop())
    handler.begin(exchange)
    (task,) = handler.tasks
    for _ in range(5):
        await asyncio.sleep(0)
    assert exchange.sent.endswith(b"hello\r\n")
    assert not went_on.is_set()
    exchange.writable.set()
    await asyncio.wait_for(task, PATIENCE)
    assert exchange.sent.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@pytest.mark.parametrize("more", [False, True])
async def test_other_kinds_of_bytes_are_welcome(kind: type[bytearray], *, more: bool) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send({**END, "body": kind(b"hello"), "more_body": more})
        if more:
            await send({"type": "http.response.body"})

    exchange = await answer(app)
    assert exchange.failed is None
    assert b"hello" in exchange.sent


async def test_sending_to_nobody_raises() -> None:
    """[ASGI-1] An `OSError` for a client that is gone, another for an answer that is complete."""
    raised: list[BaseException] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in (START, END, END):
            try:
                await send(message)
            except (OSError, ResponseError) as error:
                raised.append(error)

    await answer(app)
    gone = FakeExchange()
    gone.leave()
    await answer(app, gone)
    assert [type(error) for error in raised] == [ResponseError, *[ClientDisconnected] * 3]


async def test_receive_tells_of_the_end_only_once_the_body_is_read() -> None:
    """[ASGI-1]."""
    exchange = FakeExchange()
    exchange.bodies = [b"one", b"two"]
    messages: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        messages.extend([await receive(), await receive()])
        await send(START)
        await send(END)
        messages.append(await receive())

    await answer(app, exchange)
    assert [(m.get("body"), m.get("more_body")) for m in messages[:2]] == [
        (b"one", True),
        (b"two", False),
    ]
    assert messages[2] == {"type": "http.disconnect"}


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), ValueError()])
async def test_nothing_that_is_raised_gets_out(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    exchange = await answer(app)
    assert exchange.failed == 500
    assert "the application failed on GET /" in caplog.text


async def test_cancelled_request_is_answered_503() -> None:
    """As happens when the server stops: that is no failure of the application."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    exchange = FakeExchange()
    handler = AsgiHandler(app, asyncio.get_running_loop())
    handler.begin(exchange)
    (task,) = handler.tasks
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert exchange.failed == 503


async def test_end_of_every_task_is_told() -> None:
    told: list[int] = []
    handler: AsgiHandler

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(END)

    handler = AsgiHandler(app, asyncio.get_running_loop())
    handler.on_task_done = lambda: told.append(len(handler.tasks))
    for _ in range(2):
        handler.begin(FakeExchange())
    await asyncio.gather(*handler.tasks)
    assert told == [1, 0]

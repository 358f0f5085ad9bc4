"""What an ASGI call may send when; the whole over sockets is in integration/test_asgi_*."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.call import WSGI_EXTENSION, AsgiCall
from asgibridge.errors import ResponseError

if TYPE_CHECKING:
    from apps.asgi_cases import Message

START: Final[Message] = {"type": "http.response.start", "status": 200, "headers": []}
PART: Final[Message] = {"type": "http.response.body", "body": b"one", "more_body": True}
END: Final[Message] = {"type": "http.response.body", "body": b"hello"}
HINT: Final[Message] = {"type": "http.response.early_hint", "links": [b"</a>"]}
TRAILERS: Final[Message] = {"type": "http.response.trailers", "headers": [(b"x-sum", b"42")]}
PATH: Final[Message] = {"type": "http.response.pathsend", "path": __file__}
TE: Final = ((b"host", b"a"), (b"te", b"trailers"))


def call_of(exchange: FakeExchange) -> AsgiCall:
    return AsgiCall(exchange, AsgiHandler(None, asyncio.get_running_loop()))


async def sent(*messages: Message, headers: Any = TE) -> FakeExchange:  # noqa: ANN401 - pairs
    exchange = FakeExchange(headers=headers)
    call = call_of(exchange)
    for message in messages:
        await call.send(message)
    assert call.is_complete == exchange.is_over
    return exchange


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([PART], "http.response.start"),
        ([PATH], "http.response.start"),
        ([TRAILERS], "http.response.start"),
        ([START, START], "http.response.body"),
        ([START, TRAILERS], "http.response.body"),
        ([START, PART, PATH], "http.response.body"),
        ([{**START, "trailers": True}, TRAILERS], "http.response.body"),
        ([{**START, "trailers": True}, END, END], "http.response.trailers"),
        ([{**START, "trailers": True}, END, PART], "http.response.trailers"),
        ([{**START, "trailers": True}, END, PATH], "http.response.trailers"),
    ],
)
async def test_message_out_of_turn_is_refused(messages: list[Message], expected: str) -> None:
    """[ASGI-2] It says what was expected."""
    with pytest.raises(ResponseError, match=f"sent where '{expected}' was expected"):
        await sent(*messages)


@pytest.mark.parametrize(
    "messages",
    [[START, END, END], [START, END, TRAILERS], [START, PATH, END], [START, END, HINT]],
)
async def test_nothing_follows_a_complete_response(messages: list[Message]) -> None:
    with pytest.raises(ResponseError, match="after the response was complete"):
        await sent(*messages)


async def test_file_has_no_room_for_trailers() -> None:
    """[ASGI-2] They are dropped, as wherever they cannot be."""
    exchange = await sent({**START, "trailers": True}, PATH, TRAILERS)
    head, _, body = exchange.sent.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


async def test_trailers_that_are_not_promised_after_all_cost_nothing() -> None:
    exchange = await sent({**START, "trailers": False}, END)
    assert exchange.sent.endswith(b"Content-Length: 5\r\n\r\nhello")


async def test_hint_to_a_slow_client_waits() -> None:
    """[ASGI-3] An application cannot fill the memory with hints."""
    exchange = FakeExchange()
    exchange.must = True
    sending = asyncio.ensure_future(call_of(exchange).send(HINT))
    await asyncio.sleep(0)
    assert not sending.done()
    assert exchange.sent == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    exchange.writable.set()
    await sending


async def test_call_is_found_in_its_scope() -> None:
    """[WSGI-8] In the copies that routers make, too."""
    found: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        found.append({**scope}["extensions"][WSGI_EXTENSION])
        await send(START)
        await send(END)

    handler = AsgiHandler(app, asyncio.get_running_loop())
    exchange = FakeExchange()
    handler.begin(exchange)
    await asyncio.gather(*handler.tasks)
    (call,) = found
    assert isinstance(call, AsgiCall)
    assert (call.exchange, call.handler) == (exchange, handler)
    assert "GET" in repr(call)
    with pytest.raises(AssertionError):
        handler.threads()

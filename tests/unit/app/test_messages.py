"""What a mounted call posts becomes messages, in order, bounded, and only once."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.messages import MessageExchange, MessageResponse, Posting
from asgibridge.errors import ClientDisconnected, IllegalMove, ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 10.0
OK = b"HTTP/1.1 200 OK\r\n"
HIGH_WATER = 65536


class KeptBody:
    """A request body in memory, whose end a test can see."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.file = io.BytesIO()
        self.size = 0
        self._is_full = is_full
        self._claim = threading.Lock()

    def add(self, pieces: Sequence[bytes]) -> None:
        if self._is_full:
            raise OSError(28, "No space left on device")
        self.size += self.file.write(b"".join(pieces))

    def try_claim(self) -> bool:
        return self._claim.acquire(blocking=False)

    def open(self) -> BinaryIO:
        self.file.seek(0)
        return self.file

    def close(self) -> None:
        self.file.close()


class Rig:
    """A message exchange whose messages a test collects."""

    def __init__(self, outer: FakeExchange | None = None) -> None:
        self.outer = outer or FakeExchange()
        loop = asyncio.get_running_loop()
        scope = {
            "method": "GET",
            "path": "/x",
            "headers": [(b"host", b"a")],
            "client": ("192.0.2.7", 4711),
            "server": None,
        }
        self.exchange = MessageExchange(
            scope, self.outer, lambda exchange: loop.call_soon_threadsafe(exchange.deliver)
        )
        self.sent: list[Any] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.relaying = asyncio.ensure_future(self.exchange.relay(self.send))

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's
        await self.may_send.wait()
        self.sent.append(message)

    async def settled(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.relaying


def part(size: int = 1) -> list[Any]:
    return [{"type": "http.response.body", "body": b"x" * size, "more_body": True}]


def test_response_becomes_messages() -> None:
    """[WSGI-8] Names in lower case, as ASGI has them."""
    response = MessageResponse(head_request=False)
    start, body = response.whole(200, OK, [("X-Name", "V\xe9")], b"hello")
    assert start == {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"x-name", b"V\xe9")],
    }
    assert body == {"type": "http.response.body", "body": b"hello", "more_body": False}
    with pytest.raises(IllegalMove):
        response.start(200, OK, [])
    again = MessageResponse(head_request=False)
    assert not again.is_started
    assert again.start(200, OK, [("X-Name", "V\xe9")])["headers"] == start["headers"]
    assert again.is_started
    assert [*again.piece(b"one"), again.end()] == [
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]


@pytest.mark.parametrize(
    "pair",
    [("X-A", "b\r\nX-C: d"), ("X A", "b"), ("X-A", "\u20ac"), ["X-A", "b"], ("X-A", 7), "x"],
)
def test_header_is_checked_in_the_thread(pair: object) -> None:
    """[WSGI-5] While the application can be blamed."""
    with pytest.raises(ResponseError):
        MessageResponse(head_request=False).start(200, OK, [pair])


def test_headers_that_are_echoed_fill_no_memory() -> None:
    for number in range(2000):
        headers = [("X-Echo", str(number))]
        start = MessageResponse(head_request=False).start(200, OK, headers)
        assert start["headers"] == [(b"x-echo", str(number).encode())]


async def test_parts_are_relayed_in_order() -> None:
    rig = Rig()
    for number in range(3):
        await asyncio.to_thread(rig.exchange.post, part(number))
    await asyncio.to_thread(rig.exchange.post_last, part(7))
    await rig.settled()
    assert [len(message["body"]) for message in rig.sent] == [0, 1, 2, 7]
    assert rig.exchange.posting is Posting.LAST
    assert "GET /x" in repr(rig.exchange)


async def test_thread_waits_for_the_client_and_goes_on() -> None:
    """[WSGI-4]."""
    rig = Rig()
    rig.may_send.clear()
    went_on = threading.Event()

    def work() -> None:
        for _ in range(4):
            rig.exchange.post(part(HIGH_WATER))
        went_on.set()
        rig.exchange.post_last([])

    working = asyncio.ensure_future(asyncio.to_thread(work))
    assert not await asyncio.to_thread(went_on.wait, 0.1)
    rig.may_send.set()
    await working
    await rig.settled()
    assert len(rig.sent) == 4


@pytest.mark.parametrize("how", ["cancelled", "send raises", "client gone"])
async def test_waiting_thread_hears_that_nobody_reads(how: str) -> None:
    """[WSGI-4] At once, but for a client that leaves unnoticed: then within a second."""
    rig = Rig()
    rig.may_send.clear()

    def post_on() -> None:
        while True:
            rig.exchange.post(part(HIGH_WATER))

    def work() -> None:
        with pytest.raises(ClientDisconnected):
            post_on()

    async def broken(_message: object) -> None:
        raise ClientDisconnected("gone")

    if how == "send raises":
        rig.relaying.cancel()
        rig.relaying = asyncio.ensure_future(rig.exchange.relay(broken))
    working = asyncio.ensure_future(asyncio.to_thread(work))
    if how == "cancelled":
        await asyncio.sleep(0.05)
        rig.relaying.cancel()
    elif how == "client gone":
        rig.outer.leave()
    if how != "client gone":
        with pytest.raises((asyncio.CancelledError, ClientDisconnected)):
            await rig.settled()
        rig.exchange.end()
    await asyncio.wait_for(working, PATIENCE)
    rig.relaying.cancel()


async def test_error_is_raised_behind_what_was_posted() -> None:
    """[WSGI-5]."""
    rig = Rig()
    rig.exchange.post(part())
    assert rig.exchange.try_raise(LookupError("no valve"))
    assert not rig.exchange.try_raise(LookupError("another"))
    with pytest.raises(LookupError, match="no valve"):
        await rig.settled()
    assert len(rig.sent) == 1


async def test_late_call_is_answered_for() -> None:
    """[WSGI-6] [WSGI-7] What the thread posts afterwards goes nowhere."""
    rig = Rig()
    rig.exchange.fail(503)
    rig.exchange.fail(504)
    with pytest.raises(ClientDisconnected):
        rig.exchange.post(part())
    rig.exchange.post_last(part())
    rig.exchange.post_failure(500)
    assert not rig.exchange.try_raise(LookupError("late"))
    await rig.settled()
    start, body = rig.sent
    assert (start["status"], body["body"]) == (503, b"503 Service Unavailable\n")
    assert (b"retry-after", b"1") in start["headers"]
    assert rig.exchange.is_gone


async def test_late_stream_is_cut() -> None:
    """[WSGI-7]."""
    rig = Rig()
    rig.exchange.post(part())
    rig.exchange.fail(504)
    assert rig.outer.failed == 504
    with pytest.raises(ClientDisconnected):
        await rig.settled()


async def test_answer_that_is_complete_is_not_late() -> None:
    rig = Rig()
    rig.exchange.post_last(part())
    rig.exchange.fail(504)
    await rig.settled()
    assert len(rig.sent) == 1
    assert rig.outer.failed is None


async def test_body_goes_to_the_thread_or_is_thrown_away_once() -> None:
    """[WSGI-2]."""
    taken, thrown = Rig(), Rig()
    kept, lost = KeptBody(), KeptBody()
    for rig, body in ((taken, kept), (thrown, lost)):
        rig.exchange.add_body(b"hel", lambda body=body: body)  # type: ignore[misc]
        rig.exchange.add_body(b"lo", KeptBody)
        assert rig.exchange.head.content_length == 5
    file, size = taken.exchange.take_body()
    assert (file.read(), size) == (b"hello", 5)
    taken.exchange.end()
    assert not kept.file.closed
    thrown.exchange.end()
    assert lost.file.closed
    assert thrown.exchange.take_body()[1] == 0
    for rig in (taken, thrown):
        rig.relaying.cancel()


async def test_what_a_scope_does_not_say_is_the_connections() -> None:
    rig = Rig(FakeExchange("POST", b"/raw?q", version="1.0"))
    head = rig.exchange.head
    assert (head.method, head.target, head.version) == ("GET", b"/raw?q", "1.0")
    assert rig.exchange.client == ("192.0.2.7", 4711)
    assert rig.exchange.server == rig.outer.server
    thread = threading.current_thread()
    rig.exchange.note_started(thread)
    assert rig.outer.started_by == [thread]
    rig.relaying.cancel()

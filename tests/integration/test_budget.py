"""How many calls of our own code one request takes: the budget that the pages state.

Counted, not timed: the count is the same on every machine.  Whoever adds a call to the way of every
request finds it here, and either takes it away or raises the bound with a reason.
"""

from __future__ import annotations

import asyncio
import collections
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import asgibridge
from asgibridge import Config, Server, WSGIMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import FrameType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from asgibridge.interfaces import Application

OURS: Final = str(Path(asgibridge.__file__).parent)
BODY: Final = b"Hello, world!\n"
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
# Requests before they are counted: the caches are warm then, as they are in a server at work.
WARM_UP: Final = 20
COUNTED: Final = 20

# Calls for one request on a kept-alive connection.  One more than are needed: when a new second
# begins, the `Date` line is made anew.  Three more for WSGI: a client that has its answer from a
# thread may be quicker with its next request than the loop's farewell.
WSGI_CALLS: Final = 49
ASGI_CALLS: Final = 30
MOUNTED_CALLS: Final = 79


def wsgi_hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    del environ
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [BODY]


async def asgi_hello(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    del receive
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


class Counter:
    """Notes the calls of our functions, in every thread, while it is on."""

    def __init__(self) -> None:
        self.is_on = False
        self.calls: collections.Counter[str] = collections.Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if self.is_on and event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls[frame.f_code.co_qualname] += 1


@pytest.fixture
def counter() -> Iterator[Counter]:
    made = Counter()
    threading.setprofile(made)  # for the threads of the pool, which are yet to start
    sys.setprofile(made)
    try:
        yield made
    finally:
        made.is_on = False
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.mark.parametrize(
    ("app", "bound"),
    [
        pytest.param(wsgi_hello, WSGI_CALLS, id="wsgi"),
        pytest.param(asgi_hello, ASGI_CALLS, id="asgi"),
        pytest.param(WSGIMiddleware(wsgi_hello), MOUNTED_CALLS, id="mounted"),
    ],
)
async def test_a_request_stays_within_its_budget_of_calls(
    counter: Counter, app: Application, bound: int
) -> None:
    async with Server(Config(app=app, port=0, threads=2)) as server:
        host, _, port = server.urls[0].removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(WARM_UP + COUNTED):
            counter.is_on = number >= WARM_UP
            writer.write(REQUEST)
            await reader.readuntil(BODY)
        counter.is_on = False
        writer.close()
        await writer.wait_closed()
    assert counter.calls["Connection.data_received"] == COUNTED
    per_request = {name: count / COUNTED for name, count in counter.calls.items()}
    assert sum(per_request.values()) <= bound, per_request

"""The demo's chat, called as an ASGI application; a browser talks in system/test_browser.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, cast

import pytest

from asgibridge import demo_chat
from asgibridge.demo_chat import MAX_CHARACTERS, MAX_VISITORS, MAX_WAITING, talk

pytestmark = pytest.mark.anyio

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 5.0


class Visitor:
    """One who talks, and reads as slowly as the test wants."""

    def __init__(self, path: str = "/chat", **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_gone = False
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": path, "headers": fields}
        self.task = asyncio.ensure_future(
            talk(cast("Any", scope), cast("Any", self._said.get), cast("Any", self._send))
        )

    async def _send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        if self.is_gone:
            raise OSError
        self.sent.append(message)

    async def say(self, text: str) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text": text})
        await self.settle()

    async def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.task, PATIENCE)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(m["text"]) for m in self.sent if m["type"] == "websocket.send"]

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]


async def test_what_one_says_everybody_hears() -> None:
    first, second = Visitor(), Visitor()
    await second.settle()
    name = first.told[0]["you"]
    await first.say("  hello  ")
    await first.say("   ")
    for each in (first, second):
        assert each.told[-1] == {"who": name, "said": "hello", "here": 2}
    await first.say("x" * 1000)
    assert second.told[-1]["said"] == "x" * MAX_CHARACTERS
    await first.leave()
    assert second.told[-1] == {"who": name, "did": "has left", "here": 1}
    await second.leave()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/chat", {"host": "a", "origin": "http://b"}),
        ("/chat", {"host": "a", "origin": "null"}),
        ("/other", {}),
    ],
)
async def test_strangers_are_refused_before_they_come_in(
    path: str, headers: dict[str, str]
) -> None:
    visitor = Visitor(path, **headers)
    await asyncio.wait_for(visitor.task, PATIENCE)
    assert visitor.kinds == ["websocket.close"]


async def test_pages_of_this_site_are_let_in() -> None:
    visitor = Visitor(host="a:80", origin="http://a:80")
    await visitor.settle()
    assert visitor.kinds[0] == "websocket.accept"
    await visitor.leave()


async def test_a_full_room_says_so() -> None:
    visitors = [Visitor() for _ in range(MAX_VISITORS)]
    await visitors[-1].settle()
    late = Visitor()
    await asyncio.wait_for(late.task, PATIENCE)
    assert late.sent[-1]["code"] == 1013
    for visitor in visitors:
        visitor.task.cancel()
    await asyncio.gather(*(visitor.task for visitor in visitors), return_exceptions=True)
    assert not demo_chat._room._visitors


async def test_who_does_not_read_is_shown_out_and_keeps_nobody_waiting() -> None:
    slow, quick = Visitor(), Visitor()
    await quick.settle()
    slow.reads.clear()
    for number in range(MAX_WAITING + 5):
        await quick.say(str(number))
    assert quick.told[-1]["said"] == str(MAX_WAITING + 4)
    slow.reads.set()
    await slow.settle()
    assert slow.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "too slow"}
    await slow.leave()
    await quick.leave()


async def test_a_visitor_who_is_gone_is_no_trouble() -> None:
    gone, other = Visitor(), Visitor()

    await other.settle()
    gone.is_gone = True
    await other.say("anybody?")
    await gone.leave()
    assert other.told[-1]["did"] == "has left"
    await other.leave()

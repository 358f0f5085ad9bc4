"""A thread runs ahead of its client so far and no further."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from asgibridge.errors import ClientDisconnected
from asgibridge.net.flow import POST_HIGH_WATER, ThreadFlow

if TYPE_CHECKING:
    from asgibridge.net.exchange import Exchange


class FakeExchange:
    is_gone = False


class Poster:
    """A thread that asks for room once; `is_through` tells when it got it."""

    def __init__(self, flow: ThreadFlow, size: int) -> None:
        self.exchange = FakeExchange()
        self.is_through = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(flow, size), daemon=True)
        self.thread.start()

    def _run(self, flow: ThreadFlow, size: int) -> None:
        try:
            flow.wait_for_room(cast("Exchange", self.exchange), size)
        except ClientDisconnected as error:
            self.error = error
        self.is_through.set()


def test_thread_waits_above_the_mark_until_the_loop_has_taken_its_part() -> None:
    flow = ThreadFlow()
    assert Poster(flow, POST_HIGH_WATER).is_through.wait(5)
    second = Poster(flow, 1)
    assert not second.is_through.wait(0.02)
    flow.delivered(POST_HIGH_WATER, is_blocked=False)
    assert second.is_through.wait(5)


def test_thread_waits_while_the_transport_keeps_its_part() -> None:
    """[WSGI-4]: delivered to a client that does not read is not delivered."""
    flow = ThreadFlow()
    assert Poster(flow, POST_HIGH_WATER).is_through.wait(5)
    flow.delivered(POST_HIGH_WATER, is_blocked=True)
    second = Poster(flow, 1)
    assert not second.is_through.wait(0.02)
    flow.unblock()
    assert second.is_through.wait(5)


@pytest.mark.parametrize("is_waiting", [True, False])
def test_end_is_told_to_the_thread(*, is_waiting: bool) -> None:
    """[WSGI-4]: waiting or coming later."""
    flow = ThreadFlow()
    assert Poster(flow, POST_HIGH_WATER).is_through.wait(5)
    if is_waiting:
        second = Poster(flow, 1)
        flow.end()
    else:
        flow.end()
        second = Poster(flow, 1)
    assert second.is_through.wait(5)
    assert isinstance(second.error, ClientDisconnected)


def test_client_that_left_before_the_loop_knew_of_the_flow_is_noticed() -> None:
    flow = ThreadFlow()
    assert Poster(flow, POST_HIGH_WATER).is_through.wait(5)
    second = Poster(flow, 1)
    second.exchange.is_gone = True
    assert second.is_through.wait(5)
    assert isinstance(second.error, ClientDisconnected)

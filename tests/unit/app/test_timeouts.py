"""Calls that wait or run too long, with a wheel and a clock in the test's hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pytest
from support.fakes_exchange import FakeExchange

from asgibridge.app.timeouts import Stage, Timekeeper, WsgiTimeouts

if TYPE_CHECKING:
    from asgibridge.interfaces import Exchange

NEVER: Final = float("inf")


class Call:
    def __init__(self) -> None:
        self.fake = FakeExchange()
        self.exchange: Exchange = self.fake
        self.stage = Stage.QUEUED
        self.queued = 0.0
        self.started = 0.0
        self.thread_ident = 0


class Wheel:
    """Time that the test moves; it calls on time, and clears what it calls for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls = 0

    def set(self, entry: Timekeeper[Call], when: float) -> None:
        entry.deadline = when

    def turn(self, keeper: Timekeeper[Call], seconds: float) -> None:
        """Let *seconds* pass."""
        end = self.now + seconds
        while keeper.deadline <= end:
            self.now = max(self.now, keeper.deadline)
            keeper.deadline = NEVER
            self.calls += 1
            keeper.on_deadline(self.now)
            assert keeper.deadline > self.now, "a deadline that does not move on"
        self.now = end


class Scene:
    def __init__(self, queue: float | None, request: float | None) -> None:
        self.wheel = Wheel()
        self.overdue: list[Call] = []
        self.keeper: Timekeeper[Call] = Timekeeper(
            WsgiTimeouts(queue=queue, request=request),
            self.wheel,
            lambda: self.wheel.now,
            self.overdue.append,
        )

    def queue(self) -> Call:
        call = Call()
        self.keeper.note_queued(call)
        return call


@pytest.mark.parametrize("request_timeout", [None, 1.0, 10.0])
def test_waiting_is_bounded_to_the_moment(request_timeout: float | None) -> None:
    """[WSGI-6] Whatever the other timeout is."""
    scene = Scene(5.0, request_timeout)
    first = scene.queue()
    scene.wheel.turn(scene.keeper, 2.0)
    second = scene.queue()
    scene.wheel.turn(scene.keeper, 2.9)
    assert not first.fake.is_over
    scene.wheel.turn(scene.keeper, 0.2)
    assert [first.fake.failed, second.fake.failed] == [503, None]
    scene.wheel.turn(scene.keeper, 2.0)
    assert second.fake.failed == 503
    assert not scene.keeper.try_begin(first)


@pytest.mark.parametrize("queue_timeout", [None, 0.5, 100.0])
def test_running_is_bounded_to_the_moment(queue_timeout: float | None) -> None:
    """[WSGI-7] Counted from when the thread began, however long the call had waited."""
    scene = Scene(queue_timeout, 5.0)
    call = scene.queue()
    scene.wheel.turn(scene.keeper, 0.4)
    assert scene.keeper.try_begin(call)
    scene.wheel.turn(scene.keeper, 4.9)
    assert call.fake.failed is None
    scene.wheel.turn(scene.keeper, 0.2)
    assert call.fake.failed == 504
    assert scene.overdue == [call]
    assert call.thread_ident == threading.get_ident()
    scene.wheel.turn(scene.keeper, 100.0)
    assert scene.overdue == [call], "told once"
    scene.keeper.end(call)
    assert scene.keeper.overdue == set()


def test_calls_that_end_in_time_leave_nothing_behind() -> None:
    """No entry of its own for each call: the memory of an answered one is free at once."""
    scene = Scene(5.0, 5.0)
    for _ in range(1000):
        call = scene.queue()
        assert scene.keeper.try_begin(call)
        scene.keeper.end(call)
        scene.wheel.turn(scene.keeper, 0.01)
    assert len(scene.keeper._waiting) <= 1
    assert scene.keeper._running == set()
    assert scene.wheel.calls <= 3
    scene.wheel.turn(scene.keeper, 10.0)
    assert scene.keeper.deadline == NEVER
    assert (scene.overdue, call.fake.failed) == ([], None)


def test_call_whose_client_left_is_not_answered_for() -> None:
    scene = Scene(5.0, None)
    call = scene.queue()
    call.fake.leave()
    scene.wheel.turn(scene.keeper, 10.0)
    assert call.fake.failed is None
    assert scene.keeper.deadline == NEVER


def test_thread_that_is_stuck_counts_though_its_client_left() -> None:
    """[WSGI-7] It is the thread that is missing."""
    scene = Scene(None, 5.0)
    call = scene.queue()
    scene.keeper.try_begin(call)
    call.fake.leave()
    scene.wheel.turn(scene.keeper, 6.0)
    assert scene.keeper.overdue == {call}

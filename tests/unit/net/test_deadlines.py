"""Corners of the wheel; test_deadlines_model.py has them in any mixture."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from support.fakes import FakeLoop

from asgibridge.net.deadlines import GRANULARITY, NEVER, Deadlines

if TYPE_CHECKING:
    import pytest


class Alarm:
    def __init__(self, *, fails: bool = False) -> None:
        self.deadline = NEVER
        self.slot: int | None = None
        self.fired: list[float] = []
        self._fails = fails

    def on_deadline(self, now: float) -> None:
        self.fired.append(now)
        if self._fails:
            raise ValueError("a fault")


def test_moving_a_deadline_later_sets_no_timer() -> None:
    """The hot path: it happens with every request on a kept-alive connection."""
    loop = FakeLoop()
    wheel, alarm = Deadlines(loop.as_loop()), Alarm()
    wheel.set(alarm, loop.now + 1.0)
    (timer,) = loop.timers()
    wheel.set(alarm, loop.now + 2.0)
    assert loop.timers() == [timer]
    loop.advance(1.5)
    assert alarm.fired == []
    loop.advance(0.5 + GRANULARITY)
    assert len(alarm.fired) == 1


def test_nothing_wakes_the_loop_for_deadlines_that_were_removed() -> None:
    loop = FakeLoop()
    wheel = Deadlines(loop.as_loop())
    first, second, third, last = (Alarm() for _ in range(4))
    for alarm, delay in ((first, 0.1), (second, 0.1), (third, 0.2), (last, 0.3)):
        wheel.set(alarm, loop.now + delay)
    (timer,) = loop.timers()
    wheel.remove(third)
    wheel.remove(first)
    assert loop.timers() == [timer]  # for the second
    wheel.remove(second)
    (timer,) = loop.timers()
    assert timer.when > loop.now + 0.3 - GRANULARITY  # for the last
    loop.advance(0.3 + GRANULARITY)
    assert [len(each.fired) for each in (first, second, third, last)] == [0, 0, 0, 1]
    wheel.set(first, loop.now + 0.1)
    wheel.remove(first)
    assert loop.timers() == []


def test_moving_a_deadline_earlier_fires_earlier() -> None:
    loop = FakeLoop()
    wheel, alarm = Deadlines(loop.as_loop()), Alarm()
    wheel.set(alarm, loop.now + 10.0)
    wheel.set(alarm, loop.now + 0.1)
    loop.advance(0.1 + GRANULARITY)
    assert len(alarm.fired) == 1


def test_thousands_of_entries_share_a_timer() -> None:
    loop = FakeLoop()
    wheel = Deadlines(loop.as_loop())
    alarms = [Alarm() for _ in range(2000)]
    for alarm in alarms:
        wheel.set(alarm, loop.now + 5.0)
    assert len(loop.timers()) == 1
    loop.advance(5.0 + GRANULARITY)
    assert all(len(alarm.fired) == 1 for alarm in alarms)
    assert loop.timers() == []


def test_failing_entry_does_not_take_the_timeouts_of_others_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = FakeLoop()
    wheel = Deadlines(loop.as_loop())
    alarms = [Alarm(fails=True), Alarm(), Alarm()]
    for alarm in alarms:
        wheel.set(alarm, loop.now + 0.1)
    late = Alarm()
    wheel.set(late, loop.now + 1.0)
    with caplog.at_level(logging.ERROR, logger="asgibridge"):
        loop.advance(1.1)
    assert all(len(alarm.fired) == 1 for alarm in [*alarms, late])
    assert len(caplog.records) == 1


def test_loop_that_calls_early_is_waited_for() -> None:
    """libuv rounds to its millisecond; an entry is put back rather than looked at for ever."""
    loop = FakeLoop(early=0.02)
    wheel, alarm = Deadlines(loop.as_loop()), Alarm()
    when = loop.now + 4 * GRANULARITY
    wheel.set(alarm, when)
    loop.now = when - 0.01
    loop.run_one()
    assert (alarm.fired, len(loop.timers())) == ([], 1)
    loop.now = when
    loop.run_one()
    assert alarm.fired == [when]


def test_closed_wheel_forgets_all() -> None:
    loop = FakeLoop()
    wheel, alarm = Deadlines(loop.as_loop()), Alarm()
    wheel.set(alarm, loop.now + 0.1)
    wheel.close()
    loop.advance(1.0)
    assert (alarm.fired, alarm.slot) == ([], None)
    wheel.remove(alarm)

"""The wheel of timeouts: no deadline fires early, none late, none after it was moved or removed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from support.fakes import FakeLoop

from asgibridge.net.deadlines import GRANULARITY, NEVER, Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds by which a deadline may fire early: a loop's own rounding.
EARLY = 0.002

names = st.integers(0, 5)
delays = st.floats(0.0, 0.3) | st.sampled_from([0.0, GRANULARITY, 4 * GRANULARITY, 1.0])


class Alarm:
    """An entry that does something of its own when it fires.

    Attributes:
        expected: when it has to fire; None if it must not.
    """

    def __init__(self, fired: Callable[[Alarm, float], None]) -> None:
        self.deadline = NEVER
        self.slot: int | None = None
        self.expected: float | None = None
        self.then: Callable[[], None] | None = None
        self._fired = fired

    def on_deadline(self, now: float) -> None:
        self._fired(self, now)


class WheelModel(RuleBasedStateMachine):
    """Sets, moves and removes deadlines while a loop turns that may be early or late."""

    @initialize(early=st.sampled_from([0.0, 0.001, EARLY]), start=st.floats(0.0, 1e5))
    def begin(self, early: float, start: float) -> None:
        self.loop = FakeLoop(now=start, early=early)
        self.wheel = Deadlines(self.loop.as_loop())
        self.alarms = [Alarm(self.on_fired) for _ in range(6)]

    def on_fired(self, alarm: Alarm, now: float) -> None:
        assert alarm.expected is not None, "fired though moved, removed or fired before"
        assert now >= alarm.expected - EARLY - 1e-9, "fired early"
        assert alarm.deadline == NEVER
        alarm.expected = None
        then, alarm.then = alarm.then, None
        if then is not None:
            then()

    def set(self, name: int, delay: float) -> None:
        alarm = self.alarms[name]
        alarm.expected = self.loop.now + delay
        self.wheel.set(alarm, alarm.expected)

    def remove(self, name: int) -> None:
        self.alarms[name].expected = None
        self.wheel.remove(self.alarms[name])

    def fail(self) -> None:
        raise ValueError("a fault in one entry")

    @rule(name=names, delay=delays)
    def deadline_is_set_or_moved(self, name: int, delay: float) -> None:
        self.set(name, delay)

    @rule(name=names)
    def entry_is_removed(self, name: int) -> None:
        self.remove(name)

    @rule(name=names, other=names, delay=delays)
    def entry_sets_another_when_it_fires(self, name: int, other: int, delay: float) -> None:
        self.alarms[name].then = lambda: self.set(other, delay)

    @rule(name=names, other=names)
    def entry_removes_another_when_it_fires(self, name: int, other: int) -> None:
        self.alarms[name].then = lambda: self.remove(other)

    @rule(name=names)
    def entry_fails_when_it_fires(self, name: int) -> None:
        self.alarms[name].then = self.fail

    @rule(seconds=delays)
    def time_goes_by(self, seconds: float) -> None:
        """The loop calls each timer when it is due."""
        self.loop.advance(seconds)
        self.nothing_is_late()

    @rule(seconds=delays)
    def loop_is_held_up(self, seconds: float) -> None:
        """The loop calls nothing for a while, then all that is due."""
        self.loop.now += seconds
        self.loop.settle()
        self.nothing_is_late()

    def nothing_is_late(self) -> None:
        for alarm in self.alarms:
            assert alarm.expected is None or alarm.expected + GRANULARITY > self.loop.now - 1e-9

    @invariant()
    def one_timer_at_most_is_set(self) -> None:
        self.loop.due()
        assert len(self.loop.timers()) <= 1

    @invariant()
    def entries_know_their_slots(self) -> None:
        for alarm in self.alarms:
            if alarm.expected is not None:
                assert alarm.slot is not None
                assert alarm.slot <= math.ceil(alarm.deadline / GRANULARITY)


def test_deadlines_fire_once_and_in_time() -> None:
    run_state_machine_as_test(
        WheelModel,
        settings=settings(max_examples=150, stateful_step_count=50, deadline=None),
    )

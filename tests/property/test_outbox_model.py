"""The outbox: whatever threads and loop do, each delivery is made once, in order, by few wakes."""

from __future__ import annotations

import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.fakes import FakeLoop

from asgibridge.net.outbox import Outbox


class Parcel:
    def __init__(self, number: int, delivered: list[int], *, fails: bool) -> None:
        self._number = number
        self._delivered = delivered
        self._fails = fails

    def deliver(self) -> None:
        self._delivered.append(self._number)
        if self._fails:
            raise ValueError("trouble of one connection")


class Reposting(Parcel):
    """Posts another one while it is being delivered."""

    def __init__(self, box: Outbox, number: int, delivered: list[int], then: Parcel) -> None:
        super().__init__(number, delivered, fails=False)
        self._box = box
        self._then = then

    def deliver(self) -> None:
        super().deliver()
        self._box.post(self._then)


class OutboxModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.loop = FakeLoop()
        self.box = Outbox(self.loop.as_loop())
        self.posted = 0
        self.delivered: list[int] = []

    def next_number(self) -> int:
        self.posted += 1
        return self.posted

    @rule(fails=st.booleans())
    def thread_posts(self, *, fails: bool) -> None:
        self.box.post(Parcel(self.next_number(), self.delivered, fails=fails))

    @precondition(lambda self: self.box.is_empty())
    @rule()
    def delivery_posts(self) -> None:
        first = self.next_number()
        then = Parcel(self.next_number(), self.delivered, fails=False)
        self.box.post(Reposting(self.box, first, self.delivered, then))
        self.loop.run_one()

    @precondition(lambda self: self.loop.due())
    @rule()
    def loop_turns(self) -> None:
        self.loop.run_one()

    @invariant()
    def deliveries_are_in_order_and_none_is_stranded(self) -> None:
        assert self.delivered == list(range(1, len(self.delivered) + 1))
        wakes = len(self.loop.due())
        assert wakes == (0 if self.box.is_empty() else 1)

    def teardown(self) -> None:
        self.loop.settle()
        assert len(self.delivered) == self.posted


def test_each_delivery_is_made_once_and_in_order() -> None:
    run_state_machine_as_test(
        OutboxModel, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_posts_of_many_threads_all_arrive() -> None:
    """No wake is lost when threads post while the loop flushes."""
    loop = FakeLoop()
    box = Outbox(loop.as_loop())
    delivered: list[int] = []

    def post(first: int) -> None:
        for number in range(first, first + 200):
            box.post(Parcel(number, delivered, fails=False))

    threads = [threading.Thread(target=post, args=(first,)) for first in range(0, 1600, 200)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        loop.settle()
    loop.settle()
    assert sorted(delivered) == list(range(1600))

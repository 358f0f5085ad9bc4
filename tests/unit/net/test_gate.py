"""The counts of the gate, and what it refuses."""

from __future__ import annotations

import pytest
from support.fakes import FakeLoop, FakeMember

from asgibridge.net.gate import Full, Gate, Standing


def gate_with(count: int, *, max_in_flight: int | None = None) -> tuple[Gate, list[FakeMember]]:
    gate = Gate(worker_connections=3, max_in_flight=max_in_flight)
    members = [FakeMember(gate, FakeLoop()) for _ in range(count)]
    for member in members:
        gate.enter(member)
    return gate, members


def test_each_limit_fills_the_gate() -> None:
    """[GATE-1], [GATE-2]."""
    gate, _ = gate_with(2, max_in_flight=2)
    assert gate.full() is Full.MAX_IN_FLIGHT
    gate, _ = gate_with(3)
    assert gate.full() is Full.WORKER_CONNECTIONS


def test_full_gate_lets_nobody_in() -> None:
    gate, _ = gate_with(3)
    with pytest.raises(AssertionError, match="open=3/3"):
        gate.enter(FakeMember(gate, FakeLoop()))
    assert gate.open == 3


def test_nobody_enters_twice_or_leaves_without_having_entered() -> None:
    gate, (member,) = gate_with(1)
    with pytest.raises(AssertionError):
        gate.enter(member)
    gate.leave(member)
    with pytest.raises(AssertionError):
        gate.leave(member)
    with pytest.raises(AssertionError):
        gate.park(member, is_idle=True)
    assert (gate.open, gate.in_flight) == (0, 0)


def test_parked_member_makes_room_and_waking_takes_it_even_beyond_the_limit() -> None:
    gate, (first, _) = gate_with(2, max_in_flight=2)
    gate.park(first, is_idle=True)
    gate.enter(FakeMember(gate, FakeLoop()))
    gate.wake(first)
    gate.wake(first)
    assert (gate.in_flight, gate.full()) == (3, Full.WORKER_CONNECTIONS)
    assert not gate.has_idle


def test_held_places_are_missing_from_those_in_flight_until_they_are_given_back() -> None:
    """[WSGI-7] The thread of an overdue request is not free although its client has gone."""
    gate, (member,) = gate_with(1, max_in_flight=1)
    heard: list[bool] = []
    gate.watch(lambda *, is_closing: heard.append(is_closing))
    gate.hold()
    gate.leave(member)
    assert (gate.in_flight, gate.full()) == (0, Full.MAX_IN_FLIGHT)
    gate.release()
    assert gate.full() is None
    assert heard == [True, False]
    with pytest.raises(AssertionError, match=r"release\(\) without hold"):
        gate.release()


def test_idle_ones_stand_in_the_order_of_their_idleness() -> None:
    gate, (first, second, third) = gate_with(3)
    gate.park(first, is_idle=False)
    gate.park(third, is_idle=True)
    gate.park(second, is_idle=True)
    gate.park(first, is_idle=True)
    gate.stir(third)
    assert list(gate.longest_idle()) == [second, first]
    assert (gate.statistics().idle, gate.statistics().parked) == (2, 3)


def test_watcher_hears_of_parking_and_leaving_until_it_stops_watching() -> None:
    """[GATE-3]."""
    gate, (first, second) = gate_with(2)
    heard: list[bool] = []

    def on_change(*, is_closing: bool) -> None:
        heard.append(is_closing)

    gate.watch(on_change)
    gate.park(first, is_idle=True)
    gate.leave(first)
    gate.watch(None)
    gate.leave(second)
    assert heard == [False, True]
    assert second.standing is Standing.OUTSIDE


def test_gate_describes_itself() -> None:
    gate, _ = gate_with(1)
    assert repr(gate) == "<Gate open=1/3 in_flight=1/none>"

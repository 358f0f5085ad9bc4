"""Corners of accepting, one at a time; test_gate_model.py has them in any mixture."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

import pytest
from support.fakes import FakeLoop, FakeMember, FakeSocket, fake_listener

from asgibridge.net.acceptor import (
    RESOURCE_PAUSE,
    WORTH_LOGGING,
    Acceptor,
    AcceptorSettings,
    Watch,
)
from asgibridge.net.deadlines import Deadlines
from asgibridge.net.gate import Gate
from asgibridge.net.pauses import PauseReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgibridge.net.sockets import Listener


class Hall:
    """An acceptor with fake doors; `taken` says by which door each member came."""

    def __init__(
        self, doors: int, room: int, in_flight: int | None, batch: int, *, pauses_early: bool
    ) -> None:
        self.loop = FakeLoop()
        self.gate = Gate(worker_connections=room, max_in_flight=in_flight)
        self.doors = [FakeSocket() for _ in range(doors)]
        self.members: list[FakeMember] = []
        self.taken: list[int] = []
        loop = self.loop.as_loop()
        self._listeners = [fake_listener(door) for door in self.doors]
        self.acceptor = Acceptor(
            loop,
            self.gate,
            Deadlines(loop),
            self.admit,
            AcceptorSettings(batch=batch, pauses_early=pauses_early),
        )
        self.acceptor.open(self._listeners)

    def admit(self, _sock: object, _address: object, listener: Listener) -> None:
        member = FakeMember(self.gate, self.loop)
        self.gate.enter(member)
        self.members.append(member)
        self.taken.append(self._listeners.index(listener))

    def arrive(self, *doors: int) -> None:
        for door in doors:
            self.doors[door].arrive()


@pytest.fixture
def hall() -> Iterator[Callable[..., Hall]]:
    halls: list[Hall] = []

    def build(
        *,
        doors: int = 1,
        room: int = 1,
        in_flight: int | None = None,
        batch: int = 8,
        pauses_early: bool = False,
    ) -> Hall:
        halls.append(Hall(doors, room, in_flight, batch, pauses_early=pauses_early))
        return halls[-1]

    yield build
    for each in halls:
        for door in each.doors:
            door.close()


def test_listeners_stay_watched_until_somebody_cannot_be_taken(hall: Callable[..., Hall]) -> None:
    at = hall(room=1)
    at.arrive(0)
    at.loop.settle()
    assert at.acceptor.watch is Watch.WATCHING
    at.arrive(0)
    at.loop.settle()
    assert (at.acceptor.watch, at.acceptor.reason) == (
        Watch.PAUSED,
        PauseReason.WORKER_CONNECTIONS,
    )
    assert at.acceptor.is_contended()


def test_batch_bounds_what_one_event_takes(hall: Callable[..., Hall]) -> None:
    """[GATE-4]: of a burst, a process that shares the socket takes one at a time."""
    at = hall(room=10, batch=1)
    at.arrive(0, 0, 0)
    at.loop.run_one()
    assert len(at.members) == 1
    at.loop.settle()
    assert len(at.members) == 3


def test_doors_take_turns_as_room_comes(hall: Callable[..., Hall]) -> None:
    """[GATE-4]."""
    at = hall(doors=2, room=1)
    at.arrive(0, 0, 0, 0, 1, 1)
    at.loop.settle()
    for _ in range(5):
        at.members[-1].lose()
        at.loop.settle()
    assert sorted(at.taken[1:5]) == [0, 0, 1, 1]


def test_room_of_a_closing_socket_is_given_away_after_it_has_closed(
    hall: Callable[..., Hall],
) -> None:
    """[GATE-1]: in `leave` itself the socket is still open."""
    at = hall(room=1)
    at.arrive(0, 0)
    at.loop.settle()
    at.gate.leave(at.members[0])
    assert len(at.members) == 1
    at.loop.settle()
    assert len(at.members) == 2


def test_room_of_a_parked_member_is_given_away_at_once(hall: Callable[..., Hall]) -> None:
    """[GATE-3]."""
    at = hall(room=5, in_flight=1)
    at.arrive(0, 0)
    at.loop.settle()
    at.gate.park(at.members[0], is_idle=True)
    assert len(at.members) == 2


def test_nobody_is_evicted_when_the_waiting_client_has_gone(hall: Callable[..., Hall]) -> None:
    """[GATE-5]: and the gate listens again for the next one."""
    at = hall(room=1)
    at.arrive(0, 0)
    at.loop.run_one()
    at.gate.park(at.members[0], is_idle=True)
    at.doors[0].vanish()
    at.loop.settle()
    assert not at.members[0].is_evicted
    assert at.acceptor.watch is Watch.WATCHING
    at.arrive(0)
    at.loop.settle()
    assert at.members[0].is_evicted
    assert len(at.members) == 2


def test_idle_member_that_cannot_be_evicted_yet_is_looked_at_again(
    hall: Callable[..., Hall],
) -> None:
    """[GATE-5]: nothing tells when it has taken its last answer."""
    at = hall(room=1)
    at.arrive(0, 0)
    at.loop.settle()
    at.members[0].has_input = True
    at.gate.park(at.members[0], is_idle=True)
    at.loop.settle()
    at.members[0].has_input = False
    at.loop.advance(0.2)
    assert len(at.members) == 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_shortage_pauses_evicts_and_speaks_twice(
    hall: Callable[..., Hall], caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """[GATE-7]."""
    at = hall(room=5)
    at.arrive(0)
    at.loop.settle()
    at.gate.park(at.members[0], is_idle=True)
    at.doors[0].errors.extend(OSError(number, os.strerror(number)) for _ in range(3))
    at.arrive(0)
    with caplog.at_level(logging.INFO, logger="asgibridge"):
        at.loop.settle()
        assert at.acceptor.reason is PauseReason.RESOURCES
        assert at.members[0].is_evicted
        assert not at.acceptor.is_contended()
        at.loop.advance(3 * RESOURCE_PAUSE - 0.01)
        assert len(at.members) == 1
        at.loop.advance(0.02)
    assert len(at.members) == 2
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "cannot accept",
        "accepting again",
    ]
    assert at.acceptor.times.seconds[PauseReason.RESOURCES] == pytest.approx(0.3)


def test_shortage_met_while_room_is_given_away_lasts_its_time(hall: Callable[..., Hall]) -> None:
    """[GATE-7]: the loop must not try again at once, and not with each listener."""
    at = hall(doors=2, room=1)
    at.arrive(0, 0, 1)
    at.loop.settle()
    for door in at.doors:
        door.errors.append(OSError(errno.EMFILE, "full"))
    at.members[0].lose()
    at.loop.settle()
    assert at.acceptor.reason is PauseReason.RESOURCES
    assert sum(len(door.errors) for door in at.doors) == 1
    at.loop.advance(3 * RESOURCE_PAUSE)
    assert len(at.members) == 2


def test_client_that_broke_off_while_being_accepted_is_passed_over(
    hall: Callable[..., Hall],
) -> None:
    at = hall(room=5)
    at.doors[0].errors.append(OSError(errno.ECONNABORTED, "gone"))
    at.arrive(0)
    at.loop.settle()
    assert (len(at.members), at.acceptor.watch) == (1, Watch.WATCHING)


def test_long_pause_speaks_when_it_is_long_and_when_it_ends(
    hall: Callable[..., Hall], caplog: pytest.LogCaptureFixture
) -> None:
    at = hall(room=1)
    at.arrive(0, 0)
    with caplog.at_level(logging.INFO, logger="asgibridge"):
        at.loop.advance(WORTH_LOGGING + 1.0)
        at.members[0].lose()
        at.loop.settle()
    assert [record.message for record in caplog.records] == [
        "gate full limit=worker_connections open=1 in_flight=1 paused=1.0s",
        "gate open paused=2.0s",
    ]
    assert at.acceptor.times.count == 1


def test_beside_others_the_last_place_ends_the_watching(hall: Callable[..., Hall]) -> None:
    """[GATE-3]: who comes for another process wakes nobody here; room is used as ever."""
    at = hall(room=9, in_flight=2, batch=1, pauses_early=True)
    at.arrive(0, 0)
    at.loop.settle()
    assert (at.acceptor.watch, at.acceptor.reason) == (Watch.PAUSED, PauseReason.MAX_IN_FLIGHT)
    assert not at.acceptor.is_contended()
    at.arrive(0)
    at.loop.settle()
    assert len(at.members) == 2
    at.gate.park(at.members[0], is_idle=True)
    assert len(at.members) == 3
    at.members[1].lose()
    at.loop.settle()
    assert at.acceptor.watch is Watch.WATCHING


def test_an_early_pause_is_no_news_until_somebody_waits(
    hall: Callable[..., Hall], caplog: pytest.LogCaptureFixture
) -> None:
    at = hall(room=9, in_flight=1, pauses_early=True)
    parked: list[float] = []
    at.acceptor.park_silent = lambda: parked.append(at.loop.time())
    at.arrive(0)
    with caplog.at_level(logging.INFO, logger="asgibridge"):
        at.loop.advance(3.0)
        assert not parked
        assert not caplog.records
        at.arrive(0)
        at.loop.advance(WORTH_LOGGING + 0.1)
    assert caplog.records[0].message.startswith("gate full limit=max_in_flight open=1 in_flight=1")


def test_silent_clients_are_parked_soon_if_somebody_waits_behind_an_early_pause(
    hall: Callable[..., Hall],
) -> None:
    """[GATE-5]."""
    at = hall(room=9, in_flight=1, pauses_early=True)
    parked: list[float] = []
    at.acceptor.park_silent = lambda: parked.append(at.loop.time())
    begun = at.loop.time()
    at.arrive(0, 0)
    at.loop.advance(0.2)
    assert len(parked) == 1
    assert parked[0] - begun < 0.06


def test_draining_takes_those_who_are_queued_as_room_comes(hall: Callable[..., Hall]) -> None:
    """[STOP-1]: nobody whom the kernel has let in is lost."""
    at = hall(room=1)
    at.arrive(0, 0, 0)
    at.loop.settle()
    drained: list[bool] = []
    at.acceptor.drain(lambda: drained.append(True), accept_queued=True)
    for _ in range(2):
        assert drained == []
        at.members[-1].lose()
        at.loop.settle()
    assert (len(at.members), drained) == (3, [])
    at.members[-1].lose()
    at.loop.settle()
    assert drained == [True]
    at.acceptor.close()
    at.acceptor.close()
    assert at.acceptor.watch is Watch.CLOSED


def test_draining_without_the_queue_is_over_at_once(hall: Callable[..., Hall]) -> None:
    at = hall(room=1)
    at.arrive(0)
    drained: list[bool] = []
    at.acceptor.drain(lambda: drained.append(True), accept_queued=False)
    assert (drained, at.members, at.loop.watched) == ([True], [], set())

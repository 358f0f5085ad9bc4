"""[GATE-1] to [GATE-5] and [GATE-7]: gate and acceptor under any interleaving of events.

A model of what the kernel sees (sockets that exist) stands beside the gate's own counts.  Callbacks
of the loop run in any order, so nothing may rest on the order in which a real loop calls.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

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
from support.fakes import FakeLoop, FakeMember, FakeSocket, fake_listener

from asgibridge.net.acceptor import (
    EVICTION_RETRY,
    RESOURCE_PAUSE,
    Acceptor,
    AcceptorSettings,
    Watch,
)
from asgibridge.net.deadlines import Deadlines
from asgibridge.net.gate import Full, Gate, Standing
from asgibridge.net.pauses import PauseReason

if TYPE_CHECKING:
    import pytest

    from asgibridge.net.sockets import Listener

picks = st.integers(0, 1000)


class GateModel(RuleBasedStateMachine):
    """Clients, a loop and an application, all of them free to do what they like."""

    @initialize(
        worker_connections=st.integers(1, 5),
        max_in_flight=st.none() | st.integers(1, 4),
        listeners=st.integers(1, 3),
        batch=st.sampled_from([1, 2, 8]),
        eviction_delay=st.sampled_from([0.0, 0.005]),
    )
    def start(
        self,
        *,
        worker_connections: int,
        max_in_flight: int | None,
        listeners: int,
        batch: int,
        eviction_delay: float,
    ) -> None:
        self.loop = FakeLoop()
        self.gate = Gate(worker_connections=worker_connections, max_in_flight=max_in_flight)
        self.sockets = [FakeSocket() for _ in range(listeners)]
        self.members: list[FakeMember] = []
        loop = self.loop.as_loop()
        self.acceptor = Acceptor(
            loop,
            self.gate,
            Deadlines(loop),
            self.admit,
            AcceptorSettings(batch=batch, eviction_delay=eviction_delay),
        )
        self.acceptor.open([fake_listener(sock) for sock in self.sockets])

    def admit(self, sock: object, address: object, listener: Listener) -> None:
        del sock, address, listener
        self.forget_closed()
        bound = self.gate.max_in_flight
        # The one just accepted is a socket already, and has not been counted yet.
        assert len(self.members) + 1 <= self.gate.worker_connections, "[GATE-1]"
        assert bound is None or self.gate.in_flight < bound, "[GATE-2]"
        member = FakeMember(self.gate, self.loop)
        self.gate.enter(member)
        self.members.append(member)

    def forget_closed(self) -> None:
        self.members = [member for member in self.members if member.is_socket_open]

    def pick(self, position: int, *standings: Standing) -> FakeMember | None:
        self.forget_closed()
        found = [each for each in self.members if each.standing in standings]
        return found[position % len(found)] if found else None

    # --- what the outside does

    @rule(position=picks, clients=st.integers(1, 4))
    def clients_arrive(self, position: int, clients: int) -> None:
        for _ in range(clients):
            self.sockets[position % len(self.sockets)].arrive()

    @rule(position=picks)
    def client_vanishes_or_goes_elsewhere(self, position: int) -> None:
        self.sockets[position % len(self.sockets)].vanish()

    @rule(
        position=picks,
        error=st.sampled_from([errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED]),
    )
    def accept_fails(self, position: int, error: int) -> None:
        self.sockets[position % len(self.sockets)].errors.append(OSError(error, os.strerror(error)))

    # --- what connections do

    @rule(position=picks, is_idle=st.booleans())
    def member_parks(self, position: int, *, is_idle: bool) -> None:
        if member := self.pick(position, Standing.IN_FLIGHT):
            self.gate.park(member, is_idle=is_idle)

    @rule(position=picks)
    def parked_member_becomes_idle(self, position: int) -> None:
        if member := self.pick(position, Standing.PARKED):
            self.gate.park(member, is_idle=True)

    @rule(position=picks)
    def member_stirs(self, position: int) -> None:
        if member := self.pick(position, Standing.PARKED):
            self.gate.stir(member)

    @rule(position=picks)
    def member_wakes(self, position: int) -> None:
        member = self.pick(position, Standing.PARKED)
        if member is not None and not member.is_evicted:
            member.has_input = False
            self.gate.wake(member)

    @rule(position=picks, has_input=st.booleans())
    def member_receives(self, position: int, *, has_input: bool) -> None:
        if member := self.pick(position, Standing.PARKED):
            member.has_input = has_input

    @rule(position=picks)
    def member_leaves(self, position: int) -> None:
        if member := self.pick(position, Standing.IN_FLIGHT, Standing.PARKED):
            member.lose()

    # --- what the loop does

    @precondition(lambda self: self.loop.due())
    @rule(position=picks)
    def loop_calls_one(self, position: int) -> None:
        self.loop.run_one(position)

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.1, 2.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.loop.now += seconds

    @rule()
    def loop_comes_to_rest(self) -> None:
        """[GATE-3]: never paused with room and clients waiting once nothing is due."""
        self.loop.settle()
        if self.acceptor.reason is PauseReason.RESOURCES:
            return
        assert not (self.somebody_waits() and self.gate.full() is None)

    @rule()
    def a_while_goes_by(self) -> None:
        """[GATE-5], [GATE-7]: idle members and past shortages lock nobody out."""
        for sock in self.sockets:
            sock.errors.clear()
        self.loop.advance(max(RESOURCE_PAUSE, EVICTION_RETRY) + 0.1)
        assert self.acceptor.reason is not PauseReason.RESOURCES, "[GATE-7]"
        if not self.somebody_waits():
            return
        assert self.acceptor.watch is Watch.PAUSED
        assert self.gate.full() is not None, "[GATE-3]"
        if self.gate.full() is Full.WORKER_CONNECTIONS:
            idle = [each for each in self.gate.longest_idle() if isinstance(each, FakeMember)]
            assert all(member.has_input for member in idle), "[GATE-5]"

    def somebody_waits(self) -> bool:
        return any(sock.waiting for sock in self.sockets)

    # --- what holds between any two of these

    @invariant()
    def counts_are_exact(self) -> None:
        self.forget_closed()
        gate = self.gate
        assert gate.open == len(self.members) <= gate.worker_connections, "[GATE-1]"
        in_flight = [each for each in self.members if each.standing is Standing.IN_FLIGHT]
        assert gate.in_flight == len(in_flight)
        assert gate.statistics().peak_open <= gate.worker_connections

    @invariant()
    def all_listeners_are_watched_or_none(self) -> None:
        expected = set(self.sockets) if self.acceptor.watch is Watch.WATCHING else set()
        assert self.loop.watched == expected
        assert (self.acceptor.reason is not None) == (self.acceptor.watch is Watch.PAUSED)

    @invariant()
    def time_paused_is_no_more_than_there_was(self) -> None:
        assert 0 <= sum(self.acceptor.times.seconds.values()) <= self.loop.now - 100.0 + 1e-6

    def teardown(self) -> None:
        for sock in getattr(self, "sockets", []):
            sock.close()


def test_gate_and_acceptor_keep_their_promises(caplog: pytest.LogCaptureFixture) -> None:
    """[GATE-1] to [GATE-5], [GATE-7]."""
    caplog.set_level(logging.CRITICAL, logger="asgibridge")
    run_state_machine_as_test(
        GateModel,
        settings=settings(max_examples=150, stateful_step_count=60, deadline=None),
    )

"""The lower half of a connection: back-pressure, timeouts of writing, the ways to close."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.connections import Rig

from asgibridge.net.gate import Standing
from asgibridge.net.link import HANDSHAKE_PATIENCE, LINGER_TIME, MAX_LINGERED
from asgibridge.net.wiring import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TIMEOUTS = Timeouts(write=1.0, keep_alive=5.0)


def test_closing_transport_is_held_to_the_write_timeout() -> None:
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        rig.handler.answer(b"x" * 100_000)
        assert rig.transport.calls == ["close"]
        assert rig.connection.standing is Standing.PARKED
        rig.loop.advance(0.9)
        rig.transport.client_reads(100)
        rig.loop.advance(0.9)
        assert rig.transport.calls == ["close"]
        rig.loop.advance(2.0)
        assert rig.transport.calls == ["close", "abort"]
        rig.lose()


def test_reading_most_of_it_while_closing_does_not_end_the_timeout() -> None:
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        rig.handler.answer(b"x" * 100_000)
        rig.transport.client_reads(99_000)
        assert not rig.connection.is_write_paused
        rig.loop.advance(3.0)
        assert rig.transport.calls[-1] == "abort"


def test_lingering_ends_our_half_and_the_connection_after_a_while() -> None:
    with Rig() as rig:
        rig.connection.data_received(b"broken\r\n\r\n")
        assert rig.statuses == [400]
        assert rig.transport.calls == ["write_eof"]
        rig.connection.data_received(b"more of it")
        rig.transport.client_reads()
        rig.loop.advance(LINGER_TIME + 0.1)
        assert rig.transport.calls == ["write_eof", "abort"]


def test_lingering_takes_so_much_and_no_more() -> None:
    with Rig() as rig:
        rig.connection.data_received(b"broken\r\n\r\n")
        rig.connection.data_received(b"x" * MAX_LINGERED)
        assert rig.transport.calls == ["write_eof"]
        rig.connection.data_received(b"x")
        assert rig.transport.calls == ["write_eof", "abort"]


def test_lingering_waits_for_an_answer_that_is_slow_to_leave() -> None:
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(b"broken\r\n\r\n")
        rig.loop.advance(LINGER_TIME + 0.5)
        assert rig.transport.calls == ["write_eof"]
        rig.transport.client_reads()
        rig.loop.advance(TIMEOUTS.write + 0.1)
        assert rig.transport.calls == ["write_eof", "abort"]


def test_end_of_the_client_ends_lingering() -> None:
    with Rig() as rig:
        rig.connection.data_received(b"broken\r\n\r\n")
        rig.transport.client_reads()
        assert rig.connection.eof_received() is False
        assert rig.transport.calls == ["write_eof", "close"]


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.EPIPE])
def test_client_that_has_reset_cannot_be_told_the_end(number: int) -> None:
    with Rig() as rig:
        rig.transport.shutdown_error = OSError(number, "gone")
        rig.connection.data_received(b"broken\r\n\r\n")
        assert rig.transport.calls == ["abort"]


def test_idle_connection_is_evicted_unless_something_came_or_is_unsent() -> None:
    """[GATE-5]."""
    with Rig() as rig:
        rig.connection.data_received(GET)
        assert not rig.connection.try_evict()
        rig.handler.answer(b"hello")
        assert not rig.connection.try_evict()
        rig.transport.client_reads()
        rig.far.send(b"G")
        assert not rig.connection.try_evict()
        rig.near.recv(1)
        assert rig.connection.try_evict()
        assert rig.transport.calls == ["close"]
        assert not rig.connection.try_evict()


def test_nobody_hears_what_is_written_to_a_closing_transport() -> None:
    with Rig() as rig:
        rig.transport.close()
        rig.connection.write([b"late"])
        assert rig.transport.buffered == b""


@contextmanager
def handshaking(**timeouts: float) -> Iterator[Rig]:
    """Begin a handshake on a transport that tells nothing."""
    rig = Rig(timeouts=Timeouts(**timeouts))
    transport: Any = rig.transport
    rig.connection.handshake_begun(transport)
    try:
        yield rig
        rig.lose()
    finally:
        rig.near.close()
        rig.far.close()


def test_handshake_stops_counting_then_becomes_idle_then_ends() -> None:
    """[GATE-2], [GATE-5]."""
    with handshaking(parking_delay=0.1, header=5.0) as rig:
        assert (rig.connection.scheme, rig.gate.in_flight) == ("https", 1)
        rig.loop.advance(0.2)
        assert (rig.gate.in_flight, rig.gate.statistics().idle) == (0, 0)
        rig.loop.advance(HANDSHAKE_PATIENCE)
        assert rig.gate.statistics().idle == 1
        assert rig.transport.calls == []
        rig.loop.advance(5.0)
        assert rig.transport.calls == ["abort"]


def test_late_handshake_can_be_evicted() -> None:
    """[GATE-5]."""
    with handshaking() as rig:
        rig.loop.advance(HANDSHAKE_PATIENCE + 0.2)
        (member,) = rig.gate.longest_idle()
        assert member.try_evict()
        assert rig.transport.calls == ["close"]


def test_client_that_was_parked_while_shaking_hands_is_idle_after_it() -> None:
    with handshaking(parking_delay=0.1, header=5.0) as rig:
        rig.loop.advance(0.2)
        facts: Any = object()
        transport: Any = rig.transport
        rig.connection.handshake_done(transport, facts)
        assert rig.gate.statistics().idle == 1
        rig.connection.data_received(GET[:5])
        assert rig.gate.statistics().idle == 0
        rig.connection.data_received(GET[5:])
        (exchange,) = rig.handler.exchanges
        assert (exchange.scheme, exchange.tls) == ("https", facts)


@pytest.mark.parametrize("is_tls", [False, True])
def test_thread_never_sends_beside_a_tls_transport(*, is_tls: bool) -> None:
    """It would send in the clear."""
    rig = Rig()
    rig.connection._may_send_directly = True  # as in a server for WSGI
    transport: Any = rig.transport
    facts: Any = object()
    if is_tls:
        rig.connection.handshake_begun(transport)
        rig.connection.handshake_done(transport, facts)
    else:
        rig.connect()
    rig.connection.data_received(GET)
    assert rig.connection.exchange is not None
    assert rig.connection.exchange.may_send_directly is not is_tls
    rig.lose()
    rig.near.close()
    rig.far.close()


def test_stop_leaves_a_young_handshake_its_time_and_no_more() -> None:
    """[STOP-1]."""
    with handshaking(parking_delay=0.1, header=30.0) as rig:
        rig.wiring.closes_idle = True
        rig.connection.drain()
        rig.loop.advance(0.5)
        assert rig.transport.calls == []
        rig.loop.advance(HANDSHAKE_PATIENCE)
        assert rig.transport.calls == ["abort"]


def test_handshake_of_a_connection_given_up_is_cut() -> None:
    rig = Rig()
    rig.lose()
    transport: Any = rig.transport
    rig.connection.handshake_begun(transport)
    assert rig.transport.calls == ["abort"]
    rig.near.close()
    rig.far.close()

"""The lower half of a connection: back-pressure, timeouts of writing, the ways to close."""

from __future__ import annotations

import errno

import pytest
from support.connections import Rig

from asgibridge.net.gate import Standing
from asgibridge.net.link import LINGER_TIME, MAX_LINGERED
from asgibridge.net.wiring import Timeouts

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

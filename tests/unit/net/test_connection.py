"""Odd moments in the life of a connection, one by one; integration/ has the usual ones."""

from __future__ import annotations

import pytest
from support.connections import Rig

from asgibridge.net.gate import Standing
from asgibridge.net.wiring import Timeouts

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
TIMEOUTS = Timeouts(parking_delay=0.1, header=2.0, body=1.0, write=3.0, keep_alive=5.0)


def test_connection_lost_without_a_transport_leaves_the_gate_once() -> None:
    rig = Rig()
    rig.connection.connection_lost(None)
    assert (rig.gate.open, rig.wiring.connections) == (0, set())
    # The loop gives it a transport all the same, and takes it away again.
    rig.connection.connection_made(rig.transport)
    assert rig.transport.calls == ["abort"]
    rig.connection.connection_lost(None)
    assert rig.gate.open == 0
    rig.__exit__()


def test_trouble_of_the_access_log_does_not_spoil_the_count() -> None:
    def fail(*_: object) -> None:
        raise ValueError("trouble")

    with Rig() as rig:
        rig.connection.data_received(GET)
        rig.wiring.on_ended = fail
        with pytest.raises(ValueError, match="trouble"):
            rig.lose()
        assert rig.gate.open == 0


@pytest.mark.parametrize("data", [b"", GET[:9], POST + b"part", GET, GET + GET, b"broken\r\n\r\n"])
@pytest.mark.parametrize("is_asgi", [True, False])
def test_connection_can_be_lost_or_drained_in_any_state(data: bytes, *, is_asgi: bool) -> None:
    for drains in (False, True):
        with Rig(wants_whole_body=not is_asgi) as rig:
            if data:
                rig.connection.data_received(data)
            rig.wiring.is_draining = drains
            if drains:
                rig.connection.drain()
                if rig.handler.exchanges:
                    rig.handler.answer()
            rig.lose()
            assert (rig.gate.open, rig.gate.in_flight, rig.wiring.connections) == (0, 0, set())
            if rig.handler.exchanges:
                assert rig.handler.exchanges[0].is_gone
            rig.loop.advance(100.0)
            assert rig.loop.timers() == []


def test_drained_connection_says_close_and_closes() -> None:
    with Rig() as rig:
        rig.connection.data_received(GET)
        rig.wiring.is_draining = True
        rig.connection.drain()
        rig.handler.answer()
        assert b"Connection: close\r\n" in rig.transport.buffered
        assert rig.transport.calls == ["close"]


def test_drained_idle_connection_closes_behind_its_last_answer() -> None:
    """What is unsent is sent first, under the write timeout."""
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(GET)
        rig.handler.answer(b"hello")
        rig.wiring.is_draining = True
        rig.connection.drain()
        assert rig.transport.calls == ["close"]
        rig.loop.advance(4.0)
        assert rig.transport.calls == ["close", "abort"]


def test_silent_connection_is_parked_then_closed_without_a_word() -> None:
    """[GATE-2]."""
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.loop.advance(0.2)
        assert (rig.connection.standing, rig.gate.has_idle) == (Standing.PARKED, True)
        rig.loop.advance(2.0)
        assert (rig.transport.calls, rig.statuses) == (["close"], [])


def test_silent_connection_is_parked_early_even_before_it_has_a_transport() -> None:
    """[GATE-5]: on a busy loop that takes a while; and later it may make way for others."""
    rig = Rig()
    assert rig.connection.is_fresh
    rig.connection.park_if_silent()
    assert (rig.gate.in_flight, rig.gate.statistics().idle) == (0, 0)
    with rig:
        rig.loop.advance(rig.wiring.timeouts.parking_delay + 0.1)
        assert (rig.gate.in_flight, rig.gate.statistics().idle) == (0, 1)
        rig.connection.data_received(GET)
        assert rig.gate.in_flight == 1
        rig.handler.answer(b"hello")
        rig.lose()


def test_part_of_a_head_takes_a_parked_connection_from_the_idle_ones() -> None:
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.loop.advance(1.5)
        rig.connection.data_received(GET[:9])
        assert not rig.gate.has_idle
        rig.loop.advance(1.9)
        assert rig.statuses == []
        rig.loop.advance(0.2)
        assert rig.statuses == [408]


def test_progress_of_a_head_does_not_put_its_deadline_off() -> None:
    with Rig(timeouts=TIMEOUTS) as rig:
        for position in range(len(GET) - 1):
            rig.connection.data_received(GET[position : position + 1])
            rig.loop.advance(0.1)
        assert rig.statuses == [408]


def test_body_timeout_begins_anew_after_a_slow_client_has_read() -> None:
    """While the client has to read first, only that is asked of it."""
    with Rig(wants_whole_body=False, timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(POST)
        (exchange,) = rig.handler.exchanges
        head = exchange.response.start(200, b"HTTP/1.1 200 OK\r\n", [])
        exchange.write([head, *exchange.response.piece(b"x" * 100_000)])
        assert exchange.must_wait()
        rig.connection.data_received(b"part")
        rig.loop.advance(2.0)
        assert rig.transport.calls == []
        rig.transport.client_reads()
        rig.loop.advance(1.2)
        assert rig.transport.calls == ["abort"]


def test_write_timeout_holds_though_the_client_goes_on_sending() -> None:
    with Rig(wants_whole_body=False, timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(POST)
        (exchange,) = rig.handler.exchanges
        head = exchange.response.start(200, b"HTTP/1.1 200 OK\r\n", [])
        exchange.write([head, *exchange.response.piece(b"x" * 100_000)])
        for _ in range(8):
            rig.connection.data_received(b"x")
            rig.loop.advance(0.4)
        assert rig.transport.calls == ["abort"]


def test_no_further_answer_goes_to_a_client_that_does_not_read() -> None:
    with Rig() as rig:
        rig.connection.data_received(GET + GET)
        rig.handler.answer(b"x" * 100_000)
        assert rig.handler.exchanges == []
        assert (rig.gate.in_flight, rig.gate.has_idle) == (0, False)
        assert rig.connection.eof_received() is True
        rig.transport.client_reads()
        assert rig.gate.in_flight == 1
        rig.handler.answer()
        assert rig.statuses == [200, 200]
        assert rig.transport.calls == ["close"]


def test_end_of_an_idle_client_closes_under_the_write_timeout() -> None:
    with Rig(timeouts=TIMEOUTS) as rig:
        rig.connection.data_received(GET)
        rig.handler.answer(b"hello")
        assert rig.connection.eof_received() is False
        rig.loop.advance(4.0)
        assert rig.transport.calls == ["close", "abort"]


def test_end_in_an_unwanted_body_gets_no_second_answer() -> None:
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(POST + b"part")
        rig.handler.answer()
        rig.connection.eof_received()
        assert rig.statuses == [200]
        assert rig.transport.calls == ["close"]


def test_unwanted_body_is_thrown_away_and_the_connection_serves_on() -> None:
    with Rig(wants_whole_body=False) as rig:
        rig.connection.data_received(POST + b"part")
        rig.handler.answer()
        rig.connection.data_received(b" done!" + GET)
        rig.handler.answer()
        assert rig.statuses == [200, 200]


def test_fault_while_a_request_is_read_does_not_spoil_the_parser_of_all() -> None:
    class Broken:
        def feed(self, _data: bytes) -> bytes:
            raise RuntimeError("a fault")

    with Rig() as rig:
        rig.wiring.parser = Broken()  # type: ignore[assignment]
        with pytest.raises(RuntimeError):
            rig.connection.data_received(GET)
        rig.connection.data_received(GET)
        assert len(rig.handler.exchanges) == 1


def test_file_is_not_sent_behind_a_head_that_was_cut() -> None:
    with Rig() as rig:
        rig.connection.data_received(GET)
        rig.connection.cut("the server stopped")
        assert rig.transport.calls == ["abort"]
        assert (rig.wiring.counters.requests, rig.wiring.counters.cut) == (1, 1)

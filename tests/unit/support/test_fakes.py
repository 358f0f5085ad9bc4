"""The fakes behave as what they stand for."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import pytest
from support.fakes import FakeLoop, FakeMember, FakeSocket, FakeTransport, fake_listener

from asgibridge.net.gate import Gate, Standing
from asgibridge.net.sockets import has_waiting_client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sock() -> Iterator[FakeSocket]:
    fake = FakeSocket()
    yield fake
    fake.close()


def test_loop_calls_nothing_before_its_time() -> None:
    loop = FakeLoop()
    calls: list[str] = []
    loop.call_later(1.0, calls.append, "later")
    loop.call_soon(calls.append, "soon")
    loop.settle()
    assert calls == ["soon"]
    loop.advance(1.0)
    assert calls == ["soon", "later"]


def test_loop_calls_early_by_no_more_than_it_says() -> None:
    loop = FakeLoop(early=0.5)
    calls: list[str] = []
    loop.call_later(0.5, calls.append, "early")
    loop.call_later(0.6, calls.append, "not yet")
    loop.settle()
    assert calls == ["early"]


def test_cancelled_call_is_never_due() -> None:
    loop = FakeLoop()
    loop.call_soon(print).cancel()
    assert loop.due() == []


def test_any_of_those_due_can_be_picked() -> None:
    loop = FakeLoop()
    calls: list[int] = []
    for number in range(3):
        loop.call_soon(calls.append, number)
    loop.run_one(1)
    loop.run_one(1)
    assert calls == [1, 2]


def test_time_stands_still_at_each_timer_on_the_way() -> None:
    loop = FakeLoop(now=1.0)
    times: list[float] = []
    loop.call_later(0.5, lambda: times.append(loop.time()))
    loop.advance(2.0)
    assert (times, loop.time()) == ([1.5], 3.0)


def test_loop_that_spins_is_found_out() -> None:
    loop = FakeLoop()

    def again() -> None:
        loop.call_soon(again)

    again()
    with pytest.raises(AssertionError, match="spins"):
        loop.settle()


def test_closed_loop_refuses_calls_of_threads() -> None:
    loop = FakeLoop()
    loop.is_closed = True
    with pytest.raises(RuntimeError):
        loop.call_soon_threadsafe(print)


async def test_futures_are_those_of_the_real_loop() -> None:
    assert FakeLoop().create_future().get_loop() is asyncio.get_running_loop()


def test_reader_is_due_while_a_client_waits(sock: FakeSocket) -> None:
    loop = FakeLoop()
    loop.add_reader(sock, sock.accept)
    assert loop.due() == []
    sock.arrive()
    loop.settle()
    assert (sock.accepted, loop.due()) == (1, [])
    assert loop.remove_reader(sock)
    sock.arrive()
    assert (loop.due(), loop.watched) == ([], set())


def test_poll_sees_who_waits(sock: FakeSocket) -> None:
    listener = fake_listener(sock)
    assert not has_waiting_client(listener.socket)
    sock.arrive()
    assert has_waiting_client(listener.socket)
    sock.vanish()
    assert not has_waiting_client(listener.socket)
    with pytest.raises(BlockingIOError):
        sock.accept()


def test_error_of_accept_leaves_the_client_waiting(sock: FakeSocket) -> None:
    sock.errors.append(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    sock.arrive()
    with pytest.raises(OSError, match="Too many open files"):
        sock.accept()
    assert sock.waiting == 1
    sock.accept()
    assert sock.waiting == 0


def test_socket_of_a_member_closes_after_it_has_left() -> None:
    loop = FakeLoop()
    gate = Gate(worker_connections=1, max_in_flight=None)
    member = FakeMember(gate, loop)
    gate.enter(member)
    assert member.try_evict()
    assert not member.try_evict()
    assert member.standing is Standing.IN_FLIGHT
    loop.settle()
    assert (member.standing, member.is_socket_open) == (Standing.OUTSIDE, False)


class Protocol:
    def __init__(self) -> None:
        self.events: list[str] = []

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


def test_transport_pauses_and_resumes_its_protocol() -> None:
    transport, protocol = FakeTransport(high_water=8), Protocol()
    transport.protocol = protocol
    transport.writelines([b"12345", b"67890"])
    transport.client_reads(5)
    assert (protocol.events, transport.sent, transport.get_write_buffer_size()) == (
        ["pause"],
        b"12345",
        5,
    )
    transport.client_reads()
    assert protocol.events == ["pause", "resume"]


def test_transport_refuses_writes_after_its_end() -> None:
    transport = FakeTransport()
    transport.write_eof()
    with pytest.raises(AssertionError, match="write_eof"):
        transport.write(b"late")
    transport.close()
    transport.close()
    with pytest.raises(AssertionError, match="closing"):
        transport.write(b"late")
    assert transport.calls == ["write_eof", "close"]
    assert not transport.is_reading()

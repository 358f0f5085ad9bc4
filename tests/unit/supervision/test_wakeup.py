"""Sleep ends with a signal, with something to read, and in time."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from asgibridge.supervision import wakeup as module
from asgibridge.supervision.wakeup import Wakeup

if TYPE_CHECKING:
    import pytest


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


def test_a_signal_ends_the_wait_and_is_collected() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    wakeup = Wakeup([signal.SIGUSR1, signal.SIGUSR2])
    wakeup.open()
    try:
        assert wakeup.take_signals() == []
        os.kill(os.getpid(), signal.SIGUSR2)
        wakeup.wait([], soon(30))
        os.kill(os.getpid(), signal.SIGUSR1)
        assert wakeup.take_signals() == [signal.SIGUSR2, signal.SIGUSR1]
        assert wakeup.take_signals() == []
    finally:
        wakeup.close()
    assert before == signal.getsignal(signal.SIGUSR2)


def test_who_has_something_to_say_is_named() -> None:
    wakeup = Wakeup([signal.SIGUSR1])
    wakeup.open()
    speaker, listener = socket.socketpair()
    silent, closed = socket.socket(), socket.socket()
    closed.close()
    with speaker, listener, silent:
        speaker.send(b"x")
        assert listener.fileno() in wakeup.wait([listener, closed], soon(30))
        assert speaker.fileno() not in wakeup.wait([speaker, listener], soon(30))
    wakeup.close()


def test_the_wait_is_bounded() -> None:
    wakeup = Wakeup([signal.SIGUSR1])
    wakeup.open()
    assert set() == wakeup.wait([], soon(0.001))
    wakeup.close()


def test_quiet_ticks_end_the_wait_only_if_a_look_gives_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    seen: list[float] = []

    def look(now: float) -> bool:
        seen.append(now)
        return len(seen) == 3

    wakeup = Wakeup([signal.SIGUSR1])
    wakeup.open()
    assert set() == wakeup.wait([], soon(30), look)
    assert len(seen) == 3
    assert all(late - early >= 0.01 for early, late in itertools.pairwise(seen))
    wakeup.close()


def test_no_look_is_taken_before_it_is_due_again() -> None:
    seen: list[float] = []
    wakeup = Wakeup([signal.SIGUSR1])
    wakeup.open()

    def look(now: float) -> bool:
        seen.append(now)
        return False

    for _ in range(3):
        wakeup.wait([], 0.0, look)
    assert len(seen) == 1
    wakeup.close()


def test_closing_what_was_never_opened_does_nothing() -> None:
    Wakeup([signal.SIGUSR1]).close()

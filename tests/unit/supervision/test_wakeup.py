"""Sleep ends with a signal, with something to read, and in time."""

from __future__ import annotations

import os
import signal
import socket

from asgibridge.supervision.wakeup import Wakeup


def test_a_signal_ends_the_wait_and_is_collected() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    wakeup = Wakeup([signal.SIGUSR1, signal.SIGUSR2])
    wakeup.open()
    try:
        assert wakeup.take_signals() == []
        os.kill(os.getpid(), signal.SIGUSR2)
        wakeup.wait([], 30)
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
        assert listener.fileno() in wakeup.wait([listener, closed], 30)
        assert speaker.fileno() not in wakeup.wait([speaker, listener], 30)
    wakeup.close()


def test_the_wait_is_bounded() -> None:
    wakeup = Wakeup([signal.SIGUSR1])
    wakeup.open()
    assert set() == wakeup.wait([], 0.001)
    wakeup.close()


def test_closing_what_was_never_opened_does_nothing() -> None:
    Wakeup([signal.SIGUSR1]).close()

"""Signals reach a thread of their own, beside the handlers of Python."""

from __future__ import annotations

import queue
import signal
import threading

from asgibridge.process.signals import SignalRelay


def test_each_signal_is_told_with_its_number_and_its_handler_is_called() -> None:
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    try:
        relay = SignalRelay(heard.put)
        try:
            signal.raise_signal(signal.SIGUSR1)
            assert heard.get(timeout=5) == signal.SIGUSR1
        finally:
            relay.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]


def test_the_descriptor_of_before_is_given_back() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    SignalRelay(lambda _: None).close()
    assert signal.set_wakeup_fd(before) == before


def test_nothing_is_told_after_the_close() -> None:
    """Not even late: whoever closes has called off what a signal began."""
    is_closed = False
    told_late: list[int] = []

    def on_signal(number: int) -> None:
        slow.wait(0.2)
        if is_closed:
            told_late.append(number)

    slow = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        relay = SignalRelay(on_signal)
        signal.raise_signal(signal.SIGUSR1)
        relay.close()
        is_closed = True
        assert slow.wait(0.3) is False
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told_late == []

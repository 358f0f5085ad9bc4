"""Hear of signals even while the main thread runs code in C that never comes back.

Python calls its signal handlers in the main thread, between two instructions of Python.  A database
driver that waits for a dead server inside the loop keeps it from ever getting there.  But the C
part of the handler writes a byte to a descriptor, and that can be read by another thread.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SignalRelay"]

# Seconds for the thread to read what is left; it needs none of them.
_END_TIME: Final = 1.0


class SignalRelay:
    """Calls *on_signal* with the number of each signal, in a thread of its own.

    The handlers of `signal.signal` are still called as well, by the main thread, when it can.
    """

    def __init__(self, on_signal: Callable[[int], None]) -> None:
        """Start the thread.  Thread: main, while its loop runs (loops set a descriptor too)."""
        self._on_signal = on_signal
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._relay, name="asgibridge-signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the descriptor of before back, and end the thread.  Thread: main.

        *on_signal* is not called any more afterwards, not even for a signal of a moment ago.
        """
        if signal.set_wakeup_fd(self._before) != self._writer:
            signal.set_wakeup_fd(-1)  # somebody has set another meanwhile, and is gone as well
        os.close(self._writer)
        self._thread.join(_END_TIME)

    def _relay(self) -> None:
        while numbers := os.read(self._reader, 64):
            for number in numbers:
                self._on_signal(number)
        os.close(self._reader)

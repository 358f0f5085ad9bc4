"""Sleep until a descriptor is readable or a signal comes: poll(2) and a pipe, without a loop."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Readable", "Wakeup"]


class Readable(Protocol):
    """Something with a descriptor."""

    def fileno(self) -> int:
        """Tell the descriptor; -1 when closed."""


class Wakeup:
    """Waits, and collects signals meanwhile.  Thread: main."""

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        """Be ready to collect *signals*; nothing is changed before `open`."""
        self._signals = signals
        self._reader = -1
        self._writer = -1
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1

    def open(self) -> None:
        """Handle the signals from now on."""
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._signals:
            # A handler in Python is what makes the C part write to the descriptor.
            self._before[number] = signal.signal(number, lambda *_: None)

    def close(self) -> None:
        """Put everything back as it was before `open`."""
        if self._reader < 0:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.release()

    def release(self) -> None:
        """Close the pipe; in a child, which has its own signals, nothing else."""
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1

    def wait(self, others: Sequence[Readable], seconds: float) -> set[int]:
        """Sleep until a signal has come, one of *others* is readable, or *seconds* are over.

        Returns:
            The descriptors of those that are readable.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        for other in others:
            if other.fileno() >= 0:
                poll.register(other.fileno(), select.POLLIN)
        # Rounded up: a poll that ends early would only be repeated.
        return {descriptor for descriptor, _ in poll.poll(math.ceil(seconds * 1000))}

    def take_signals(self) -> list[int]:
        """Return the numbers of the signals that have come, in their order."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._reader, 4096))
        return []

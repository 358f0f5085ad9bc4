"""Sleep until a descriptor is readable or a signal comes: poll(2) and a pipe, without a loop."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

__all__ = ["TICK", "Readable", "Wakeup", "ending_at_once"]

logger = logging.getLogger("asgibridge")

TICK: Final = 1.0
"""Seconds between two looks while nothing happens."""

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@contextlib.contextmanager
def ending_at_once(clean_up: Callable[[], None]) -> Iterator[None]:
    """Have signals that ask for a stop end the process, cleanly, while the block runs.

    For an import that nobody can be asked to break off, before anybody is served.  As process 1 of
    a container the process would not even hear of them without handlers.  Thread: main.
    """

    def end(number: int, _: FrameType | None) -> None:
        logger.info("stopped before the start was complete signal=%s", signal.Signals(number).name)
        try:
            clean_up()
            sys.stdout.flush()
        finally:
            os._exit(0)  # an exception might be taken for the import's

    before = {number: signal.signal(number, end) for number in _STOPPING}
    try:
        yield
    finally:
        _put_back(before)


def _put_back(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        # None stands for one that was not set by Python, and cannot be had again.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


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
        self._next_look = 0.0

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
        _put_back(self._before)
        self.release()

    def release(self) -> None:
        """Close the pipe; in a child, which has its own signals, nothing else."""
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1

    def wait(
        self,
        others: Sequence[Readable],
        until: float = math.inf,
        look: Callable[[float], bool] = lambda _: False,
    ) -> set[int]:
        """Sleep until a signal has come, one of *others* is readable, or it is *until*.

        Meanwhile *look* is called with the time once a `TICK`; what it returns says whether it has
        seen a reason to wake up.  That is all that a quiet second costs.  All times are
        `time.monotonic()`'s.

        Returns:
            The descriptors of those that are readable.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        for other in others:
            if other.fileno() >= 0:
                poll.register(other.fileno(), select.POLLIN)
        while True:
            seconds = max(0.0, min(until, self._next_look) - time.monotonic())
            # Rounded up: a poll that ends early would only be repeated.
            readable = poll.poll(math.ceil(seconds * 1000))
            now = time.monotonic()
            is_reason_seen = False
            if now >= self._next_look:
                self._next_look = now + TICK
                is_reason_seen = look(now)
            if readable or is_reason_seen or now >= until:
                return {descriptor for descriptor, _ in readable}

    def take_signals(self) -> list[int]:
        """Return the numbers of the signals that have come, in their order."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._reader, 4096))
        return []

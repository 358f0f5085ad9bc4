"""A thread that ends the process at a deadline, whatever the rest of it is doing.

The loop cannot be trusted with this: an application may block it, ignore cancellation, or leave
threads behind that the interpreter would join for ever.  Neither can the log: whoever reads it may
have stopped reading.  And neither can this thread be trusted alone: code in C may keep the GIL.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import posix
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgibridge.ops.stacks import format_all_threads

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Watchdog"]

logger = logging.getLogger("asgibridge")

# Seconds that the last words may take.
_REPORT_TIME: Final = 0.5
# Seconds behind the deadline at which `faulthandler` ends a process whose GIL nobody lets go.
_LAST_RESORT: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Order:
    deadline: float
    exit_code: int
    what: str
    may_postpone: bool

    def replaces(self, held: _Order) -> bool:
        """Say whether this one holds from now on, rather than the one *held*.

        The end of a start that takes too long is no order to stop: any such order takes its place.
        """
        return self.may_postpone or held.may_postpone or self.deadline < held.deadline


class Watchdog:
    """Waits for a deadline to be set, then for it to pass.

    `set` may be called from a signal handler: `queue.SimpleQueue.put` is made for that.
    """

    def __init__(self, before_end: Callable[[], None]) -> None:
        """Start the threads; they sleep until a deadline is set.

        *before_end* is called before the process is ended, in a thread of its own, to write what
        is still in memory.
        """
        self._before_end = before_end
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._has_last_resort = False
        # Started now: Python 3.12 starts no thread while it shuts down, which is when it matters.
        self._last_words: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._is_told = threading.Event()
        for target, name in ((self._watch, "watchdog"), (self._report, "last-words")):
            threading.Thread(target=target, name=f"asgibridge-{name}", daemon=True).start()

    def set(self, deadline: float, exit_code: int, what: str) -> None:
        """End the process with *exit_code* at *deadline* (`time.monotonic()`), for *what*.

        Replaces a deadline set before.  Thread: any, signal handlers too.
        """
        self._order(_Order(deadline, exit_code, what, may_postpone=True))

    def bring_forward(self, deadline: float, exit_code: int, what: str) -> None:
        """Do the same as `set`, unless what was ordered before is due earlier.  Thread: any."""
        self._order(_Order(deadline, exit_code, what, may_postpone=False))

    def call_off(self) -> None:
        """Forget the deadline; `set` may follow.  Thread: any."""
        self._orders.put(None)
        if self._has_last_resort:
            self._has_last_resort = False
            faulthandler.cancel_dump_traceback_later()

    def _order(self, order: _Order) -> None:
        self._orders.put(order)
        self._set_last_resort(max(0.0, order.deadline - time.monotonic()) + _LAST_RESORT)

    def _set_last_resort(self, seconds: float) -> None:
        """Have the process ended by a thread in C, which needs no GIL, with exit code 1."""
        stream = sys.__stderr__
        if stream is None:
            return  # nobody could be told where it hangs
        with contextlib.suppress(OSError, ValueError):  # no descriptor is behind it
            faulthandler.dump_traceback_later(seconds, exit=True, file=stream)
            self._has_last_resort = True

    def _watch(self) -> None:
        """Keep the order that holds.  All of them are compared here, in one thread."""
        held: _Order | None = None
        while True:
            try:
                wait = None if held is None else max(0.0, held.deadline - time.monotonic())
                order = self._orders.get(timeout=wait)
            except queue.Empty:
                assert held is not None  # noqa: S101 - only a deadline limits the wait
                self._end(held)
            else:
                if order is None or held is None or order.replaces(held):
                    held = order

    def _end(self, order: _Order) -> None:
        try:
            self._last_words.put(order.what)
            self._is_told.wait(_REPORT_TIME)
        finally:
            # Not `os._exit`: coverage and other instruments put code of their own in its place,
            # which may wait, or crash together with a main thread that is ending at this moment.
            posix._exit(order.exit_code)  # noqa: SLF001 - documented, as `os._exit`

    def _report(self) -> None:
        what = self._last_words.get()
        try:
            stacks = format_all_threads()
            logger.critical("%s: ending the process now; stacks follow\n%s", what, stacks)
            self._before_end()
            for handler in logging.getLogger("asgibridge").handlers:
                handler.flush()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        finally:
            self._is_told.set()

"""A thread that ends the process at a deadline, whatever the rest of it is doing.

The loop cannot be trusted with this: an application may block it, ignore cancellation, or leave
threads behind that the interpreter would join for ever.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time

from asgibridge.ops.stacks import format_all_threads

__all__ = ["Watchdog"]

logger = logging.getLogger("asgibridge")


class Watchdog:
    """Waits for a deadline to be set, then for it to pass.

    `set` may be called from a signal handler: `queue.SimpleQueue.put` is made for that.
    """

    def __init__(self) -> None:
        """Start the thread; it sleeps until a deadline is set."""
        self._orders: queue.SimpleQueue[tuple[float, int, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._watch, name="asgibridge-watchdog", daemon=True
        )
        self._thread.start()

    def set(self, deadline: float, exit_code: int, what: str) -> None:
        """End the process with *exit_code* at *deadline* (`time.monotonic()`), for *what*.

        A later call replaces the deadline.  Thread: any, signal handlers too.
        """
        self._orders.put((deadline, exit_code, what))

    def call_off(self) -> None:
        """Forget the deadline; `set` may follow.  Thread: any."""
        self._orders.put(None)

    def _watch(self) -> None:
        order: tuple[float, int, str] | None = None
        while True:
            try:
                wait = None if order is None else max(0.0, order[0] - time.monotonic())
                order = self._orders.get(timeout=wait)
            except queue.Empty:
                assert order is not None  # noqa: S101 - only a deadline limits the wait
                _end(*order[1:])


def _end(exit_code: int, what: str) -> None:
    logger.critical("%s: ending the process now; stacks follow\n%s", what, format_all_threads())
    for handler in logging.getLogger("asgibridge").handlers:
        handler.flush()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(exit_code)

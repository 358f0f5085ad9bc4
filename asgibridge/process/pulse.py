"""The heartbeat of a process: its loop turns, and whoever wants to know is told once a second."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from asgibridge.ops.stacks import format_thread_stack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["BEAT", "STUCK", "LoopMonitor", "Pulse"]

logger = logging.getLogger("asgibridge")

BEAT: Final = 1.0
"""Seconds between two beats: often enough for people, too seldom to cost anything."""

# Seconds without a beat after which the log shows where the loop is stuck.  [PROC-4]
STUCK: Final = 5.0


class Pulse:
    """Beats while the loop turns.

    Attributes:
        last: when it last did, by `time.monotonic()`.  Thread: any may read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_beat: Callable[[float], None],
        *,
        every: float = BEAT,
    ) -> None:
        """Call *on_beat* with the time, now and *every* so many seconds.  Loop thread."""
        self._every = every
        self._loop = loop
        self._on_beat = on_beat
        self._timer: asyncio.TimerHandle | None = None
        self.last = time.monotonic()
        self._beat()

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        # First: whatever goes wrong in the report, the loop does turn.
        self._timer = self._loop.call_later(self._every, self._beat)
        self.last = time.monotonic()
        self._on_beat(self.last)


class LoopMonitor:
    """A thread that tells when the loop is stuck, and where; and when it turns again.

    A thread, because a loop that is stuck can tell nothing.
    """

    def __init__(self, pulse: Pulse, loop_thread: int) -> None:
        """Watch *pulse*, which beats in the thread *loop_thread*."""
        self._pulse = pulse
        self._loop_thread = loop_thread
        self._is_over = threading.Event()
        threading.Thread(target=self._watch, name="asgibridge-monitor", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._is_over.set()

    def _watch(self) -> None:
        """Sleep until the last beat known is old, so that a healthy loop costs next to nothing."""
        pulse = self._pulse
        stuck_since: float | None = None
        wait = STUCK
        while not self._is_over.wait(wait):
            last = pulse.last
            now = time.monotonic()
            if stuck_since is None and now - last >= STUCK:
                stuck_since = last
                logger.warning(
                    "the loop is blocked for=%.1fs: no request moves; where it is:\n%s",
                    now - last,
                    format_thread_stack(self._loop_thread),
                )
            elif stuck_since is not None and last > stuck_since:
                logger.warning("the loop turns again blocked=%.1fs", last - stuck_since)
                stuck_since = None
            # Once stuck, it is looked more often whether it is over.
            wait = STUCK / 4 if stuck_since is not None else last + STUCK - now

"""The door from pool threads to the loop: a list of deliveries and one coalesced wake.

However many threads post while the loop is busy, it is woken once.  The lock makes "is a wake under
way?" and "put it on the list" one step, so no wake is lost, with or without a GIL.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["Delivery", "Outbox"]

logger = logging.getLogger("asgibridge")


class Delivery(Protocol):
    """Something that a thread has done and the loop must act on."""

    def deliver(self) -> None:
        """Act.  Called on the loop, once for each `post`, in the order of the posts."""


class Outbox:
    """Collects deliveries for one loop."""

    __slots__ = ("_is_waking", "_lock", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on *loop*."""
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[Delivery] = []
        self._is_waking = False

    def post(self, delivery: Delivery) -> None:
        """Have *delivery* acted upon soon.  Thread: any.

        When the loop has been closed there is nobody left to act, and nothing happens.
        """
        with self._lock:
            self._waiting.append(delivery)
            if self._is_waking:
                return
            self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._flush)
        except RuntimeError:  # the loop is closed
            with self._lock:
                self._waiting = []
                self._is_waking = False

    def is_empty(self) -> bool:
        """Say whether no delivery waits.  Thread: any; the answer may be old at once."""
        return not self._waiting

    def _flush(self) -> None:
        with self._lock:
            waiting = self._waiting
            self._waiting = []
            self._is_waking = False
        for delivery in waiting:
            try:
                delivery.deliver()
            except Exception:
                # One connection's trouble must not keep back the answers behind it.
                logger.exception("a response could not be delivered")

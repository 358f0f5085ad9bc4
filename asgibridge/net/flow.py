"""Back-pressure for a streaming thread: it may run ahead of its client so far and no further."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from asgibridge.errors import ClientDisconnected

if TYPE_CHECKING:
    from asgibridge.net.exchange import Exchange

__all__ = ["POST_HIGH_WATER", "ThreadFlow"]

# Bytes of response that a thread may have under way before it waits for the client.
POST_HIGH_WATER: Final = 65536


class ThreadFlow:
    """Keeps a streaming thread from running ahead of its client [WSGI-4].

    `_posted` bytes are on their way to the loop; `_blocked` bytes wait in a transport that is above
    its high-water mark.
    """

    __slots__ = ("_blocked", "_changed", "_is_over", "_posted")

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._posted = 0
        self._blocked = 0
        self._is_over = False

    def wait_for_room(self, exchange: Exchange, size: int) -> None:
        """Take room for *size* bytes.  Thread: pool.

        The wait is bounded by the connection: its write timeout ends it, and this with it.  The
        look once a second is for a client that left before this object could be seen by the loop.

        Raises:
            ClientDisconnected: the exchange is over.
        """
        with self._changed:
            while self._posted + self._blocked >= POST_HIGH_WATER and not self._is_over:
                self._changed.wait(1.0)
                self._is_over = self._is_over or exchange.is_gone
            if self._is_over:
                raise ClientDisconnected("the client is gone")
            self._posted += size

    def delivered(self, size: int, *, is_blocked: bool) -> None:
        """Move *size* bytes on; *is_blocked* says that the transport keeps them for now."""
        with self._changed:
            self._posted -= size
            if is_blocked:
                self._blocked += size
            else:
                self._changed.notify()

    def unblock(self) -> None:
        """The transport has room again."""
        with self._changed:
            self._blocked = 0
            self._changed.notify()

    def end(self) -> None:
        """Nothing more can be sent."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

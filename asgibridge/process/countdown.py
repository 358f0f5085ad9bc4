"""Tell when a server has answered so many requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.net.connection import Connection
    from asgibridge.net.exchange import Exchange
    from asgibridge.net.wiring import Wiring

__all__ = ["Countdown"]


class Countdown:
    """Counts down with each request that ends, and calls back once, at zero.  Loop thread only."""

    def __init__(self, wiring: Wiring, requests: int, callback: Callable[[], None]) -> None:
        """Prepare to call *callback* when *requests* of *wiring* are over, however they end."""
        self._wiring = wiring
        self._left = requests
        self._callback = callback
        self._next = wiring.on_ended

    def begin(self) -> None:
        """Count from now on, in front of whoever records requests already."""
        self._wiring.on_ended = self._count

    def _count(self, exchange: Exchange, connection: Connection) -> None:
        if self._next is not None:
            self._next(exchange, connection)
        self._left -= 1
        if self._left == 0:
            self._callback()

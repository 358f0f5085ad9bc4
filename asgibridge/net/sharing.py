"""Kept-alive connections that have to give way, so that traffic spreads over processes.  [GATE-6]

A kept-alive connection is pinned to the process that accepted it.  Two cases call for its end, each
with `Connection: close` on its next response, after which its client dials again and is taken by
whoever has room:

1. Clients wait in the kernel's queue for a process that is full; then whoever has had its share
   of time gives way.
2. A request comes on a kept-alive connection while all of this process is busy, and others serve
   the same listeners: it would wait here while they may be idle.  One connection at a time, so that
   a short crowd does not cost everybody their connection.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

from asgibridge.net.gate import Standing

if TYPE_CHECKING:
    import asyncio

    from asgibridge.net.gate import Gate
    from asgibridge.net.pauses import PauseReason

__all__ = ["Sharing"]

# Seconds of keep-alive after which a connection has had its share while others wait.
SHARE: Final = 1.0
# Seconds between two connections that are sent elsewhere: sixteen that came to the wrong process
# are spread in a third of a second, and a busy server spends next to nothing on it.
SHED_INTERVAL: Final = 0.02

_IN_FLIGHT: Final = Standing.IN_FLIGHT


class _Acceptor(Protocol):
    """Knows whether anybody waits in the kernel.

    Attributes:
        reason: why the listeners are not watched; None while they are.
    """

    reason: PauseReason | None

    def is_contended(self) -> bool:
        """Say whether clients wait while there is no room for them."""


class _Member(Protocol):
    """A connection, as far as it matters here."""

    standing: Standing
    opened_at: float


class Sharing:
    """Decides who gives way.  Loop thread only.

    Attributes:
        acceptor: the server's.
        crowd: how many in flight are a crowd, of which connections may be sent elsewhere.
    """

    __slots__ = ("_gate", "_loop", "_next_shed", "acceptor", "crowd")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, gate: Gate, acceptor: _Acceptor, *, is_shared: bool
    ) -> None:
        """Decide for the connections in *gate*; *is_shared*: others serve the same listeners."""
        self._loop = loop
        self._gate = gate
        self.acceptor = acceptor
        self._next_shed = 0.0
        sheds = is_shared and gate.max_in_flight is not None
        self.crowd = gate.max_in_flight if sheds and gate.max_in_flight else sys.maxsize

    def gives_way(self, member: _Member) -> bool:
        """Say whether *member*, which has just sent a request, should be closed after its answer.

        Worth asking only while the listeners are not watched, or for a crowd.
        """
        now = self._loop.time()
        if now - member.opened_at >= SHARE and self.acceptor.is_contended():
            return True
        is_crowding = member.standing is not _IN_FLIGHT and self._gate.in_flight >= self.crowd
        if is_crowding and now >= self._next_shed:
            self._next_shed = now + SHED_INTERVAL
            return True
        return False

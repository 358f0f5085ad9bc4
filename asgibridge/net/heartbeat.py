"""When to ping a WebSocket, and when to take it for dead.  Pure: time is an argument."""

from __future__ import annotations

import enum
from typing import Final

from asgibridge.net.deadlines import GRANULARITY, NEVER

__all__ = ["Beat", "Heartbeat"]


class Beat(enum.Enum):
    """What is due."""

    NOTHING = "nothing"
    PING = "a ping"
    END = "the end: nothing has come since a ping"


# Below this two points in time are the same: the wheel is no finer.
_SLACK: Final = GRANULARITY


class Heartbeat:
    """The pings of one WebSocket.

    Whatever comes from the client shows that it lives, not only a pong: one that sends a large
    message cannot send a pong before its end.

    Attributes:
        next: when to call `beat` again; `NEVER` without pings.
    """

    __slots__ = ("_interval", "_ping_due", "_silent_since", "_timeout", "next")

    def __init__(self, now: float, *, interval: float | None, timeout: float | None) -> None:
        """Begin at *now*; None means never."""
        self._interval = NEVER if interval is None else interval
        self._timeout = NEVER if timeout is None else timeout
        self._silent_since = NEVER
        self.next = self._ping_due = now + self._interval

    def beat(self, now: float, *, is_alive: bool) -> Beat:
        """Say what is due at *now*; *is_alive*: there was a sign of life since the last call."""
        beat = Beat.NOTHING
        if is_alive:
            self._silent_since = NEVER
        elif now + _SLACK >= self._silent_since + self._timeout:
            return Beat.END
        if now + _SLACK >= self._ping_due:
            beat = Beat.PING
            self._silent_since = min(now, self._silent_since)
            self._ping_due = now + self._interval
        self.next = min(self._ping_due, self._silent_since + self._timeout)
        return beat

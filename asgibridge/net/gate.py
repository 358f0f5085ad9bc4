"""The gate: exact counts of open, in-flight and parked connections, and the decision.

[GATE-1] Never more than `worker_connections` open, counted from accept(2) to close(2).
[GATE-2] One more is admitted only while fewer than `max_in_flight` are in flight.

The gate opens no socket and reads no clock.  Whoever accepts asks `full`, accepts one and calls
`enter`, all in one callback: nothing can come between.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Full", "Gate", "GateStatistics", "Member", "OnChange", "Standing"]


class Standing(enum.Enum):
    """Where a connection stands with the gate."""

    OUTSIDE = "outside"
    IN_FLIGHT = "in flight"
    PARKED = "parked"

    __hash__ = object.__hash__


class Full(enum.Enum):
    """Which limit keeps the next client out."""

    WORKER_CONNECTIONS = "worker_connections"
    MAX_IN_FLIGHT = "max_in_flight"

    __hash__ = object.__hash__


class Member(Protocol):
    """A connection as the gate sees it.  `standing` belongs to the gate and starts OUTSIDE."""

    standing: Standing

    def try_evict(self) -> bool:
        """Close it unless it has just received something; return whether it will close."""


class OnChange(Protocol):
    """Hears of a change that may make room."""

    def __call__(self, *, is_closing: bool) -> None:
        """A member has parked or a place is given back, or (*is_closing*) a socket closes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatistics:
    """The counts at one moment, and the limits they are held to."""

    open: int
    in_flight: int
    parked: int
    idle: int
    peak_open: int
    worker_connections: int
    max_in_flight: int | None


# Members are looked up in their class at the price of a function call: see `lifecycle.Moves`.
_OUTSIDE: Final = Standing.OUTSIDE
_IN_FLIGHT: Final = Standing.IN_FLIGHT
_PARKED: Final = Standing.PARKED


class Gate:
    """Counts connections and says whether one more may come.  Loop thread only.

    Attributes:
        open: connections between `enter` and `leave`.
        in_flight: those that need the application now or in a moment.
        held: places taken by work that has outlived its connection.
    """

    __slots__ = (
        "_idle",
        "_on_change",
        "_peak_open",
        "held",
        "in_flight",
        "max_in_flight",
        "open",
        "worker_connections",
    )

    def __init__(self, *, worker_connections: int, max_in_flight: int | None) -> None:
        """Open the gate with its two limits; None means no limit."""
        self.worker_connections = worker_connections
        self.max_in_flight = max_in_flight
        self.open = 0
        self.in_flight = 0
        self.held = 0
        self._peak_open = 0
        # A dict for its order: the first key has been idle the longest.
        self._idle: dict[Member, None] = {}
        self._on_change: OnChange | None = None

    def full(self) -> Full | None:
        """Say which limit is reached; None while there is room."""
        if self.open >= self.worker_connections:
            return Full.WORKER_CONNECTIONS
        if self.max_in_flight is not None and self.in_flight + self.held >= self.max_in_flight:
            return Full.MAX_IN_FLIGHT
        return None

    def watch(self, on_change: OnChange | None) -> None:
        """Call *on_change* whenever something parks or leaves, in that very callback [GATE-3].

        Only somebody who waits for room watches; None ends it.
        """
        self._on_change = on_change

    def enter(self, member: Member) -> None:
        """Count *member* in, as in flight.

        Raises:
            AssertionError: the gate is full, or *member* is inside already.
        """
        if self.full() is not None or member.standing is not _OUTSIDE:
            raise AssertionError(f"enter() of a member {member.standing} with {self!r}")
        member.standing = _IN_FLIGHT
        self.open += 1
        self.in_flight += 1
        self._peak_open = max(self._peak_open, self.open)

    def park(self, member: Member, *, is_idle: bool) -> None:
        """Stop counting *member* as in flight; *is_idle* says that it is owed nothing.

        A parked member that is not idle (a slow head, upload or reader) is never evicted; parked
        once more, it may become so.

        Raises:
            AssertionError: *member* is not inside.
        """
        if member.standing is _IN_FLIGHT:
            member.standing = _PARKED
            self.in_flight -= 1
        elif member.standing is _OUTSIDE:
            raise AssertionError("park() without enter()")
        if is_idle:
            self._idle[member] = None
        if self._on_change is not None:
            self._on_change(is_closing=False)

    def stir(self, member: Member) -> None:
        """Take *member* from the idle ones: it began to send something."""
        self._idle.pop(member, None)

    def wake(self, member: Member) -> None:
        """Count *member* as in flight again: it has a request.

        It was admitted long ago, so this may exceed `max_in_flight`; then nobody new comes in.
        """
        if member.standing is _PARKED:
            member.standing = _IN_FLIGHT
            self._idle.pop(member, None)
            self.in_flight += 1

    def leave(self, member: Member) -> None:
        """Count *member* out, in the callback that closes its socket.

        Raises:
            AssertionError: *member* is not inside.
        """
        if member.standing is _OUTSIDE:
            raise AssertionError("leave() without enter()")
        if member.standing is _IN_FLIGHT:
            self.in_flight -= 1
        else:
            self._idle.pop(member, None)
        member.standing = _OUTSIDE
        self.open -= 1
        if self._on_change is not None:
            self._on_change(is_closing=True)

    def hold(self) -> None:
        """Keep a place of `max_in_flight` for work that outlives its connection.  [WSGI-7]"""
        self.held += 1

    def release(self) -> None:
        """Give back a place that was held.

        Raises:
            AssertionError: none is.
        """
        if self.held == 0:
            raise AssertionError("release() without hold()")
        self.held -= 1
        if self._on_change is not None:
            self._on_change(is_closing=False)

    @property
    def has_idle(self) -> bool:
        """Whether anybody is idle."""
        return bool(self._idle)

    def longest_idle(self) -> Iterator[Member]:
        """Iterate over the idle members, the longest idle first.  A copy: they may leave."""
        return iter(list(self._idle))

    def statistics(self) -> GateStatistics:
        """Return the counts at this moment."""
        return GateStatistics(
            open=self.open,
            in_flight=self.in_flight,
            parked=self.open - self.in_flight,
            idle=len(self._idle),
            peak_open=self._peak_open,
            worker_connections=self.worker_connections,
            max_in_flight=self.max_in_flight,
        )

    def __repr__(self) -> str:
        bound = "none" if self.max_in_flight is None else self.max_in_flight
        return (
            f"<Gate open={self.open}/{self.worker_connections} in_flight={self.in_flight}/{bound}>"
        )

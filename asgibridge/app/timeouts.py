"""Watch the requests that wait for a thread, or run in one, for too long.  [WSGI-6] [WSGI-7].

One entry in the wheel for all of them: an entry for each would keep every request in memory for as
long as its timeout, long after its answer.
"""

from __future__ import annotations

import enum
import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.interfaces import Exchange

__all__ = ["Deadlines", "Stage", "Timed", "Timekeeper", "WsgiTimeouts"]

_NEVER: Final = math.inf


class Deadlines(Protocol):
    """The wheel of timeouts, as far as it is used here."""

    def set(self, entry: Any, when: float) -> None:  # noqa: ANN401 - the wheel's own protocol
        """Call `entry.on_deadline` at *when*, in loop time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WsgiTimeouts:
    """Bounds of waiting for a thread and of running in it, in seconds; None for no bound.

    Attributes:
        queue: waiting for a thread; then 503 [WSGI-6].
        request: running; then 504 if nothing was sent [WSGI-7].
    """

    queue: float | None = None
    request: float | None = None


class Stage(enum.Enum):
    """How far a call has come."""

    QUEUED = "queued"
    RUNNING = "running"
    ABANDONED = "abandoned"
    DONE = "done"


class Timed(Protocol):
    """A call as the timekeeper sees it; all but the exchange is the timekeeper's.

    Attributes:
        stage: QUEUED at first.
        queued, started: when, in loop time.
        thread_ident: the thread that runs it.
    """

    exchange: Exchange
    stage: Stage
    queued: float
    started: float
    thread_ident: int


C = TypeVar("C", bound=Timed)


class Timekeeper(Generic[C]):
    """Answers for calls whose thread does not come, or does not come back.

    Attributes:
        overdue: calls beyond their time whose threads have not come back.
        on_returned: called when one of these threads has come back.  Thread: pool.
        deadline, slot: the wheel's.
    """

    def __init__(
        self,
        timeouts: WsgiTimeouts,
        deadlines: Deadlines,
        clock: Callable[[], float],
        on_overdue: Callable[[C], None],
    ) -> None:
        """Hold calls to *timeouts*, in the time of *clock*; tell *on_overdue* of each, once."""
        self.overdue: set[C] = set()  # changed with the lock
        self.on_returned: Callable[[], None] | None = None
        self.deadline = _NEVER
        self.slot: int | None = None
        self._queue_timeout = _NEVER if timeouts.queue is None else timeouts.queue
        self._request_timeout = _NEVER if timeouts.request is None else timeouts.request
        self._deadlines = deadlines
        self._clock = clock
        self._on_overdue = on_overdue
        self._lock = threading.Lock()  # guards the stages of calls, and the two sets
        self._running: set[C] = set()
        self._waiting: deque[C] = deque()  # in the order queued, some of them gone.  Loop thread.

    def note_queued(self, call: C) -> None:
        """Bound the wait of *call*.  Loop thread, before the pool hears of it."""
        call.queued = self._clock()
        self._forget_gone()
        self._waiting.append(call)
        if self.deadline == _NEVER:
            # Nobody runs for longer than it has been known.
            first = min(self._queue_timeout, self._request_timeout)
            self._deadlines.set(self, call.queued + first)

    def try_begin(self, call: C) -> bool:
        """Note that *call* begins; return False if it has been answered for.  Thread: pool."""
        with self._lock:
            if call.stage is not Stage.QUEUED:
                return False
            call.stage = Stage.RUNNING
            call.started = self._clock()
            call.thread_ident = threading.get_ident()
            self._running.add(call)
        return True

    def end(self, call: C) -> None:
        """Note that the thread of *call* has come back.  Thread: pool."""
        with self._lock:
            call.stage = Stage.DONE
            self._running.discard(call)
            was_overdue = call in self.overdue
            self.overdue.discard(call)
        if was_overdue and self.on_returned is not None:
            self.on_returned()

    def on_deadline(self, now: float) -> None:
        """Answer for those whose time is over, and look again in time for the next."""
        with self._lock:
            abandoned = self._abandon(now)
            overdue = [call for call in self._running if self._end_of(call) <= now]
            self._running.difference_update(overdue)
            self.overdue.update(overdue)
            following = min(map(self._end_of, self._running), default=_NEVER)
        if self._waiting:
            # The first may begin at once.
            given_up = self._waiting[0].queued + self._queue_timeout
            following = min(following, given_up, now + self._request_timeout)
        if following != _NEVER:
            self._deadlines.set(self, following)
        for call in abandoned:
            call.exchange.fail(503)
        for call in overdue:
            self._on_overdue(call)
            call.exchange.fail(504)

    def _end_of(self, call: C) -> float:
        return call.started + self._request_timeout

    def _forget_gone(self) -> None:
        """Forget those in front that wait no longer: begun, or their client has left."""
        waiting = self._waiting
        while waiting and (waiting[0].stage is not Stage.QUEUED or waiting[0].exchange.is_gone):
            waiting.popleft()

    def _abandon(self, now: float) -> list[C]:
        """Take out those that have waited too long.  Needs: self._lock."""
        abandoned = []
        self._forget_gone()
        while self._waiting and self._waiting[0].queued + self._queue_timeout <= now:
            call = self._waiting.popleft()
            if call.stage is Stage.QUEUED:
                call.stage = Stage.ABANDONED
                abandoned.append(call)
        self._forget_gone()
        return abandoned

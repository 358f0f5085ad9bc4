"""The pool: a queue and daemon threads that run one piece of work at a time.

Our own threads, and daemons: `concurrent.futures` joins its threads at exit, so that one stuck
request would keep a process that was told to stop.

Under the GIL a thread that is woken can only wait for the one that runs, so waking all of them for
a burst costs more than most requests do.  At most one wake is under way at any time, and whoever
takes work while there is more passes the wake on: the threads come one by one, as long as there is
something to do, and not at all when the first has done it.  `_Queue` says why no wake is lost.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PoolStatistics", "ThreadPool", "Work"]

logger = logging.getLogger("asgibridge")


class Work(Protocol):
    """What a pool runs."""

    def run(self) -> None:
        """Do the work.  Thread: pool.  Must not raise; what it raises ends up in the log."""


W = TypeVar("W", bound=Work)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """The pool at one moment."""

    threads: int
    busy: int
    queued: int


class _Slot(Generic[W]):
    """What one thread is doing.  Written by that thread only; readers get an old value or a new."""

    __slots__ = ("since", "thread", "work")

    def __init__(self) -> None:
        self.work: W | None = None
        self.since = 0.0
        self.thread: threading.Thread | None = None


class _Queue(Generic[W]):
    """Hands out work, and wakes the threads that wait for it, one at a time.

    [POOL-1] Whenever the lock is free: if work is queued and a thread sleeps, a wake is under way,
    or a thread that runs has yet to take work or to look whether there is more.

    It holds because a thread goes to sleep only with the lock and when nothing is queued; because
    `put` adds work with the lock, and wakes unless a wake is under way or nobody sleeps; and
    because a thread that was woken ends the wake with the lock and then takes work as every other
    does, passing the wake on if there is more.

    Taking work needs no lock: `deque.popleft` is atomic, with and without a GIL.  Nor does the look
    whether to pass the wake on: it can be wrong only while somebody else is about to put it right,
    by one of the three ways above.
    """

    __slots__ = ("_is_waking", "_items", "_lock", "_sleepers", "_wake")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[W | None] = deque()
        self._sleepers = 0
        self._is_waking = False
        # A binary semaphore: released once for each wake, and acquired by the one who wakes.
        self._wake = threading.Lock()
        self._wake.acquire()

    def put(self, items: Iterable[W | None]) -> None:
        """Queue *items*, perhaps none, and wake a thread if one is due.  Thread: any."""
        with self._lock:
            self._items.extend(items)
            is_due = self._take_wake()
        if is_due:
            self._wake.release()

    def get(self) -> W | None:
        """Wait for work and take it.  Thread: pool."""
        items = self._items
        while True:
            try:
                item = items.popleft()
            except IndexError:
                self._sleep()
                continue
            if items and self._sleepers and not self._is_waking:
                self.put(())
            return item

    def _sleep(self) -> None:
        """Sleep until woken, unless work has come.  Thread: pool."""
        with self._lock:
            if self._items:
                return
            self._sleepers += 1
        self._wake.acquire()
        with self._lock:
            self._is_waking = False

    def qsize(self) -> int:
        """Count what is queued."""
        return len(self._items)

    def is_empty(self) -> bool:
        """Say whether nothing is queued."""
        return not self._items

    def _take_wake(self) -> bool:
        """Decide whether somebody must be woken; the caller does it.  Needs: self._lock."""
        if self._is_waking or not self._sleepers or not self._items:
            return False
        self._is_waking = True
        self._sleepers -= 1
        return True


class ThreadPool(Generic[W]):
    """A fixed number of threads behind one unbounded queue.

    The queue needs no bound of its own: the gate bounds the connections, and each has one request.
    """

    def __init__(self, size: int, *, name: str = "asgibridge") -> None:
        """Prepare *size* threads, named *name*-1 and so on; `start` starts them."""
        self._queue: _Queue[W] = _Queue()
        self.is_queue_empty = self._queue.is_empty
        self._slots: list[_Slot[W]] = [_Slot() for _ in range(size)]
        self._name = name

    @property
    def size(self) -> int:
        """The number of threads."""
        return len(self._slots)

    def start(self) -> None:
        """Start all threads."""
        for number, slot in enumerate(self._slots, 1):
            slot.thread = threading.Thread(
                target=self._serve, args=(slot,), name=f"{self._name}-{number}", daemon=True
            )
            slot.thread.start()

    def submit(self, works: Iterable[W]) -> None:
        """Have each of *works* run by the next free thread.  Thread: any."""
        self._queue.put(works)

    def stop(self) -> None:
        """Let the threads end, each when its work is done.  Returns at once; joins nobody."""
        self._queue.put([None] * len(self._slots))

    def join(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> bool:
        """Wait for all threads to end, but not beyond *deadline*; return whether they have."""
        for slot in self._slots:
            if slot.thread is not None:
                slot.thread.join(max(0.0, deadline - clock()))
        return not any(slot.thread is not None and slot.thread.is_alive() for slot in self._slots)

    def statistics(self) -> PoolStatistics:
        """Return the counts at this moment."""
        return PoolStatistics(
            threads=len(self._slots),
            busy=sum(slot.work is not None for slot in self._slots),
            queued=self._queue.qsize(),
        )

    def in_progress(self) -> list[tuple[W, float, threading.Thread]]:
        """List the work under way: what, since when (`time.monotonic()`), in which thread."""
        found = []
        for slot in self._slots:
            work, since, thread = slot.work, slot.since, slot.thread
            if work is not None and thread is not None:
                found.append((work, since, thread))
        return found

    def _serve(self, slot: _Slot[W]) -> None:
        """Run what is queued, until told to end.  Thread: pool."""
        get = self._queue.get
        monotonic = time.monotonic
        while True:
            work = get()
            if work is None:
                return
            slot.since = monotonic()
            slot.work = work
            try:
                work.run()
            except BaseException:  # the thread must live on, whatever the work raised
                with contextlib.suppress(BaseException):  # and whatever a log handler raises
                    logger.exception("work in a pool thread failed")
            finally:
                slot.work = None
            del work

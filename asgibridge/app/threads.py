"""The pool: a queue and daemon threads that run one piece of work at a time.

Our own threads, and daemons: `concurrent.futures` joins its threads at exit, so that one stuck
request would keep a process that was told to stop.

Under the GIL a thread that is woken can only wait for the one that runs, so waking all of them for
a burst of quick requests costs more than the requests do.  So one is woken first.  If it finds work
left, the thread before it may be waiting inside the application: then it wakes two, each of them
two, and soon there is a thread for each piece of work.  `_Queue` says why no wake is lost.
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
    """Hands out work, and wakes as many of the threads that wait for it as it takes.

    [POOL-1] Whenever the lock is free: if work is queued and a thread sleeps, a wake is under way,
    or a thread that runs has yet to take work or to look whether there is more.

    It holds because a thread goes to sleep only with the lock and when nothing is queued; because
    `put` adds work with the lock, and wakes a thread unless a wake is under way or nobody sleeps;
    and because a thread that was woken ends its wake with the lock, wakes others for what is left,
    and then takes work as every other does, passing a wake on if there is more.

    Taking work needs no lock: `deque.popleft` is atomic, with and without a GIL.  Nor does the look
    whether to pass a wake on: it can be wrong only while somebody else is about to put it right,
    by one of the three ways above.
    """

    __slots__ = ("_items", "_lock", "_waking", "sleepers")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[W | None] = deque()
        # A taken lock for each sleeping thread, released by whoever wakes it.
        self.sleepers: list[threading.Lock] = []
        self._waking = 0  # wakes under way

    def put(self, items: Iterable[W | None]) -> None:
        """Queue *items*, perhaps none, and wake a thread if one is due.  Thread: any."""
        with self._lock:
            self._items.extend(items)
            due = self._take_sleepers(0 if self._waking else 1)
        for sleeper in due:
            sleeper.release()

    def get(self) -> W | None:
        """Wait for work and take it.  Thread: pool."""
        items = self._items
        while True:
            try:
                item = items.popleft()
            except IndexError:
                self._sleep()
                continue
            if items and self.sleepers and not self._waking:
                self.put(())
            return item

    def _sleep(self) -> None:
        """Sleep until woken, unless work has come.  Thread: pool."""
        sleeper = self._new_sleeper()
        with self._lock:
            if self._items:
                return
            self.sleepers.append(sleeper)
        sleeper.acquire()
        with self._lock:
            self._waking -= 1
            # If there is more than one piece of work left, those who were awake before are not
            # doing it: perhaps they wait inside the application.  Each who finds it so wakes two.
            due = self._take_sleepers(min(2, len(self._items) - 1 - self._waking))
        for other in due:
            other.release()

    def take_all(self) -> list[W | None]:
        """Take all that is queued, and wait for nothing.  Thread: any."""
        taken: list[W | None] = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._items.popleft())
        return taken

    def qsize(self) -> int:
        """Count what is queued."""
        return len(self._items)

    def _take_sleepers(self, at_most: int) -> list[threading.Lock]:
        """Choose who is to be woken; the caller does it.  Needs: self._lock."""
        number = min(at_most, len(self._items), len(self.sleepers))
        if number <= 0:
            return []
        due = self.sleepers[-number:]  # those who slept last: their caches are warm
        del self.sleepers[-number:]
        self._waking += number
        return due

    def _new_sleeper(self) -> threading.Lock:
        """Make a binary semaphore, taken: whoever acquires it sleeps until it is released."""
        lock = threading.Lock()
        lock.acquire()
        return lock


class ThreadPool(Generic[W]):
    """A fixed number of threads behind one unbounded queue.

    The queue needs no bound of its own: the gate bounds the connections, and each has one request.
    """

    def __init__(self, size: int, *, name: str = "asgibridge") -> None:
        """Prepare *size* threads, named *name*-1 and so on; `start` starts them."""
        self._queue: _Queue[W] = _Queue()
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

    def withdraw(self) -> list[W]:
        """Take back what is queued: no thread has begun it, and none will.  Thread: any."""
        taken = self._queue.take_all()
        works = [work for work in taken if work is not None]
        self._queue.put([None] * (len(taken) - len(works)))
        return works

    def stop(self) -> None:
        """Let the threads end, each when its work is done.  Returns at once; joins nobody."""
        self._queue.put([None] * len(self._slots))

    def join(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> bool:
        """Wait for all threads to end, but not beyond *deadline*; return whether they have."""
        for slot in self._slots:
            if slot.thread is not None:
                slot.thread.join(max(0.0, deadline - clock()))
        return not any(slot.thread is not None and slot.thread.is_alive() for slot in self._slots)

    def is_quick(self) -> bool:
        """Say whether the threads keep up: at most one is at work and another just awake.

        Thread: any; the answer may be old at once.
        """
        return len(self._queue.sleepers) >= len(self._slots) - 2

    def is_alone(self) -> bool:
        """Say whether the asking thread is the only one at work.  Thread: pool; likewise."""
        return len(self._queue.sleepers) == len(self._slots) - 1

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

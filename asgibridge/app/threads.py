"""The pool: a queue and daemon threads that run one piece of work at a time.

Our own threads, and daemons: `concurrent.futures` joins its threads at exit, so that one stuck
request would keep a process that was told to stop.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

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


class ThreadPool(Generic[W]):
    """A fixed number of threads behind one unbounded queue.

    The queue needs no bound of its own: the gate bounds the connections, and each has one request.
    `queue.SimpleQueue` is safe between threads by its own lock, with and without a GIL.
    """

    def __init__(self, size: int, *, name: str = "asgibridge") -> None:
        """Prepare *size* threads, named *name*-1 and so on; `start` starts them."""
        self._queue: queue.SimpleQueue[W | None] = queue.SimpleQueue()
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

    def submit(self, work: W) -> None:
        """Have *work* run by the next free thread.  Thread: any."""
        self._queue.put(work)

    def stop(self) -> None:
        """Let the threads end, each when its work is done.  Returns at once; joins nobody."""
        for _ in self._slots:
            self._queue.put(None)

    def join(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> bool:
        """Wait until all threads have ended, but not beyond *deadline*; return whether they have."""
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
                logger.exception("work in a pool thread failed")
            finally:
                slot.work = None
            del work

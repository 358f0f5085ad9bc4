"""The pool of threads; what its queue promises in any interleaving is in test_pool_model.py."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from asgibridge.app.threads import PoolStatistics, ThreadPool

if TYPE_CHECKING:
    import pytest

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 10.0


class Work:
    """Runs until let go; keeps the thread that ran it."""

    def __init__(self, error: BaseException | None = None, *, is_long: bool = False) -> None:
        self._error = error
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.thread: threading.Thread | None = None
        if not is_long:
            self.may_end.set()

    def run(self) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        if self._error is not None:
            raise self._error


def deadline() -> float:
    return time.monotonic() + PATIENCE


def test_what_is_withdrawn_is_run_by_nobody() -> None:
    """And the order to stop, which is queued as well, stays."""
    pool: ThreadPool[Work] = ThreadPool(1)
    pool.start()
    works = [Work(is_long=number == 0) for number in range(3)]
    pool.submit(works)
    assert works[0].begun.wait(PATIENCE)
    pool.stop()
    assert pool.withdraw() == works[1:]
    assert pool.withdraw() == []
    works[0].may_end.set()
    assert pool.join(deadline())
    assert not any(work.begun.is_set() for work in works[1:])


def test_statistics_and_work_in_progress_tell_the_truth() -> None:
    pool: ThreadPool[Work] = ThreadPool(2, name="kiln")
    pool.start()
    works = [Work(is_long=True) for _ in range(3)]
    before = time.monotonic()
    pool.submit(works)
    for work in works[:2]:
        assert work.begun.wait(PATIENCE)
    assert pool.statistics() == PoolStatistics(threads=2, busy=2, queued=1)
    assert not pool.is_alone()
    progress = pool.in_progress()
    assert {work for work, _, _ in progress} == set(works[:2])
    assert {thread.name for _, _, thread in progress} == {"kiln-1", "kiln-2"}
    assert all(before <= since <= time.monotonic() for _, since, _ in progress)
    for work in works:
        work.may_end.set()
    pool.stop()
    assert pool.join(deadline())
    assert pool.statistics() == PoolStatistics(threads=2, busy=0, queued=0)
    assert pool.in_progress() == []


def test_stop_lets_queued_work_finish_and_waits_for_nobody() -> None:
    pool: ThreadPool[Work] = ThreadPool(1)
    pool.start()
    first, second = Work(is_long=True), Work()
    pool.submit([first, second])
    pool.stop()
    assert first.begun.wait(PATIENCE)
    assert not pool.join(time.monotonic())
    first.may_end.set()
    assert pool.join(deadline())
    assert second.begun.is_set()


def test_threads_are_daemons() -> None:
    """A stuck one must not keep the process."""
    pool: ThreadPool[Work] = ThreadPool(1)
    pool.start()
    work = Work()
    pool.submit([work])
    pool.stop()
    assert pool.join(deadline())
    assert work.thread is not None
    assert work.thread.daemon


def test_thread_survives_whatever_its_work_raises(caplog: pytest.LogCaptureFixture) -> None:
    pool: ThreadPool[Work] = ThreadPool(1)
    pool.start()
    errors = [ValueError("one"), SystemExit(2), KeyboardInterrupt(), GeneratorExit()]
    works = [*map(Work, errors), Work()]
    pool.submit(works)
    pool.stop()
    assert pool.join(deadline())
    assert len({work.thread for work in works}) == 1
    assert caplog.text.count("work in a pool thread failed") == len(errors)


def test_finished_work_is_not_kept() -> None:
    """An idle thread must not hold the last request, and what hangs on it, in memory."""
    import weakref  # noqa: PLC0415 - for this test alone

    pool: ThreadPool[Work] = ThreadPool(1)
    pool.start()
    work, other = Work(), Work()
    gone = threading.Event()
    reference = weakref.ref(work, lambda _: gone.set())
    pool.submit([work])
    del work
    assert gone.wait(PATIENCE)
    assert reference() is None
    pool.submit([other])
    pool.stop()
    assert pool.join(deadline())

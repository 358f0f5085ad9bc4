"""The pool's queue in any interleaving: no wake is lost, all work is run exactly once.  [POOL-1].

It is the real code that runs here, in real threads, but each step that others could come between (a
lock, the queue, a shared attribute) waits for its turn, and chance deals out the turns.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgibridge.app.threads import ThreadPool, _Queue

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 20.0


class Abandoned(BaseException):
    """Ends the threads of a run that has failed."""


class Turns:
    """Lets one thread at a time take one step."""

    def __init__(self, chance: random.Random, stickiness: float) -> None:
        self._chance = chance
        self._stickiness = stickiness  # how likely the one who went last goes on
        self._last: str | None = None
        self._changed = threading.Condition()
        self._waiting: dict[str, Callable[[], bool]] = {}
        self._going: set[str] = set()
        self._is_abandoned = False
        self._threads: list[threading.Thread] = []

    def start(self, name: str, target: Callable[[], None]) -> None:
        """Have *target* run step by step as *name*."""

        def run() -> None:
            try:
                target()
            except Abandoned:
                pass
            finally:
                with self._changed:
                    self._going.discard(name)
                    self._changed.notify_all()

        with self._changed:
            self._going.add(name)
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def take(self, may_go: Callable[[], bool] = lambda: True) -> None:
        """Wait for the turn of this thread, which does not come before *may_go*."""
        name = threading.current_thread().name
        with self._changed:
            self._waiting[name] = may_go
            self._going.discard(name)
            self._changed.notify_all()
            assert self._changed.wait_for(
                lambda: name in self._going or self._is_abandoned, PATIENCE
            )
            if self._is_abandoned:
                raise Abandoned

    def deal(self) -> None:
        """Give turns until nobody can go on."""
        with self._changed:
            while True:
                assert self._changed.wait_for(lambda: not self._going, PATIENCE)
                able = sorted(name for name, may_go in self._waiting.items() if may_go())
                if not able:
                    return
                if self._last not in able or self._chance.random() >= self._stickiness:
                    self._last = self._chance.choice(able)
                del self._waiting[self._last]
                self._going.add(self._last)
                self._changed.notify_all()

    def abandon(self) -> None:
        """End all threads that wait for a turn."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE)

    def waiting(self) -> set[str]:
        """Name those that wait for a turn; the others have ended."""
        return set(self._waiting)


class SteppedLock:
    """A lock whose every use is a step; released while free, it fails like `threading.Lock`."""

    def __init__(self, turns: Turns, *, is_held: bool = False) -> None:
        self._turns = turns
        self.is_held = is_held
        self.awaited_by: set[str] = set()

    def acquire(self) -> bool:
        name = threading.current_thread().name
        self.awaited_by.add(name)
        self._turns.take(lambda: not self.is_held)
        self.awaited_by.discard(name)
        self.is_held = True
        return True

    def release(self) -> None:
        self._turns.take()
        assert self.is_held, "released twice"
        self.is_held = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SteppedDeque(deque[Any]):
    """A deque whose every use is a step."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def popleft(self) -> Any:  # noqa: ANN401 - the deque's
        self._turns.take()
        return super().popleft()

    def extend(self, items: Any) -> None:  # noqa: ANN401 - the deque's
        self._turns.take()
        super().extend(items)

    def __bool__(self) -> bool:
        self._turns.take()
        return len(self) > 0


class SteppedQueue(_Queue[Any]):
    """The pool's queue with a step at each use of what its threads share."""

    turns: Turns | None = None

    def use(self, turns: Turns) -> SteppedQueue:
        self._lock: Any = SteppedLock(turns)
        self._items: Any = SteppedDeque(turns)
        self.turns = turns
        return self

    def _new_sleeper(self) -> Any:  # noqa: ANN401 - what is stepped
        assert self.turns is not None
        sleeper = SteppedLock(self.turns, is_held=True)
        self.__dict__.setdefault("made", []).append(sleeper)
        return sleeper

    def asleep(self) -> set[str]:
        """Name the threads that sleep."""
        made: list[SteppedLock] = self.__dict__.get("made", [])
        return {name for sleeper in made for name in sleeper.awaited_by}

    def _shared(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        if self.turns is not None:
            self.turns.take()
        return self.__dict__[name]

    def _share(self, name: str, value: object) -> None:
        if self.turns is not None:
            self.turns.take()
        self.__dict__[name] = value

    sleepers = property(
        lambda self: self._shared("sleepers"), lambda self, value: self._share("sleepers", value)
    )
    _waking = property(
        lambda self: self._shared("waking"), lambda self, value: self._share("waking", value)
    )


class Item:
    """Work that says when it is run, and may take until it is let go."""

    def __init__(self, turns: Turns, runs: list[Item], *, is_long: bool) -> None:
        self._turns = turns
        self._runs = runs
        self._may_end = not is_long

    def let_go(self) -> None:
        self._may_end = True

    def run(self) -> None:
        self._runs.append(self)
        self._turns.take(lambda: self._may_end)


# For each producer its batches, for each batch its items: whether they are long.
Producers = list[list[list[bool]]]
batches = st.lists(st.lists(st.booleans(), max_size=3), max_size=3)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 3),
    producers=st.lists(batches, min_size=1, max_size=2),
    seed=st.integers(0, 2**32),
    stickiness=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_no_wake_is_lost_in_any_interleaving(
    size: int, producers: Producers, seed: int, stickiness: float
) -> None:
    """[POOL-1] When all that can go on has: no work is queued while a thread sleeps.

    Then long work ends, all work has been run once, and `stop` ends every thread.
    """
    turns = Turns(random.Random(seed), stickiness)  # noqa: S311 - an order, no secret
    try:
        _run_pool(turns, size, producers)
    finally:
        turns.abandon()


def _run_pool(turns: Turns, size: int, producers: Producers) -> None:
    pool: ThreadPool[Item] = ThreadPool(size)
    queue = SteppedQueue().use(turns)
    pool._queue = queue
    runs: list[Item] = []
    works = [
        [[Item(turns, runs, is_long=is_long) for is_long in batch] for batch in producer]
        for producer in producers
    ]
    for number, slot in enumerate(pool._slots):
        turns.start(f"thread {number}", partial(pool._serve, slot))
    for number, producer in enumerate(works):
        turns.start(f"producer {number}", partial(_submit_all, pool, producer))
    items = [item for producer in works for batch in producer for item in batch]
    while True:
        turns.deal()
        asleep = queue.asleep()
        assert not (asleep and len(queue._items)), f"{asleep} sleep while work is queued"
        begun = [item for item in runs if not item._may_end]
        if not begun:
            break
        begun[0].let_go()
    assert Counter(runs) == Counter(items)
    turns.start("stopper", pool.stop)
    turns.deal()
    assert turns.waiting() == set(), "not all threads have ended"


def _submit_all(pool: ThreadPool[Item], batches: list[list[Item]]) -> None:
    for batch in batches:
        pool.submit(batch)


class Count:
    """Work that counts its runs; every hundredth waits until another thread has run some more."""

    def __init__(self, runs: Counter[int], number: int, others: threading.Event) -> None:
        self._runs = runs
        self._number = number
        self._others = others

    def run(self) -> None:
        self._runs[self._number] += 1
        if self._number % 100 == 0:
            self._others.wait(0.001)
        elif self._number % 7 == 0:
            raise ZeroDivisionError  # the thread must live on


@pytest.mark.parametrize("size", [1, 2, 8])
def test_all_work_is_run_once_by_real_threads(size: int, caplog: pytest.LogCaptureFixture) -> None:
    """[POOL-1] Thousands of works from several producers, some that wait, some that raise."""
    caplog.set_level("CRITICAL", logger="asgibridge")
    pool: ThreadPool[Count] = ThreadPool(size)
    pool.start()
    runs: Counter[int] = Counter()
    never = threading.Event()

    def produce(first: int) -> None:
        for start in range(first, first + 3000, 3):
            pool.submit([Count(runs, number, never) for number in range(start, start + 3)])
            if start % 300 == 0:
                time.sleep(0)  # let threads fall asleep now and then

    producers = [threading.Thread(target=produce, args=(first,)) for first in (0, 3000, 6000)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join(PATIENCE)
    pool.stop()
    assert pool.join(time.monotonic() + PATIENCE)
    assert runs == Counter(range(9000))
    assert pool.statistics().queued == 0


def test_one_after_another_is_never_left_waiting() -> None:
    """[POOL-1] The tightest case: one work at a time, each waited for, threads asleep between."""

    class Done:
        def __init__(self) -> None:
            self.done = threading.Event()

        def run(self) -> None:
            self.done.set()

    pool: ThreadPool[Done] = ThreadPool(4)
    pool.start()
    for _ in range(3000):
        work = Done()
        pool.submit([work])
        assert work.done.wait(PATIENCE)
    pool.stop()
    assert pool.join(time.monotonic() + PATIENCE)

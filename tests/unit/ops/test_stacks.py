import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from asgibridge.ops.stacks import (
    format_all_tasks,
    format_all_threads,
    format_task,
    format_thread_stack,
)

HERE = __file__


class StuckThread:
    """A thread that waits in `stuck_here` until it is let go."""

    def __init__(self, depth: int = 0) -> None:
        self._entered = threading.Event()
        self._leave = threading.Event()
        self._depth = depth
        self.thread = threading.Thread(target=self._run, name="pool-7", daemon=True)
        self.thread.start()
        self._entered.wait()

    @property
    def ident(self) -> int:
        assert self.thread.ident is not None
        return self.thread.ident

    def _run(self) -> None:
        self.stuck_here(self._depth)

    def stuck_here(self, depth: int) -> None:
        if depth:
            self.stuck_here(depth - 1)
            return
        self._entered.set()
        self._leave.wait()

    def end(self) -> None:
        self._leave.set()
        self.thread.join()


@pytest.fixture
def stuck() -> Iterator[StuckThread]:
    thread = StuckThread()
    yield thread
    thread.end()


def line_of(text: str) -> int:
    """Return the number of the first line of this file that holds *text*."""
    with open(HERE, encoding="utf-8") as source:  # noqa: PTH123 - as short as it gets
        return next(number for number, line in enumerate(source, 1) if text in line)


def test_a_thread_is_shown_with_file_line_and_function(stuck: StuckThread) -> None:
    lines = format_thread_stack(stuck.ident).splitlines()

    assert lines[0] == f"thread 'pool-7' ident={stuck.ident}"
    number = line_of("        self._leave.wait()")
    place = f"  {HERE}:{number} in StuckThread.stuck_here: self._leave.wait()"
    outer = next(n for n, line in enumerate(lines) if "in StuckThread._run" in line)
    assert outer + 1 == lines.index(place)  # Outermost first, as in a traceback.


def test_a_name_of_the_callers_is_shown(stuck: StuckThread) -> None:
    assert format_thread_stack(stuck.ident, "GET /slow").startswith("thread 'GET /slow' ident=")


def test_a_thread_that_has_ended_is_said_to_have() -> None:
    thread = StuckThread()
    thread.end()

    assert format_thread_stack(thread.ident, "pool-7").endswith(": has ended")


@pytest.mark.parametrize("ident", [0, -1, 2**70, None, "x", []])
def test_no_ident_makes_it_raise(ident: Any) -> None:  # noqa: ANN401 - wrong on purpose
    assert format_thread_stack(ident).startswith("thread ")


def test_of_a_deep_stack_both_ends_are_shown() -> None:
    thread = StuckThread(depth=400)
    lines = format_thread_stack(thread.ident).splitlines()
    thread.end()

    assert len(lines) < 130
    assert sum(" more" in line for line in lines) == 1
    assert any("StuckThread._run" in line for line in lines)
    assert any("self._leave.wait()" in line for line in lines)


def test_all_threads_are_shown(stuck: StuckThread) -> None:
    text = format_all_threads()

    assert f"thread 'pool-7' ident={stuck.ident}\n" in text
    assert f"thread 'MainThread' ident={threading.main_thread().ident}\n" in text
    assert "test_all_threads_are_shown" in text


def test_threads_that_come_and_go_meanwhile_do_no_harm() -> None:
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()

    churner = threading.Thread(target=churn)
    churner.start()
    texts = [format_all_threads() for _ in range(50)]
    done.set()
    churner.join()

    assert all("MainThread" in text for text in texts)
    assert not any("not available" in text for text in texts)


async def inner(release: asyncio.Event) -> None:
    await release.wait()  # Inner waits here.


class ByHand:
    """An awaitable that is no coroutine: `await` goes through a generator."""

    def __init__(self, release: asyncio.Event) -> None:
        self._release = release

    def __await__(self) -> Generator[Any, None, None]:
        yield from inner(self._release).__await__()


async def outer(release: asyncio.Event) -> None:
    await ByHand(release)  # Outer waits here.


async def test_a_task_is_shown_down_to_what_it_waits_for() -> None:
    release = asyncio.Event()
    task = asyncio.create_task(outer(release), name="request-1")
    await asyncio.sleep(0)

    lines = format_task(task).splitlines()
    everything = format_all_tasks()
    release.set()
    await task

    assert lines[0] == "task 'request-1' pending"
    assert lines[1].startswith(f"  {HERE}:{line_of('# Outer waits here.')} in outer: await ByHand")
    assert "in ByHand.__await__: " in lines[2]
    assert any(f":{line_of('# Inner waits here.')} in inner: " in line for line in lines)
    assert "in Event.wait: " in lines[-2]
    assert lines[-1].startswith("  waits for <Future pending")
    assert "task 'request-1' pending\n" in everything
    assert "  is running: see the stack of its thread" in everything


async def test_a_task_in_an_async_generator_is_shown() -> None:
    release = asyncio.Event()

    async def produce() -> AsyncIterator[int]:
        await release.wait()
        yield 1

    async def consume() -> None:
        async for _ in produce():
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    text = format_task(task)
    release.set()
    await task

    assert "consume: async for _ in produce():" in text
    assert "produce: await release.wait()" in text
    assert "in Event.wait: " in text


async def test_a_task_that_ignores_cancellation_shows_how_often_it_was_asked() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    for _ in range(2):
        await asyncio.sleep(0)
        task.cancel()
    text = format_task(task)
    release.set()
    await task

    assert "pending cancelling=2" in text
    assert " done" in format_task(task).splitlines()[0]


async def test_a_cancelled_task_is_shown_as_such() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await asyncio.wait([task])

    assert format_task(task).endswith(" cancelled")


async def test_values_that_cannot_be_printed_do_no_harm() -> None:
    class MuteFuture(asyncio.Future[None]):
        def __repr__(self) -> str:
            raise RuntimeError

    waited = MuteFuture()

    async def wait() -> None:
        await waited

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    text = format_task(task)
    waited.set_result(None)
    await task

    assert "in test_values_that_cannot_be_printed_do_no_harm.<locals>.wait: await waited" in text


def test_no_loop_and_no_task_are_no_reason_to_raise() -> None:
    loop = asyncio.new_event_loop()
    nothing: Any = None

    assert format_all_tasks(loop) == "no tasks"
    assert format_all_tasks() == "tasks: not available error=RuntimeError"
    assert format_task(nothing).startswith("task: stack not available")
    loop.close()


def test_source_that_cannot_be_read_leaves_file_and_line() -> None:
    scope: dict[str, Any] = {"format": format_thread_stack, "ident": threading.get_ident()}
    exec(compile("def f():\n    return format(ident)", "<made up>", "exec"), scope)  # noqa: S102

    assert "  <made up>:2 in f\n" in scope["f"]()


def test_the_callers_own_thread_can_be_shown() -> None:
    ident = threading.get_ident()

    assert sys._getframe().f_code.co_qualname in format_thread_stack(ident)

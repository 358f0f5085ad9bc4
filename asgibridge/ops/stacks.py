"""What threads and tasks are doing right now, as text for the log.

For the moments when something is stuck: these functions never raise, and what they cannot see,
because a thread ended meanwhile, they say.  Thread: any, but not from a `signal.signal` handler:
`threading.enumerate` takes a lock which the interrupted code may hold.

On free-threaded builds the threads go on running while their frames are read: then a stack may mix
two moments.  It is good enough to see where a thread is stuck, because a stuck one does not move.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import reprlib
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

__all__ = ["format_all_tasks", "format_all_threads", "format_task", "format_thread_stack"]

# Frames.  A framework's stack has 30 to 80; a recursion gone wild has thousands.
_MAX_FRAMES: Final = 120

# How the kinds of awaitables name their frame and what they wait for.
_LINKS: Final = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))

# Go-betweens of CPython that have no attribute for what they wrap; the garbage collector knows it.
_WRAPPERS: Final = frozenset(
    {
        "FutureIter",
        "anext_awaitable",
        "async_generator_asend",
        "async_generator_athrow",
        "coroutine_wrapper",
    }
)


def format_thread_stack(ident: int, name: str | None = None) -> str:
    """Show where the thread *ident* is, outermost call first.  Never raises."""
    try:
        thread = next((t for t in threading.enumerate() if t.ident == ident), None)
        shown = name if name is not None else thread.name if thread else "unknown"
        frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, in spite of its name
        title = f"thread {shown!r} ident={ident}"
        if frame is None:
            return f"{title}: has ended"
        return "\n".join([title, *_lines_of_thread(frame)])
    except Exception as error:  # noqa: BLE001 - a report must not fail the one who needs it
        return f"thread ident={ident}: stack not available error={type(error).__name__}"


def format_all_threads() -> str:
    """Show where every thread is, the caller included.  Never raises."""
    try:
        idents = list(sys._current_frames())  # noqa: SLF001 - documented, in spite of its name
    except Exception as error:  # noqa: BLE001 - a report must not fail the one who needs it
        return f"threads: not available error={type(error).__name__}"
    return "\n".join(format_thread_stack(ident) for ident in sorted(idents))


def format_task(task: asyncio.Task[Any]) -> str:
    """Show where *task* is: its coroutines, outermost first, then what it waits for.  Never raises.

    `Task.get_stack` would show the outermost coroutine alone.
    """
    try:
        title = f"task {task.get_name()!r} {_state(task)}"
        return "\n".join([title, *_lines_of_awaitable(task.get_coro())])
    except Exception as error:  # noqa: BLE001 - a report must not fail the one who needs it
        return f"task: stack not available error={type(error).__name__}"


def format_all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> str:
    """Show where every task of *loop* (default: the running one) is.  Never raises."""
    try:
        tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    except Exception as error:  # noqa: BLE001 - RuntimeError without a loop, and anything else
        return f"tasks: not available error={type(error).__name__}"
    return "\n".join(format_task(task) for task in tasks) or "no tasks"


def _state(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "cancelled"
    if task.done():
        return "done"
    asked = task.cancelling()
    return f"pending cancelling={asked}" if asked else "pending"


def _lines_of_thread(innermost: FrameType) -> Iterator[str]:
    places: list[tuple[CodeType, int | None]] = []
    frame: FrameType | None = innermost
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    yield from _lines(reversed(places), len(places))


def _lines_of_awaitable(outermost: object) -> Iterator[str]:
    awaitable: object | None = outermost
    places: list[tuple[CodeType, int | None]] = []
    while awaitable is not None and len(places) < 10 * _MAX_FRAMES:
        link = _link(awaitable)
        if link is None:
            wrapped = _unwrapped(awaitable)
            if wrapped is not None:
                awaitable = wrapped
                continue
            break
        frame: FrameType | None = getattr(awaitable, link[0])
        if frame is None:  # It has ended.
            awaitable = None
            break
        places.append((frame.f_code, frame.f_lineno))
        awaitable = getattr(awaitable, link[1], None)
    yield from _lines(places, len(places))
    if awaitable is not None:
        yield f"  waits for {_short_repr(awaitable)}"
    elif any(getattr(outermost, f"{kind}_running", False) for kind in ("cr", "gi", "ag")):
        yield "  is running: see the stack of its thread"


def _link(awaitable: object) -> tuple[str, str] | None:
    return next((link for link in _LINKS if hasattr(awaitable, link[0])), None)


def _unwrapped(awaitable: object) -> object | None:
    if type(awaitable).__name__ not in _WRAPPERS:
        return None
    return next(
        (
            inner
            for inner in gc.get_referents(awaitable)
            if _link(inner) is not None or asyncio.isfuture(inner)
        ),
        None,
    )


def _lines(places: Iterable[tuple[CodeType, int | None]], count: int) -> Iterator[str]:
    """Yield a line per place; of a very deep stack its two ends."""
    half = _MAX_FRAMES // 2
    for index, (code, line) in enumerate(places):
        if half <= index < count - half:
            if index == half:
                yield f"  ... {count - 2 * half} more"
            continue
        source = linecache.getline(code.co_filename, line).strip() if line else ""
        place = f"  {code.co_filename}:{line or '?'} in {code.co_qualname}"
        yield f"{place}: {source}" if source else place


def _short_repr(value: object) -> str:
    shortened = reprlib.Repr()
    shortened.maxother = 200
    return shortened.repr(value)  # Survives a __repr__ that raises.

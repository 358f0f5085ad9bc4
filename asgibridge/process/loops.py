"""Which event loop to run, what it logs, and how it is closed."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

from asgibridge.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["close_loop", "come_to", "log_loop_trouble", "loop_factory"]

logger = logging.getLogger("asgibridge")


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop *name*: auto, uvloop or asyncio.

    Raises:
        StartError: uvloop was asked for and is not installed.
    """
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - absent on some platforms, and costly where unwanted
        except ImportError as error:
            if name == "uvloop":
                raise StartError(
                    "uvloop is not installed; run `pip install uvloop` or choose another loop"
                ) from error
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close *loop* as `asyncio.run` would, but wait for nobody: a watchdog is behind us."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    if sys.exc_info()[0] is None:
        loop.run_until_complete(loop.shutdown_asyncgens())
    # What is left has been named when it was cut.
    loop.set_exception_handler(lambda _loop, _context: None)
    asyncio.set_event_loop(None)
    loop.close()


def come_to() -> None:
    """Do nothing, in Python: pending signal handlers are called on the way."""


def log_loop_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG001
    """Log what the loop caught, in a callback or a task that nobody awaited."""
    what = context.get("task") or context.get("future") or context.get("handle")
    suffix = f": {what!r}" if what is not None else ""
    exception = context.get("exception")
    logger.error("%s%s", context.get("message", "error in the loop"), suffix, exc_info=exception)

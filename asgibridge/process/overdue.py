"""What to do about requests that run too long: tell, let nobody wait behind them, give up."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from asgibridge.ops.stacks import format_thread_stack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asgibridge.app.threads import ThreadPool
    from asgibridge.app.wsgi import WsgiCall, WsgiHandler
    from asgibridge.net.gate import Gate

__all__ = ["OverdueReporter"]

logger = logging.getLogger("asgibridge")


class OverdueReporter:
    """Logs each overdue request once, with the stack of its thread.  [WSGI-7]

    Its client has been answered for, and may have gone: the thread still takes the place of one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        gate: Gate,
        handler: WsgiHandler,
        pool: ThreadPool[WsgiCall],
        on_exhausted: Callable[[], None],
    ) -> None:
        """Call *on_exhausted* when overdue requests hold all threads of *pool*."""
        self._loop = loop
        self._gate = gate
        self._handler = handler
        self._pool = pool
        self._on_exhausted: Callable[[], None] | None = on_exhausted

    def on_overdue(self, call: WsgiCall) -> None:
        """Tell of *call*, which has just become overdue.  Loop thread."""
        self._gate.hold()
        head = call.exchange.head
        logger.error(
            "request overdue method=%s target=%s client=%s\n%s",
            head.method,
            head.target.decode("latin-1"),
            call.exchange.client,
            format_thread_stack(call.thread_ident),
        )
        if self._on_exhausted is not None and self._handler.overdue >= self._pool.size:
            on_exhausted, self._on_exhausted = self._on_exhausted, None  # once is enough
            on_exhausted()

    def on_returned(self) -> None:
        """Make room again: the thread of such a call has come back.  Thread: pool."""
        with suppress(RuntimeError):  # the loop has been closed: nobody waits for room
            self._loop.call_soon_threadsafe(self._gate.release)

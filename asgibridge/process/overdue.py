"""What to do about requests that run too long: tell, and give up when no thread is left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgibridge.ops.stacks import format_thread_stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.app.threads import ThreadPool
    from asgibridge.app.wsgi import WsgiCall, WsgiHandler

__all__ = ["OverdueReporter"]

logger = logging.getLogger("asgibridge")


class OverdueReporter:
    """Logs each overdue request once, with the stack of its thread.  [WSGI-7]"""

    def __init__(
        self, handler: WsgiHandler, pool: ThreadPool[WsgiCall], on_exhausted: Callable[[], None]
    ) -> None:
        """Call *on_exhausted* when overdue requests hold all threads of *pool*."""
        self._handler = handler
        self._pool = pool
        self._on_exhausted: Callable[[], None] | None = on_exhausted

    def on_overdue(self, call: WsgiCall) -> None:
        """Tell of *call*, which has just become overdue.  Loop thread."""
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

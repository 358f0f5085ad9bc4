"""What is in flight in this process, for the log: requests, threads and tasks, with stacks."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from asgibridge.app.asgi import AsgiHandler
from asgibridge.ops.stacks import format_task, format_thread_stack

if TYPE_CHECKING:
    import asyncio

    from asgibridge.net.connection import Connection
    from asgibridge.process.assembly import Assembly

__all__ = ["TIME_OVER", "background_tasks", "log_in_flight"]

logger = logging.getLogger("asgibridge")

TIME_OVER: Final = "the time to stop is over"


def log_in_flight(assembly: Assembly, why: str, *, level: int = logging.ERROR) -> int:
    """Log what is in flight, *why* first, with stacks; nothing if there is nothing.

    Thread: any, as far as it can be known from outside of the loop.

    Returns:
        How much there is: responses, tasks or threads, whichever is most.
    """
    connections = list(assembly.wiring.connections)
    owed = [each for each in connections if each.exchange is not None or each.unsent]
    tasks = background_tasks(assembly)
    threads = assembly.pool.in_progress() if assembly.pool is not None else []
    count = max(len(owed), len(tasks), len(threads))
    if count:
        lines = [f"{why} in_flight={count}"]
        lines.extend(_describe_connection(connection) for connection in owed)
        for _, since, thread in threads:
            lines.append(f"busy for {time.monotonic() - since:.1f} s:")
            lines.append(format_thread_stack(thread.ident or 0, thread.name))
        lines.extend(format_task(task) for task in tasks)
        logger.log(level, "%s", "\n".join(lines))
    return count


def background_tasks(assembly: Assembly) -> list[asyncio.Task[None]]:
    """List the tasks in which an ASGI application runs."""
    handler = assembly.handler
    return list(handler.tasks) if isinstance(handler, AsgiHandler) else []


def _describe_connection(connection: Connection) -> str:
    exchange = connection.exchange
    if exchange is None:
        return f"a response that its client does not read, client={connection.client}"
    target = exchange.head.target.decode("latin-1")
    return f"{exchange.head.method} {target} client={connection.client}"

"""Stop one process inside one deadline, whatever the application and the clients do.

[STOP-1] The slices of the time that is left: draining takes what the application's shutdown does
not need; near the end of draining ASGI applications are told that their clients are gone; at its
end everything that is still in flight is named in the log and cut.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.lifespan import LifespanStage
from asgibridge.ops.stacks import format_task, format_thread_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgibridge.app.lifespan import Lifespan
    from asgibridge.config.settings import Config
    from asgibridge.net.sockets import Listener
    from asgibridge.process.assembly import Assembly

__all__ = ["Drain", "Slices", "StopReport", "slice_time"]

logger = logging.getLogger("asgibridge")

# Share of the time, and seconds at most, that the application's own shutdown is given.
_SHUTDOWN_SHARE: Final = 0.2
_MAX_SHUTDOWN: Final = 5.0
# The same for the time between `http.disconnect` and the cut, and between the cut and the end.
_NOTICE_SHARE: Final = 0.1
_MAX_NOTICE: Final = 2.0
_LEAVING_SHARE: Final = 0.05
_MAX_LEAVING: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Points in time, in the order in which they come."""

    notice: float
    cut: float
    shutdown: float
    end: float


def slice_time(now: float, deadline: float, *, has_shutdown: bool) -> Slices:
    """Divide the time between *now* and *deadline*.  Pure."""
    total = max(0.0, deadline - now)
    shutdown = deadline - min(_MAX_LEAVING, total * _LEAVING_SHARE)
    cut = shutdown - (min(_MAX_SHUTDOWN, total * _SHUTDOWN_SHARE) if has_shutdown else 0.0)
    notice = cut - min(_MAX_NOTICE, total * _NOTICE_SHARE)
    return Slices(notice=notice, cut=cut, shutdown=shutdown, end=deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """How a stop went.

    Attributes:
        requests: served since the start.
        cut: exchanges and tasks in flight that had to be cut.
        seconds: from the order to stop to its end.
        is_clean: nothing was cut, the application shut down, and all threads came back.
    """

    requests: int
    cut: int
    seconds: float
    is_clean: bool


class Drain:
    """One stop.  Loop thread only."""

    def __init__(
        self,
        assembly: Assembly,
        listeners: Sequence[Listener],
        lifespan: Lifespan | None,
        config: Config,
    ) -> None:
        """Prepare to stop what *assembly* does."""
        self._assembly = assembly
        self._listeners = listeners
        self._lifespan = lifespan
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._hurried = asyncio.Event()
        self._quiet = asyncio.Event()
        self._deadline = 0.0
        self._has_shutdown = lifespan is not None and lifespan.stage is LifespanStage.RUNNING

    def hurry(self, deadline: float) -> None:
        """Bring the deadline forward."""
        if deadline < self._deadline:
            self._deadline = deadline
            self._hurried.set()

    async def run(self, deadline: float) -> StopReport:
        """Drain and stop, until *deadline* in loop time at most."""
        begun = self._loop.time()
        self._deadline = deadline
        wiring = self._assembly.wiring
        wiring.is_draining = True
        wiring.on_closed = self._look
        if isinstance(self._assembly.handler, AsgiHandler):
            self._assembly.handler.on_task_done = self._look
        await self._pause(min(self._config.shutdown_delay, max(0.0, deadline - begun)))
        await self._close_listeners()
        for connection in list(wiring.connections):
            connection.drain()
        cut = await self._wait_for_exchanges()
        is_shut_down = await self._shut_down()
        threads_left = self._leave_threads()
        wiring.deadlines.close()
        if self._assembly.recorder is not None:
            self._assembly.recorder.flush()
        seconds = self._loop.time() - begun
        report = StopReport(
            requests=wiring.counters.requests,
            cut=cut,
            seconds=seconds,
            is_clean=not cut and is_shut_down and not threads_left,
        )
        logger.info(
            "stopped requests=%d cut=%d drained=%.2fs", report.requests, cut, report.seconds
        )
        return report

    # --- the steps

    async def _pause(self, seconds: float) -> None:
        """Let load balancers learn of the stop while everything goes on."""
        if seconds > 0:
            await self._wait(self._hurried, self._loop.time() + seconds)

    async def _close_listeners(self) -> None:
        drained = asyncio.Event()
        acceptor = self._assembly.acceptor
        acceptor.drain(drained.set, accept_queued=True)
        await self._wait(drained, self._slices().cut)
        acceptor.close()
        for listener in self._listeners:
            listener.close()

    async def _wait_for_exchanges(self) -> int:
        """Wait until nothing is in flight; cut what is left in the end, and count it."""
        self._look()
        if not await self._wait(self._quiet, self._slices().notice):
            for connection in list(self._assembly.wiring.connections):
                if connection.exchange is not None:
                    connection.exchange.feed_eof()
            await self._wait(self._quiet, self._slices().cut)
        return self._cut()

    def _look(self) -> None:
        """See whether all connections and background tasks are gone."""
        handler = self._assembly.handler
        has_tasks = isinstance(handler, AsgiHandler) and handler.tasks
        if not has_tasks and not self._assembly.wiring.connections:
            self._quiet.set()

    def _cut(self) -> int:
        handler = self._assembly.handler
        wiring = self._assembly.wiring
        if self._quiet.is_set():
            return 0
        tasks = list(handler.tasks) if isinstance(handler, AsgiHandler) else []
        self._describe(tasks)
        in_flight = sum(connection.exchange is not None for connection in wiring.connections)
        for connection in list(wiring.connections):
            connection.cut("the server stopped")
        for task in tasks:
            task.cancel()
        return max(in_flight, len(tasks))

    def _describe(self, tasks: list[asyncio.Task[None]]) -> None:
        """Name what is in flight, with stacks."""
        lines = ["the time to stop is over; in flight:"]
        for connection in self._assembly.wiring.connections:
            exchange = connection.exchange
            if exchange is None:
                lines.append(f"  {connection!r}")
            else:
                target = exchange.head.target.decode("latin-1")
                lines.append(f"  {exchange.head.method} {target} client={connection.client}")
        pool = self._assembly.pool
        if pool is not None:
            for _, since, thread in pool.in_progress():
                lines.append(f"  busy for {time.monotonic() - since:.1f}s:")
                lines.append(format_thread_stack(thread.ident or 0, thread.name))
        lines.extend(format_task(task) for task in tasks)
        logger.error("%s", "\n".join(lines))

    async def _shut_down(self) -> bool:
        if self._lifespan is None:
            return True
        return await self._lifespan.stop(max(0.0, self._slices().shutdown - self._loop.time()))

    def _leave_threads(self) -> int:
        """Let idle threads end; count those that are stuck.  They are daemons: nobody joins them."""
        pool = self._assembly.pool
        if pool is None:
            return 0
        pool.stop()
        return pool.statistics().busy

    # --- waiting

    def _slices(self) -> Slices:
        return slice_time(self._loop.time(), self._deadline, has_shutdown=self._has_shutdown)

    async def _wait(self, event: asyncio.Event, until: float) -> bool:
        """Wait for *event*, but not beyond *until* nor, once hurried, beyond the new deadline."""
        while not event.is_set():
            left = min(until, self._deadline) - self._loop.time()
            if left <= 0:
                return False
            waits = [asyncio.ensure_future(event.wait())]
            if not self._hurried.is_set():
                waits.append(asyncio.ensure_future(self._hurried.wait()))
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return True

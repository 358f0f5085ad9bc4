"""Stop one process inside one deadline, whatever the application and the clients do.

[STOP-1] The slices of the time that is left: draining takes what the application's shutdown does
not need; near the end of draining ASGI applications are told that their clients are gone; at its
end everything that is still in flight is named in the log and cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.lifespan import LifespanStage
from asgibridge.net.shutter import shut
from asgibridge.ops.stacks import format_task
from asgibridge.process.in_flight import TIME_OVER, background_tasks, log_in_flight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgibridge.app.lifespan import Lifespan
    from asgibridge.app.threads import ThreadPool
    from asgibridge.app.wsgi import WsgiCall
    from asgibridge.net.sockets import Listener
    from asgibridge.process.assembly import Assembly

__all__ = [
    "GOING_AWAY",
    "RESTARTING",
    "Drain",
    "Slices",
    "StopReport",
    "idle_grace",
    "slice_time",
]

logger = logging.getLogger("asgibridge")

# Share of the time, and seconds at most, between the cut and the end: first for what was cancelled
# to clean up, then for the application's own shutdown, then for the process to leave.
_CLEANING_SHARE: Final = 0.1
_MAX_CLEANING: Final = 0.5
_SHUTDOWN_SHARE: Final = 0.2
_MAX_SHUTDOWN: Final = 5.0
_LEAVING_SHARE: Final = 0.05
_MAX_LEAVING: Final = 0.5
# The same for a quick stop's first moment: what has been answered already may not be known here
# yet, since threads send before they tell.  And seconds at most for refusals to be sent.
_SETTLING_SHARE: Final = 0.05
_MAX_SETTLING: Final = 0.05
# The same for the time between `http.disconnect` and the cut.
_NOTICE_SHARE: Final = 0.1
_MAX_NOTICE: Final = 2.0
# Share of the time, and seconds at most, in which an idle client of a process that retires may ask
# once more, and is told to come back on another connection.  Closing it at once could cross with
# its next request.
_IDLE_SHARE: Final = 0.04
_MAX_IDLE_GRACE: Final = 1.0
# Close codes of WebSockets (RFC 6455 §7.4.1, and IANA's registry): the server stops, or will be
# back at once, so that clients may reconnect without waiting.
GOING_AWAY: Final = 1001
RESTARTING: Final = 1012
# Seconds; `Thread.join` takes no infinity.
_FOREVER: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Points in time, in the order in which they come.

    Attributes:
        notice: ASGI applications still at work hear `http.disconnect`.
        cut: what is in flight is cut.
        cleaned: what was cancelled has had its time to clean up.
        shutdown: the application's own shutdown has had its time.
        end: the process is gone.
    """

    notice: float
    cut: float
    cleaned: float
    shutdown: float
    end: float


def slice_time(
    now: float, deadline: float, *, has_shutdown: bool, is_quick: bool = False
) -> Slices:
    """Divide the time between *now* and *deadline*; a quick stop cuts at once.  Pure."""
    total = max(0.0, deadline - now)
    end = now + total
    shutdown = end - min(_MAX_LEAVING, total * _LEAVING_SHARE)
    cleaning = min(_MAX_CLEANING, total * _CLEANING_SHARE)
    if is_quick:
        cut = now + min(_MAX_SETTLING, total * _SETTLING_SHARE)
        return Slices(notice=now, cut=cut, cleaned=cut + cleaning, shutdown=shutdown, end=end)
    cleaned = shutdown - (min(_MAX_SHUTDOWN, total * _SHUTDOWN_SHARE) if has_shutdown else 0.0)
    cut = cleaned - cleaning
    notice = cut - min(_MAX_NOTICE, total * _NOTICE_SHARE)
    return Slices(notice=notice, cut=cut, cleaned=cleaned, shutdown=shutdown, end=end)


def idle_grace(total: float) -> float:
    """Say how long idle clients are waited for, in seconds, when there are *total* to retire."""
    return min(_MAX_IDLE_GRACE, total * _IDLE_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """How a stop went.

    Attributes:
        requests: served since the start.
        cut: responses, tasks or threads in flight that had to be cut or left behind.
        seconds: from the order to stop to its end.
        is_clean: nothing was cut, and the application shut down as it should.
    """

    requests: int
    cut: int
    seconds: float
    is_clean: bool


class Drain:
    """One stop.  Loop thread only.

    Attributes:
        going_away: the code with which WebSockets are closed; to be set before `run`.
    """

    def __init__(  # noqa: PLR0913 - what there is to stop, and how
        self,
        assembly: Assembly,
        listeners: Sequence[Listener],
        lifespan: Lifespan | None,
        *,
        delay: float,
        deadline: float,
        is_quick: bool,
        is_retiring: bool = False,
        on_unlistened: Callable[[], None] | None = None,
    ) -> None:
        """Prepare to stop what *assembly* does.

        Args:
            assembly: the parts of the server.
            listeners: closed as soon as those who are queued have been taken.
            lifespan: of the application, if it has one.
            delay: seconds for which everything goes on.
            deadline: loop time at which all must be over.
            is_quick: cut what is in flight at once.
            is_retiring: other processes serve the same listeners: those who are queued are theirs.
            on_unlistened: called when the listeners are closed here.
        """
        self.going_away = RESTARTING if is_retiring else GOING_AWAY
        self._is_retiring = is_retiring
        self._on_unlistened = on_unlistened
        self._assembly = assembly
        self._listeners = listeners
        self._lifespan = lifespan
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._hurried = asyncio.Event()
        self._quiet = asyncio.Event()
        self._is_listening = True
        self._has_shutdown = lifespan is not None and lifespan.stage is LifespanStage.RUNNING
        self._slices = self._slice(deadline, is_quick=is_quick)

    def hurry(self, deadline: float, *, is_quick: bool) -> None:
        """Bring the deadline forward, never back; *is_quick* cuts what is in flight now."""
        if is_quick or deadline < self._slices.end:
            self._slices = self._slice(min(deadline, self._slices.end), is_quick=is_quick)
            self._hurried.set()

    async def run(self) -> StopReport:
        """Drain and stop, until the deadline at most."""
        begun = self._loop.time()
        wiring = self._assembly.wiring
        wiring.is_draining = True
        wiring.going_away = self.going_away
        wiring.on_closed = self._look
        if isinstance(self._assembly.handler, AsgiHandler):
            self._assembly.handler.on_task_done = self._look
        if self._is_retiring:
            patience_ends = begun + idle_grace(self._slices.end - begun)
            self._assembly.acceptor.drain(self._close_listeners, accept_queued=False)
            await self._wait(self._quiet, lambda slices: min(patience_ends, slices.notice))
        else:
            await self._go_on_until(begun + self._delay)
            self._stop_listening()
        wiring.closes_idle = True
        for connection in list(wiring.connections):
            connection.drain()
        cut = await self._wait_for_work()
        is_shut_down = await self._shut_down()
        wiring.deadlines.close()
        if self._assembly.recorder is not None:
            self._assembly.recorder.flush()
        report = StopReport(
            requests=wiring.counters.requests,
            cut=cut,
            seconds=self._loop.time() - begun,
            is_clean=not cut and is_shut_down,
        )
        logger.info(
            "stopped requests=%d drained=%.2fs cut=%d", report.requests, report.seconds, report.cut
        )
        return report

    # --- the steps

    async def _go_on_until(self, moment: float) -> None:
        """Let load balancers learn of the stop while everything goes on."""
        await self._wait(asyncio.Event(), lambda slices: min(moment, slices.notice))

    def _stop_listening(self) -> None:
        """Take those who are queued, as room appears, then close the listeners.

        Idle connections are closed meanwhile: they may be what fills the room.  A listener that was
        opened by somebody else goes on to queue, for its next server.
        """
        for listener in self._listeners:
            if not listener.is_adopted:
                shut(listener.socket)
        self._assembly.acceptor.drain(self._close_listeners, accept_queued=True)

    def _close_listeners(self) -> None:
        """Close, in the same callback as the last accept(2): nobody can come in between."""
        self._assembly.acceptor.close()
        for listener in self._listeners:
            listener.close()
        self._is_listening = False
        if self._on_unlistened is not None:
            self._on_unlistened()
        self._look()

    async def _wait_for_work(self) -> int:
        """Wait until nothing is in flight; cut what is left in the end, and count it."""
        is_quiet = await self._wait(self._quiet, lambda slices: slices.notice)
        if not is_quiet:
            for connection in list(self._assembly.wiring.connections):
                if connection.exchange is not None:
                    connection.exchange.feed_eof()
            is_quiet = await self._wait(self._quiet, lambda slices: slices.cut)
        if is_quiet and await self._wait_for_threads():
            return 0
        if self._is_listening:
            self._close_listeners()
        return await self._cut()

    def _look(self) -> None:
        """See whether all connections and background tasks are gone, and nobody will follow."""
        if (
            not self._is_listening
            and not background_tasks(self._assembly)
            and not self._assembly.wiring.connections
        ):
            self._quiet.set()

    async def _wait_for_threads(self) -> bool:
        """Wait for what the application still does behind answered requests: `close()`, say."""
        pool = self._assembly.pool
        if pool is None:
            return True
        pool.stop()
        if not pool.statistics().busy:
            return True
        came_back = asyncio.Event()

        def join() -> None:
            pool.join(time.monotonic() + _FOREVER)  # in a daemon, as they are
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                self._loop.call_soon_threadsafe(came_back.set)

        threading.Thread(target=join, name="asgibridge-join", daemon=True).start()
        return await self._wait(came_back, lambda slices: slices.cut)

    async def _cut(self) -> int:
        """Cut what is in flight, after naming it in the log; count what somebody will miss."""
        connections = list(self._assembly.wiring.connections)
        count = log_in_flight(self._assembly, TIME_OVER)
        if connections and not count:
            logger.info("closing connections=%d reason=no whole request came", len(connections))
        if self._assembly.pool is not None:
            await self._refuse_queued(self._assembly.pool)
            self._assembly.pool.stop()
        for connection in list(self._assembly.wiring.connections):
            connection.cut("the server stopped")
        tasks = background_tasks(self._assembly)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, self._slices.cleaned - self._loop.time()))
        return count

    async def _refuse_queued(self, pool: ThreadPool[WsgiCall]) -> None:
        """Tell those whose requests no thread has begun, so that they may ask again elsewhere."""
        calls = pool.withdraw()
        for call in calls:
            call.exchange.fail(503)
        if calls:
            settled = self._loop.time() + _MAX_SETTLING
            await self._wait(self._quiet, lambda slices: min(settled, slices.cleaned))

    async def _shut_down(self) -> bool:
        """Have the application shut down, inside its slice; return whether it did."""
        lifespan = self._lifespan
        if lifespan is None or not self._has_shutdown:
            return True
        # Its own timeout is later than ours, which a second signal can bring forward.
        limit = max(0.0, self._slices.end - self._loop.time()) + _MAX_LEAVING
        stopping = asyncio.ensure_future(lifespan.stop(limit))
        stopped = asyncio.Event()
        stopping.add_done_callback(lambda _: stopped.set())
        begun = self._loop.time()
        if await self._wait(stopped, lambda slices: slices.shutdown):
            return stopping.result()
        logger.error(
            "the application's shutdown took longer than %.1f s\n%s",
            self._loop.time() - begun,
            format_task(lifespan.task) if lifespan.task is not None else "",
        )
        stopping.cancel()
        await asyncio.wait({stopping})
        return False

    # --- waiting

    def _slice(self, deadline: float, *, is_quick: bool) -> Slices:
        return slice_time(
            self._loop.time(), deadline, has_shutdown=self._has_shutdown, is_quick=is_quick
        )

    async def _wait(self, event: asyncio.Event, until: Callable[[Slices], float]) -> bool:
        """Wait for *event*, but not beyond *until*, which moves when the stop is hurried."""
        while not event.is_set():
            left = until(self._slices) - self._loop.time()
            if left <= 0:
                return False
            self._hurried.clear()
            waits = [asyncio.ensure_future(each.wait()) for each in (event, self._hurried)]
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return True

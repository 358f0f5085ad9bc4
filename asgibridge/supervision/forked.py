"""What a forked worker does, from its first line to its last."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from asgibridge.errors import ApplicationRaised, AsgibridgeError
from asgibridge.process import channel as says
from asgibridge.process.life import EXIT_START_FAILED, Life
from asgibridge.process.log_setup import configure_logs
from asgibridge.process.phase import Phase
from asgibridge.process.server import Membership, Server
from asgibridge.supervision.reload import forget_modules, watched_directories
from asgibridge.supervision.scoreboard import WorkerStatus
from asgibridge.supervision.stage import Reason
from asgibridge.supervision.titles import set_title

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgibridge.app.loader import LoadedApplication
    from asgibridge.config.settings import Config
    from asgibridge.net.sockets import Listener
    from asgibridge.process.channel import Channel
    from asgibridge.supervision.scoreboard import Slot

__all__ = ["Assignment", "leave", "run_worker"]

_PHASES: Final = tuple(Phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the supervisor hands to a worker by forking it.

    Attributes:
        config: the settings.
        generation: of these settings.
        listeners: shared by all workers.
        loaded: the application, if it was imported before the fork.
        slot: the worker's place on the scoreboard.
        channel: the worker's end.
        max_requests: how many to answer before it asks for a successor; None for no limit.
    """

    config: Config
    generation: int
    listeners: Sequence[Listener]
    loaded: LoadedApplication | None
    slot: Slot
    channel: Channel
    max_requests: int | None


def run_worker(assignment: Assignment) -> int:
    """Serve until the supervisor says otherwise; return the exit code.  Thread: main."""
    config = assignment.config
    channel = assignment.channel
    configure_logs(config, shows_pid=True)
    name = assignment.loaded.name if assignment.loaded is not None else config.app or "demo"
    set_title(f"worker {assignment.slot.index + 1}", str(name))
    membership = Membership(
        listeners=assignment.listeners,
        loaded=assignment.loaded,
        on_exhausted=lambda: channel.send(says.Due(reason=Reason.OVERDUE.value)),
        on_unlistened=lambda: channel.send(says.Unlistened()),
    )
    if config.reload:
        forget_modules(watched_directories(config))
    server = Server(config, membership=membership)
    try:
        return Life(config, server, onlooker=_Reporter(assignment), channel=channel).run()
    except AsgibridgeError as error:
        channel.send(says.Failed(message=str(error), trace=_trace_of(error)))
        return EXIT_START_FAILED


def leave(work: Callable[[], int], *, keeps_exit_handlers: bool) -> NoReturn:
    """Do *work*, then end this process with the exit code it returns.

    As an interpreter ends: it joins threads, calls what is registered with `atexit`, and flushes.
    But not up the stack: what the parent would do on its way out is not this process's to do.

    Args:
        work: returns the exit code.
        keeps_exit_handlers: also call what was registered before the fork: the application did,
            when it was imported there.
    """
    code = 1
    try:
        if not keeps_exit_handlers:
            atexit._clear()  # noqa: SLF001 - as multiprocessing does in its children
        code = work()
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing
        atexit._run_exitfuncs()  # noqa: SLF001 - same
        logging.shutdown()
    except BaseException:  # noqa: BLE001 - whatever it was, it ends here
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)


class _Reporter:
    """Keeps the worker's slot up to date, and asks for a successor when it has come of age."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._server: Server | None = None
        self._started = 0.0
        self._last_activity: tuple[int, ...] = ()
        self._pid = os.getpid()
        assignment.slot.write(WorkerStatus(pid=self._pid, generation=assignment.generation))

    def on_ready(self, server: Server) -> None:
        self._server = server
        self._started = time.monotonic()
        self.on_beat(self._started)
        limit = self._assignment.max_requests
        if limit is not None:
            server.call_after(limit, self._ask_for_a_successor)
        self._assignment.channel.send(says.Ready(summary=server.summary))

    def on_beat(self, now: float) -> None:
        server = self._server
        assert server is not None  # noqa: S101 - beats come after on_ready
        activity = server.activity()
        if activity == self._last_activity:
            self._assignment.slot.touch(now)
            return
        self._last_activity = activity
        statistics = server.statistics()
        gate = statistics.gate
        pool = statistics.pool
        paused = statistics.paused_seconds
        self._assignment.slot.write(
            WorkerStatus(
                pid=self._pid,
                generation=self._assignment.generation,
                phase=_PHASES.index(statistics.phase),
                started=self._started,
                heartbeat=now,
                requests=statistics.requests,
                refused=statistics.refused,
                cut=statistics.cut,
                accepted=statistics.accepted,
                bytes_sent=statistics.bytes_sent,
                open=gate.open,
                in_flight=gate.in_flight,
                parked=gate.parked,
                idle=gate.idle,
                pauses=statistics.pauses,
                paused_worker_connections=paused["worker_connections"],
                paused_max_in_flight=paused["max_in_flight"],
                paused_resources=paused["resources"],
                threads=pool.threads if pool is not None else 0,
                busy=pool.busy if pool is not None else 0,
                queued=pool.queued if pool is not None else 0,
                overdue=statistics.overdue,
                request_seconds=statistics.request_seconds,
                request_times=statistics.request_times,
            )
        )

    def on_stopping(self) -> None:
        """Leave it to the next beat."""

    def _ask_for_a_successor(self) -> None:
        self.on_beat(time.monotonic())  # so that the supervisor reads how many there were
        self._assignment.channel.send(says.Due(reason=Reason.MAX_REQUESTS.value))


def _trace_of(error: AsgibridgeError) -> str:
    """Write the application's own traceback, from which the loader has cut our frames."""
    if not isinstance(error, ApplicationRaised) or error.__cause__ is None:
        return ""
    return "".join(traceback.format_exception(error.__cause__))

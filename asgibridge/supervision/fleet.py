"""The workers of a supervisor: fork one, hear them, give orders, reap.

Nothing is decided here; see `policy` for what, and `supervisor` for when.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgibridge.process.channel import Channel
from asgibridge.process.life import LIFE_SIGNALS
from asgibridge.supervision.forked import Assignment, leave, run_worker
from asgibridge.supervision.policy import with_jitter
from asgibridge.supervision.scoreboard import Scoreboard, Tally
from asgibridge.supervision.stage import Stage, StageEvent
from asgibridge.supervision.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asgibridge.app.loader import LoadedApplication
    from asgibridge.config.settings import Config
    from asgibridge.net.sockets import Listener
    from asgibridge.process import channel as says
    from asgibridge.supervision.scoreboard import Slot

__all__ = ["Fleet"]

logger = logging.getLogger("asgibridge")

# Seconds that a worker gets beyond its own deadline, at which it ends itself and says why.
KILL_SLACK: Final = 0.7
# The same for a start: its own watchdog waits a second for the clearer message of a lifespan.
START_SLACK: Final = 3.0
# Share by which lifetimes are spread, so that workers started together do not end together.
_LIFETIME_JITTER: Final = 0.1
_REQUESTS_JITTER: Final = 0.1


class Fleet:
    """All forked processes that are not reaped yet.

    Attributes:
        workers: by process.
        scoreboard: shared with them.
        tally: what has become of those that were started; on the scoreboard too.
    """

    def __init__(self, size: int, release: Callable[[], None]) -> None:
        """Make room for *size* workers; *release* lets go, in a child, of what is the parent's."""
        self.workers: dict[int, Worker] = {}
        self.scoreboard = Scoreboard(size)
        self.tally = Tally()
        self._release = release

    def in_stage(self, *stages: Stage) -> list[Worker]:
        """List the workers in any of *stages*, the oldest first."""
        return [worker for worker in self.workers.values() if worker.stage in stages]

    def fork(
        self,
        config: Config,
        generation: int,
        listeners: Sequence[Listener],
        loaded: LoadedApplication | None,
    ) -> Worker:
        """Start a worker.  The child never returns from here.

        Raises:
            OSError: the system has no room for another process.
        """
        slot = self._free_slot()
        above, below = Channel.pair()
        max_requests = _requests_before_recycling(config)
        now = time.monotonic()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()  # or the child would write it again
        gc.freeze()  # what is here now is shared; looking at it for garbage would copy it
        # No signal may meet the child while it still has the parent's handlers.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(
                    Assignment(
                        config=config,
                        generation=generation,
                        listeners=listeners,
                        loaded=loaded,
                        slot=slot,
                        channel=below,
                        max_requests=max_requests,
                    ),
                    above,
                )
        except OSError:
            above.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            gc.unfreeze()
            below.close()
        lifetime = config.max_lifetime
        if lifetime is not None:
            lifetime = with_jitter(lifetime, _LIFETIME_JITTER, random.random())  # noqa: S311 - no secret
        worker = Worker(
            pid,
            slot,
            above,
            generation=generation,
            spawned_at=now,
            kill_at=now + config.startup_timeout + START_SLACK,
            lifetime=lifetime,
        )
        self.workers[pid] = worker
        self._count(replace(self.tally, started=self.tally.started + 1))
        return worker

    def order(self, worker: Worker, order: says.Stop) -> None:
        """Tell *worker* to stop, and note when it is killed if it does not."""
        if worker.stage is Stage.READY and worker.due is not None:
            self._count(self.tally.recycled(worker.due))
        worker.move(StageEvent.STOP_ORDERED)
        kill_at = time.monotonic() + order.grace + KILL_SLACK
        worker.kill_at = kill_at if worker.kill_at is None else min(worker.kill_at, kill_at)
        worker.channel.send(order)

    def tell_all(self, order: says.Reopen | says.Dump) -> None:
        """Send *order* to everybody."""
        for worker in self.workers.values():
            worker.channel.send(order)

    def kill(self, worker: Worker) -> None:
        """End *worker* at once."""
        worker.kill_at = None
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)

    def hear(self, worker: Worker) -> Iterator[says.Message]:
        """Yield what *worker* has reported; nothing more once it has hung up."""
        if worker.channel.fileno() < 0:
            return
        try:
            yield from worker.channel.receive()
        except EOFError:
            worker.channel.close()

    def reap(self) -> Iterator[tuple[Worker, int]]:
        """Yield the workers that have ended, with how; reap strangers too.  [PROC-5]

        As process 1 of a container this process inherits every orphan.
        """
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self.workers.get(pid)
            if worker is None:
                continue
            if worker.stage is Stage.READY:
                self._count(replace(self.tally, died=self.tally.died + 1))
            # Its last words may explain how it ended; the caller hears them before it looks.
            yield worker, wait_status
            worker.move(StageEvent.REAPED)
            worker.channel.close()
            del self.workers[pid]

    def _count(self, tally: Tally) -> None:
        self.tally = tally
        self.scoreboard.tally.write(tally)

    def _become_worker(self, assignment: Assignment, above: Channel) -> None:
        """Be the child: let go of what is the parent's, and work."""
        try:
            above.close()
            for worker in self.workers.values():
                worker.channel.close()
            signal.set_wakeup_fd(-1)
            # Pending signals of the parent's are its own.
            for number in (signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU):
                signal.signal(number, signal.SIG_DFL)
            self._release()
            # The others wait until the worker has handlers of its own.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals() - LIFE_SIGNALS)
        finally:
            leave(lambda: run_worker(assignment), keeps_exit_handlers=assignment.config.preload)

    def _free_slot(self) -> Slot:
        """Find the first slot that nobody owns."""
        taken = {worker.slot.index for worker in self.workers.values()}
        return next(slot for slot in self.scoreboard.slots if slot.index not in taken)


def _requests_before_recycling(config: Config) -> int | None:
    if config.max_requests is None:
        return None
    jitter = config.max_requests_jitter
    if jitter is None:
        jitter = round(config.max_requests * _REQUESTS_JITTER)
    return config.max_requests + random.randint(0, jitter)  # noqa: S311 - no secret

"""The supervisor: owns the listeners, keeps the workers it wants, and runs neither loop nor thread.

It sleeps in one poll(2), on the workers' channels and on a pipe that signals write to.  Whenever it
wakes it hears the workers, reaps, acts on signals, and takes the steps that `policy` decides.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from asgibridge.config.settings import MAX_WORKERS
from asgibridge.errors import SettingsError, TlsError, WorkerFailed
from asgibridge.ops.reopening import reopen_log_files
from asgibridge.process import channel as says
from asgibridge.process.life import EXIT_NOT_CLEAN, EXIT_OK
from asgibridge.process.log_setup import configure_logs
from asgibridge.process.loops import loop_factory
from asgibridge.process.phase import PHASE_MOVES, Phase, PhaseEvent
from asgibridge.process.server import listeners_of, load_application, urls_of
from asgibridge.process.service_manager import ServiceManager
from asgibridge.process.tls import tls_terms
from asgibridge.supervision.census import log_census
from asgibridge.supervision.fleet import Fleet
from asgibridge.supervision.forkable import check_threads
from asgibridge.supervision.generations import Generations
from asgibridge.supervision.policy import FleetView, Kill, Retire, Spawn, next_steps
from asgibridge.supervision.recycling import Recycling
from asgibridge.supervision.reload import RELOAD_GRACE, ChangeWatcher, watched_directories
from asgibridge.supervision.setbacks import Setbacks
from asgibridge.supervision.stage import Reason, Stage, StageEvent
from asgibridge.supervision.titles import set_title
from asgibridge.supervision.wakeup import Readable, Wakeup, ending_at_once
from asgibridge.supervision.worker import Worker, describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.app.loader import LoadedApplication
    from asgibridge.config.settings import Config
    from asgibridge.net.sockets import Listener

__all__ = ["Supervisor"]

logger = logging.getLogger("asgibridge")

# Seconds that the quick stop leaves for the applications' shutdown.
_QUICK: Final = 1.0
# Workers that retire take slots beside those that serve.
_SLOTS: Final = 2 * MAX_WORKERS
_SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD),
)


class Supervisor:
    """One run.  To be used from the main thread of a process that has no other."""

    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        """Prepare to serve what *config* says; *reread* reads it anew for a rolling restart."""
        self._generations = Generations(config)
        self._reread = reread
        self._phase = Phase.NEW
        self._wanted = config.workers
        self._listeners: list[Listener] = []
        self._loaded: LoadedApplication | None = None
        self._watcher: ChangeWatcher | None = None  # for development reload
        self._setbacks = Setbacks()
        self._fatal: tuple[str, str] | None = None
        self._is_clean = True
        self._wakeup = Wakeup(_SIGNALS)
        self._fleet = Fleet(_SLOTS, self._release)
        self._manager = ServiceManager()
        self._recycling = Recycling(config)

    @property
    def _config(self) -> Config:
        return self._generations.config

    def run(self) -> int:
        """Serve until a signal asks to stop; return the exit code.

        Raises:
            SettingsError: a file that the settings name is wrong.
            StartError: a listener could not be opened, or no worker could be started.
        """
        check_threads("before the workers were forked")
        configure_logs(self._config, shows_pid=True)
        self._move(PhaseEvent.START_ASKED)
        try:
            self._start()
            while self._phase is not Phase.STOPPED:
                self._turn()
        finally:
            self._end()
        if self._fatal is not None:
            raise WorkerFailed(*self._fatal)
        return EXIT_OK if self._is_clean else EXIT_NOT_CLEAN

    # --- starting

    def _start(self) -> None:
        config = self._config
        loop_factory(config.loop)  # imported here, it is shared by all workers
        self._listeners = listeners_of(config)
        tls_terms(config)  # rather here than in every worker
        for url in urls_of(config, self._listeners):
            logger.info("listening on %s", url)
        if config.preload or callable(config.app):
            with ending_at_once(self._end):
                self._loaded = load_application(config)
            check_threads(f"on import of {self._loaded.name}")
        set_title("supervisor", str(config.app or "demo"))
        self._wakeup.open()
        if config.reload:
            self._watcher = ChangeWatcher(config, self._release_all)
            for directory in watched_directories(config):
                logger.info("reloading when files change in %s", directory)

    def _release(self) -> None:
        """Let go, in a worker, of what is the supervisor's."""
        self._wakeup.release()
        if self._watcher is not None:
            self._watcher.release()

    def _release_all(self) -> None:
        """The same in the process that watches files: it serves nobody."""
        self._wakeup.release()
        self._close_listeners()

    # --- one turn

    def _turn(self) -> None:
        """Take the steps that are due, wait for something to happen, and understand it."""
        now = time.monotonic()  # one for both: no moment may fall in between
        self._take_steps(now)
        readable = self._wakeup.wait(self._speakers(), self._next_step_at(now), self._look)
        if self._watcher is not None and self._watcher.fileno() in readable:
            self._on_changes(self._watcher)
        for worker in list(self._fleet.workers.values()):
            if worker.channel.fileno() in readable:
                self._hear(worker)
        for number in self._wakeup.take_signals():
            self._on_signal(number)
        for worker, wait_status in self._fleet.reap():
            self._hear(worker)  # its last words
            self._on_gone(worker, wait_status)

    def _speakers(self) -> list[Readable]:
        watchers = [] if self._watcher is None else [self._watcher]
        return [*(worker.channel for worker in self._fleet.workers.values()), *watchers]

    def _next_step_at(self, now: float) -> float:
        """Say when after *now* there is something to do, even if nothing happens."""
        moments = [worker.kill_at for worker in self._fleet.workers.values() if worker.kill_at]
        if self._setbacks.spawn_at > now:
            moments.append(self._setbacks.spawn_at)
        return min(moments, default=math.inf)

    def _take_steps(self, now: float) -> None:
        view = FleetView(
            workers=[worker.view() for worker in self._fleet.workers.values()],
            wanted=self._wanted,
            generation=self._generations.number,
            spawn_at=self._setbacks.spawn_at,
            is_stopping=self._phase in (Phase.DRAINING, Phase.STOPPED),
            may_overlap=self._watcher is None,
        )
        for step in next_steps(view, now):
            match step:
                case Spawn():
                    self._spawn()
                case Retire(pid):
                    self._retire(self._fleet.workers[pid])
                case Kill(pid):
                    self._kill(self._fleet.workers[pid])

    def _spawn(self) -> None:
        try:
            worker = self._fleet.fork(
                self._config, self._generations.number, self._listeners, self._loaded
            )
        except OSError as error:
            logger.error("cannot fork: %s", error.strerror)  # noqa: TRY400 - no traceback tells more
            self._setbacks.note_no_fork(time.monotonic())
        else:
            logger.info("%s started", worker.name)

    def _retire(self, worker: Worker) -> None:
        self._recycling.log_farewell(worker, self._fleet.in_stage(Stage.READY)[-1])
        grace = self._config.graceful_timeout
        self._fleet.order(worker, says.Stop(grace=grace, is_quick=False, is_retiring=True))

    def _kill(self, worker: Worker) -> None:
        purpose = "start" if worker.stage is Stage.SPAWNED else "stop"
        logger.error("%s killed: it has had its time to %s", worker.name, purpose)
        self._fleet.kill(worker)

    def _look(self, now: float) -> bool:
        """See who should be replaced, and return whether anybody should.

        The service manager is told that somebody serves.
        """
        ready = self._fleet.in_stage(Stage.READY)
        for worker in ready:
            self._recycling.look_at(worker, now)
        if self._phase is not Phase.SERVING or any(not worker.is_stuck for worker in ready):
            self._manager.alive(now)
        return any(worker.due is not None for worker in ready)

    # --- what becomes of workers

    def _hear(self, worker: Worker) -> None:
        for report in self._fleet.hear(worker):
            match report:
                case says.Ready():
                    self._on_ready(worker, report.summary)
                case says.Failed():
                    worker.failure = (report.message, report.trace)
                case says.Due():
                    worker.asked = Reason(report.reason)
                case says.Asked():
                    worker.asked = Reason.SIGTERM
                case says.Unlistened():
                    worker.is_listening = False
                    self._close_listeners_if_unused()
                case _:
                    raise AssertionError(f"no report: {report}")

    def _on_ready(self, worker: Worker, summary: str) -> None:
        worker.move(StageEvent.SAID_READY)
        if worker.stage is not Stage.READY:
            return  # it has been told to stop meanwhile
        now = time.monotonic()
        worker.ready_at = now
        worker.kill_at = None
        self._setbacks.note_ready()
        logger.info("%s ready after=%.2fs", worker.name, now - worker.spawned_at)
        if worker.generation == self._generations.number and self._generations.is_on_trial:
            self._generations.confirm()
            self._wanted = self._config.workers
        count = len(self._fleet.in_stage(Stage.READY))
        if self._phase is Phase.STARTING and count >= self._wanted:
            self._move(PhaseEvent.LISTENING)
            logger.info("ready pid=%d workers=%d %s", os.getpid(), count, summary)
            if self._config.app is None:
                logger.info("this is the demo; serve your own: asgibridge serve module:app")
        self._manager.ready(f"workers={count} of {self._wanted}")

    def _on_gone(self, worker: Worker, wait_status: int) -> None:
        """Understand why *worker* has ended, and what that means for the next start."""
        now = time.monotonic()
        how = describe_exit(wait_status)
        match worker.stage:
            case Stage.RETIRING:
                log = logger.info if wait_status == 0 else logger.warning
                log("%s gone %s", worker.name, how)
            case Stage.SPAWNED:
                self._on_failed_start(worker, how)
            case _:
                served = now - (worker.ready_at or now)
                logger.error("%s died %s served=%.1fs", worker.name, how, served)
                self._setbacks.note_death(now, served)
        if self._phase is Phase.DRAINING:
            self._is_clean &= wait_status == 0
            worker.is_listening = False
            self._close_listeners_if_unused()
            if len(self._fleet.workers) == 1:  # this one, which is about to be removed
                self._move(PhaseEvent.DRAINED if self._is_clean else PhaseEvent.GRACE_OVER)

    def _on_failed_start(self, worker: Worker, how: str) -> None:
        message, trace = worker.failure or (
            f"it ended before it was ready ({how}); the log above may tell why",
            "",
        )
        news = trace if self._setbacks.is_news(trace) else ""  # the same again helps nobody
        logger.error("%s could not start: %s", worker.name, f"{message}\n{news}".rstrip())
        if self._watcher is not None:
            logger.info("waiting for the next change")
            self._setbacks.wait_for_a_change()
        elif self._generations.is_on_trial and worker.generation == self._generations.number:
            self._give_up_restart()
        elif self._setbacks.note_failed_start(
            time.monotonic(), is_anybody_ready=bool(self._fleet.in_stage(Stage.READY))
        ):
            self._fatal = (message, trace)
            self._stop("reason=no worker can start", is_quick=True)

    # --- what operators and developers ask for

    def _on_signal(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT | signal.SIGQUIT:
                is_quick = number == signal.SIGQUIT or self._phase is Phase.DRAINING
                self._stop(f"signal={signal.Signals(number).name}", is_quick=is_quick)
            case signal.SIGHUP:
                self._restart()
            case signal.SIGTTIN | signal.SIGTTOU:
                self._change_wanted(1 if number == signal.SIGTTIN else -1)
            case signal.SIGUSR1:
                reopen_log_files()
                self._fleet.tell_all(says.Reopen())
            case signal.SIGUSR2:
                log_census(self._fleet.workers.values(), self._wanted, self._fleet.tally)
                self._fleet.tell_all(says.Dump())
            case _:
                pass  # SIGCHLD: reaping follows

    def _change_wanted(self, by: int) -> None:
        wanted = min(MAX_WORKERS, max(1, self._wanted + by))
        logger.info("workers wanted=%d before=%d", wanted, self._wanted)
        self._wanted = wanted

    def _restart(self) -> None:
        """Begin to replace all workers by such with settings read anew.  [PROC-3]"""
        if self._phase is not Phase.SERVING:
            logger.warning("SIGHUP ignored phase=%s", self._phase.value)
            return
        try:
            config = self._reread()
            tls_terms(config)
        except (SettingsError, TlsError) as error:
            logger.error("restart refused, everything stays as it is: %s", error)  # noqa: TRY400
            return
        if config.addresses != self._config.addresses:
            logger.error("restart refused: where to listen cannot change; stop and start instead")
            return
        if self._loaded is not None:
            logger.warning("the application is preloaded: its code stays the same until a stop")
        logger.info("restarting workers=%d", config.workers)
        self._manager.reloading()
        self._generations.propose(config)
        self._recycling = Recycling(config)
        self._setbacks.forget()

    def _give_up_restart(self) -> None:
        logger.error("restart given up, everything stays as it is")
        self._generations.take_back()
        self._recycling = Recycling(self._config)
        self._setbacks.forget()
        self._manager.ready("restart given up")

    def _on_changes(self, watcher: ChangeWatcher) -> None:
        """Let the old code go; when it is gone, the new is started."""
        try:
            changed = watcher.take()
        except EOFError:
            logger.error("nobody watches the files any more; start again")  # noqa: TRY400
            return
        if not changed or self._phase is Phase.DRAINING:
            return
        logger.info("reloading changed=%s", ", ".join(changed))
        self._setbacks.forget()
        order = says.Stop(grace=RELOAD_GRACE, is_quick=False, is_retiring=True)
        for worker in self._fleet.in_stage(Stage.SPAWNED, Stage.READY):
            self._fleet.order(worker, order)

    # --- stopping

    def _stop(self, why: str, *, is_quick: bool) -> None:
        """Have everybody stop; a second time, sooner.  [STOP-1]"""
        grace = self._config.graceful_timeout
        if is_quick:
            grace = min(_QUICK, grace)
        logger.info("stopping %s workers=%d within=%gs", why, len(self._fleet.workers), grace)
        if self._phase is not Phase.DRAINING:
            self._move(PhaseEvent.STOP_ASKED)
            self._manager.stopping()
        order = says.Stop(grace=grace, is_quick=is_quick, is_retiring=False)
        for worker in self._fleet.workers.values():
            self._fleet.order(worker, order)
        if not self._fleet.workers:
            self._move(PhaseEvent.DRAINED)

    def _close_listeners_if_unused(self) -> None:
        """Refuse further clients once no worker takes any: they should not wait in vain."""
        is_used = any(worker.is_listening for worker in self._fleet.workers.values())
        if self._phase is Phase.DRAINING and not is_used:
            self._close_listeners()

    def _end(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._close_listeners()
        self._wakeup.close()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _move(self, event: PhaseEvent) -> None:
        before = self._phase
        self._phase = PHASE_MOVES[before, event]
        logger.debug("phase %s -> %s", before.value, self._phase.value)

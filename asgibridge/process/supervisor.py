"""The supervisor: owns the listeners, keeps the workers it wants, and runs neither loop nor thread.

It sleeps in one poll(2), on the workers' channels and on a pipe that signals write to.  Whenever it
wakes it hears the workers, reaps, acts on signals, and takes the steps that `policy` decides.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asgibridge.app.loader import LoadedApplication, load
from asgibridge.config.settings import MAX_WORKERS
from asgibridge.errors import SettingsError, StartError
from asgibridge.ops.reopening import reopen_log_files
from asgibridge.process import channel as says
from asgibridge.process.census import log_census
from asgibridge.process.fleet import Fleet
from asgibridge.process.log_setup import configure_logs
from asgibridge.process.phase import PHASE_MOVES, Phase, PhaseEvent
from asgibridge.process.policy import (
    STEADY,
    Kill,
    Reason,
    Retire,
    Spawn,
    WorkerView,
    backoff,
    next_steps,
)
from asgibridge.process.policy import Fleet as FleetView
from asgibridge.process.recycling import Recycling
from asgibridge.process.server import listeners_of
from asgibridge.process.service_manager import ServiceManager
from asgibridge.process.titles import set_title
from asgibridge.process.wakeup import Wakeup
from asgibridge.process.worker import Stage, StageEvent, Worker, describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.config.settings import Config
    from asgibridge.net.sockets import Listener

__all__ = ["Supervisor"]

logger = logging.getLogger("asgibridge")

EXIT_OK: Final = 0
EXIT_NOT_CLEAN: Final = 1

# Seconds between two looks at the workers when nothing happens.
TICK: Final = 1.0
# Failed starts in a row, with nobody serving, after which there is no point in going on.  [PROC-2]
MAX_FAILED_STARTS: Final = 3
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
        self._config = config
        self._reread = reread
        self._phase = Phase.NEW
        self._wanted = config.workers
        self._generation = 1
        # The settings to go back to if no worker starts with the new ones; None if one did.
        self._previous: Config | None = None
        self._listeners: list[Listener] = []
        self._loaded: LoadedApplication | None = None
        self._spawn_at = 0.0
        self._quick_deaths = 0  # in a row
        self._failed_starts = 0  # in a row
        self._fatal: tuple[str, str] | None = None
        self._is_clean = True
        self._is_quick = False
        self._next_look = 0.0
        self._wakeup = Wakeup(_SIGNALS)
        self._fleet = Fleet(_SLOTS, self._wakeup.release)
        self._manager = ServiceManager()
        self._recycling = Recycling(config)

    def run(self) -> int:
        """Serve until a signal asks to stop; return the exit code.

        Raises:
            SettingsError: a file that the settings name is wrong.
            StartError: a listener could not be opened, or no worker could be started.
        """
        configure_logs(self._config, shows_pid=True)
        self._move(PhaseEvent.START_ASKED)
        try:
            self._start()
            while self._phase is not Phase.STOPPED:
                self._turn()
        finally:
            self._close_listeners()
            self._wakeup.close()
        if self._fatal is not None:
            message, trace = self._fatal
            raise StartError(f"{trace}{message}")
        return EXIT_OK if self._is_clean else EXIT_NOT_CLEAN

    # --- starting

    def _start(self) -> None:
        config = self._config
        _check_threads("before the workers are forked")
        self._listeners = listeners_of(config)
        for listener in self._listeners:
            logger.info("listening on %s", listener.url)
        if config.preload or callable(config.app):
            self._loaded = load(
                config.app,
                factory=config.factory,
                app_dir=config.app_dir,
                interface=config.interface,
            )
            _check_threads(f"on import of {self._loaded.name}")
        set_title("supervisor", str(config.app or "demo"))
        self._wakeup.open()

    def _turn(self) -> None:
        """Wait for something to happen, and do what follows from it."""
        self._take_steps()
        readable = self._wakeup.wait(
            [worker.channel for worker in self._fleet.workers.values()], self._patience()
        )
        for worker in list(self._fleet.workers.values()):
            if worker.channel.fileno() in readable:
                self._hear(worker)
        for number in self._wakeup.take_signals():
            self._on_signal(number)
        for worker, wait_status in self._fleet.reap():
            self._hear(worker)
            self._on_gone(worker, wait_status)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + TICK
            self._look(now)

    def _patience(self) -> float:
        """Say how many seconds may pass before there is something to do anyhow."""
        now = time.monotonic()
        moments = [self._next_look, *(w.kill_at for w in self._fleet.workers.values() if w.kill_at)]
        if self._spawn_at > now:
            moments.append(self._spawn_at)
        return max(0.0, min(moments) - now)

    # --- what the workers say

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
            return
        now = time.monotonic()
        worker.ready_at = now
        worker.kill_at = None
        self._failed_starts = 0
        logger.info("%s ready after=%.2fs", worker.name, now - worker.spawned_at)
        if worker.generation == self._generation and self._previous is not None:
            self._previous = None
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
        if worker.stage is Stage.RETIRING:
            log = logger.info if wait_status == 0 else logger.warning
            log("%s gone %s", worker.name, how)
            self._is_clean &= wait_status == 0 or self._phase is not Phase.DRAINING
        elif worker.stage is Stage.SPAWNED:
            self._on_failed_start(worker, how)
        else:
            logger.error(
                "%s died %s served=%.1fs", worker.name, how, now - (worker.ready_at or now)
            )
            is_quick = now - (worker.ready_at or now) < STEADY
            self._wait_before_spawning(self._quick_deaths + 1 if is_quick else 1)
        if self._phase is Phase.DRAINING:
            worker.is_listening = False
            self._close_listeners_if_unused()
            if len(self._fleet.workers) == 1:  # it is about to be removed
                self._move(PhaseEvent.DRAINED if self._is_clean else PhaseEvent.GRACE_OVER)

    def _on_failed_start(self, worker: Worker, how: str) -> None:
        message, trace = worker.failure or (
            f"it ended before it was ready ({how}); the log above may tell why",
            "",
        )
        self._failed_starts += 1
        is_last = (
            self._failed_starts >= MAX_FAILED_STARTS
            and not self._fleet.in_stage(Stage.READY)
            and self._phase is not Phase.DRAINING
        )
        logger.error(
            "%s could not start attempt=%d: %s%s",
            *(worker.name, self._failed_starts, message),
            "" if is_last or not trace else f"\n{trace}",
        )
        if self._previous is not None and worker.generation == self._generation:
            self._give_up_restart()
        elif is_last:
            self._fatal = (message, trace)
            self._stop("reason=no worker can start", is_quick=True)
        else:
            self._wait_before_spawning(self._failed_starts + 1)

    def _wait_before_spawning(self, quick_deaths: int) -> None:
        self._quick_deaths = quick_deaths
        pause = backoff(quick_deaths)
        self._spawn_at = time.monotonic() + pause
        if pause:
            logger.warning("waiting %.2gs before the next start", pause)

    # --- signals

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
                self._tell_all(says.Reopen())
            case signal.SIGUSR2:
                log_census(self._fleet.workers.values(), self._wanted)
                self._tell_all(says.Dump())
            case _:
                pass  # SIGCHLD: reaping follows

    def _change_wanted(self, by: int) -> None:
        wanted = min(MAX_WORKERS, max(1, self._wanted + by))
        logger.info("workers wanted=%d before=%d", wanted, self._wanted)
        self._wanted = wanted

    def _tell_all(self, order: says.Reopen | says.Dump) -> None:
        for worker in self._fleet.workers.values():
            worker.channel.send(order)

    def _restart(self) -> None:
        """Begin to replace all workers by such with settings read anew.  [PROC-3]"""
        if self._phase is not Phase.SERVING:
            logger.warning("SIGHUP ignored phase=%s", self._phase.value)
            return
        try:
            config = self._reread()
        except SettingsError as error:
            logger.error("restart refused, everything stays as it is: %s", error)  # noqa: TRY400
            return
        if config.addresses != self._config.addresses:
            logger.error("restart refused: where to listen cannot change; stop and start instead")
            return
        if self._loaded is not None:
            logger.warning("restarting with the application's code of before: it is preloaded")
        logger.info("restarting workers=%d", config.workers)
        self._manager.reloading()
        self._previous = self._previous or self._config
        self._adopt(config, self._generation + 1)
        self._failed_starts = 0

    def _give_up_restart(self) -> None:
        assert self._previous is not None  # noqa: S101 - callers have looked
        logger.error("restart given up, everything stays as it is")
        self._adopt(self._previous, self._generation - 1)
        self._previous = None
        self._failed_starts = 0
        self._manager.ready("restart given up")

    def _adopt(self, config: Config, generation: int) -> None:
        self._config = config
        self._generation = generation
        self._recycling = Recycling(config)

    # --- stopping

    def _stop(self, why: str, *, is_quick: bool) -> None:
        """Have everybody stop; a second time, sooner.  [STOP-1]"""
        grace = self._config.graceful_timeout
        if is_quick:
            grace = min(_QUICK, grace)
        logger.info("stopping %s workers=%d within=%gs", why, len(self._fleet.workers), grace)
        if self._phase is not Phase.DRAINING:
            event = PhaseEvent.STOP_ASKED
            self._move(event)
            self._manager.stopping()
        order = says.Stop(grace=grace, is_quick=is_quick, is_retiring=False)
        for worker in self._fleet.workers.values():
            self._fleet.order(worker, order)
        if not self._fleet.workers:
            self._move(PhaseEvent.DRAINED)

    def _close_listeners_if_unused(self) -> None:
        """Refuse further clients when no worker takes any: they should not wait in vain."""
        if self._phase is Phase.DRAINING and not any(
            worker.is_listening for worker in self._fleet.workers.values()
        ):
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    # --- looking after them

    def _look(self, now: float) -> None:
        """See who should be replaced, and tell the service manager that somebody serves."""
        ready = self._fleet.in_stage(Stage.READY)
        for worker in ready:
            self._recycling.look_at(worker, now)
        if self._phase is not Phase.SERVING or any(not worker.is_stuck for worker in ready):
            self._manager.alive(now)

    def _take_steps(self) -> None:
        workers = [
            WorkerView(
                pid=worker.pid,
                stage=worker.stage,
                generation=worker.generation,
                spawned_at=worker.spawned_at,
                kill_at=worker.kill_at,
                is_due=worker.due is not None,
            )
            for worker in self._fleet.workers.values()
        ]
        view = FleetView(
            workers=workers,
            wanted=self._wanted,
            generation=self._generation,
            spawn_at=self._spawn_at,
            is_stopping=self._phase in (Phase.DRAINING, Phase.STOPPED),
        )
        for step in next_steps(view, time.monotonic()):
            match step:
                case Spawn():
                    self._spawn()
                case Retire(pid):
                    self._retire(self._fleet.workers[pid])
                case Kill(pid):
                    self._kill(self._fleet.workers[pid])

    def _spawn(self) -> None:
        try:
            worker = self._fleet.fork(self._config, self._generation, self._listeners, self._loaded)
        except OSError as error:
            logger.error("cannot fork: %s", error.strerror)  # noqa: TRY400 - no traceback tells more
            self._wait_before_spawning(self._quick_deaths + 1)
        else:
            logger.info("%s started", worker.name)

    def _retire(self, worker: Worker) -> None:
        self._recycling.log_farewell(worker)
        self._fleet.order(
            worker,
            says.Stop(grace=self._config.graceful_timeout, is_quick=False, is_retiring=True),
        )

    def _kill(self, worker: Worker) -> None:
        logger.error("%s killed: it had its time to %s", worker.name, _purpose(worker))
        self._is_clean &= worker.stage is not Stage.RETIRING or self._phase is not Phase.DRAINING
        self._fleet.kill(worker)

    def _move(self, event: PhaseEvent) -> None:
        before = self._phase
        self._phase = PHASE_MOVES[before, event]
        logger.debug("phase %s -> %s", before.value, self._phase.value)


def _purpose(worker: Worker) -> str:
    return "start" if worker.stage is Stage.SPAWNED else "stop"


def _check_threads(when: str) -> None:
    """Refuse to fork from a process with threads: the child would have their locks, not them.

    Raises:
        StartError: there are some.
    """
    others = [thread.name for thread in threading.enumerate()]
    others.remove(threading.current_thread().name)
    native = _native_threads()
    if others or native > 1:
        names = f" ({', '.join(others)})" if others else ""
        raise StartError(
            f"workers cannot be forked: {max(len(others), native - 1)} other threads run{names} "
            f"{when}; start them later, from the application's first request or start-up event, "
            "or do without preload"
        )


def _native_threads() -> int:
    """Count all threads of this process, those of C libraries too; 1 where it cannot be told."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1

"""One process: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from asgibridge.app.lifespan import Lifespan, LifespanMode
from asgibridge.app.loader import LoadedApplication, load
from asgibridge.errors import StartError
from asgibridge.net.addresses import parse_address
from asgibridge.net.sockets import Listener, inherited_listeners, open_listeners
from asgibridge.process.assembly import Assembly, assemble
from asgibridge.process.capacity import (
    descriptors_needed,
    raise_descriptor_limit,
    too_few_descriptors,
)
from asgibridge.process.countdown import Countdown
from asgibridge.process.drain import Drain, StopReport
from asgibridge.process.in_flight import TIME_OVER, log_in_flight
from asgibridge.process.phase import PHASE_MOVES, Phase, PhaseEvent
from asgibridge.process.statistics import activity_of, statistics_of
from asgibridge.process.tls import tls_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from asgibridge.config.settings import Config
    from asgibridge.process.statistics import ServerStatistics

__all__ = ["Membership", "Server", "listeners_of", "load_application", "urls_of"]

logger = logging.getLogger("asgibridge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a server is given that serves beside others, under somebody who can replace it.

    Attributes:
        listeners: shared with the others; this process closes its own copies.
        loaded: the application, if it was imported before the fork.
        on_exhausted: asks for a successor: overdue requests hold all threads.
        on_unlistened: hears that this process listens no more.
    """

    listeners: Sequence[Listener]
    loaded: LoadedApplication | None
    on_exhausted: Callable[[], None]
    on_unlistened: Callable[[], None]


class Server:
    """Serves one application in the running loop.

    Use it as a context manager, `async with Server(config) as server:`, or await `serve()`.  It
    installs no signal handlers, configures no logs and never ends the process.

    Attributes:
        config: its settings.
        report: how the stop went; None before.
    """

    def __init__(self, config: Config, *, membership: Membership | None = None) -> None:
        """Prepare to serve; nothing is loaded or opened yet.

        Args:
            config: the settings.
            membership: what a worker of several is given; None for a server of its own.
        """
        self.config = config
        self._membership = membership
        self.report: StopReport | None = None
        self._phase = Phase.NEW
        self._loaded: LoadedApplication | None = membership.loaded if membership else None
        self._lifespan: Lifespan | None = None
        self._listeners: list[Listener] = []
        self._assembly: Assembly | None = None
        self._drain: Drain | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    @property
    def phase(self) -> Phase:
        """Where the server stands."""
        return self._phase

    @property
    def urls(self) -> list[str]:
        """Where it listens: `http://127.0.0.1:8000` with the real port, or `unix:/path`.

        Under TLS `https://127.0.0.1:8000`.
        """
        return urls_of(self.config, self._listeners)

    @property
    def summary(self) -> str:
        """What it serves, and within which limits, as the log tells it; "" before it has started.

        Loop thread.
        """
        if self._assembly is None or self._loaded is None:
            return ""
        gate = self._assembly.wiring.gate
        pool = self._assembly.pool
        facts = {
            "app": self._loaded.name,
            "interface": self._loaded.interface,
            "threads": pool.size if pool is not None else "none",
            "worker_connections": gate.worker_connections,
            "max_in_flight": gate.max_in_flight if gate.max_in_flight is not None else "none",
            "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        }
        return " ".join(f"{name}={value}" for name, value in facts.items())

    def load(self) -> LoadedApplication:
        """Import the application, if that has not been done.

        Raises:
            LoadError: it cannot be found, or is no application.
        """
        if self._loaded is None:
            self._loaded = load_application(self.config)
        return self._loaded

    async def start(self, *, startup_deadline: float | None = None) -> None:
        """Load and start the application, open the listeners, begin to serve.

        A port that listens means an application that is ready.

        Args:
            startup_deadline: `time.monotonic()` until which the application may take; by default
                `startup_timeout` from now.

        Raises:
            StartError: the application, its lifespan or a listener failed; nothing is left open.
        """
        self._move(PhaseEvent.START_ASKED)
        config = self.config
        if startup_deadline is None:
            startup_deadline = time.monotonic() + config.startup_timeout
        try:
            self._check_descriptors()
            tls = tls_terms(config)
            loaded = self.load()
            lifespan = Lifespan(loaded.application, LifespanMode(config.lifespan))
            if loaded.interface == "asgi":
                self._lifespan = lifespan
                await lifespan.start(max(0.0, startup_deadline - time.monotonic()))
            self._listeners = self._open_listeners()
            self._assembly = assemble(
                config,
                loaded,
                lifespan.state,
                asyncio.get_running_loop(),
                self._on_exhausted,
                tls=tls,
                is_shared=self._membership is not None,
            )
            if self._assembly.pool is not None:
                self._assembly.pool.start()
        except BaseException:
            await self._undo_start()
            self._move(PhaseEvent.START_FAILED)
            self._stopped.set()
            raise
        self._assembly.acceptor.open(self._listeners)
        self._move(PhaseEvent.LISTENING)
        self._announce()

    async def serve(self) -> StopReport:
        """Start if need be, and serve until `stop` is called.

        If the awaiting task is cancelled, the server stops gracefully before the cancellation goes
        on.

        Raises:
            StartError: as `start`.
        """
        if self._phase is Phase.NEW:
            await self.start()
        try:
            await self._stopped.wait()
        except asyncio.CancelledError:
            self.stop()
            await self._stopped.wait()
            raise
        assert self.report is not None  # noqa: S101 - a stopped server has reported
        return self.report

    def stop(
        self, *, grace: float | None = None, is_quick: bool = False, is_retiring: bool = False
    ) -> None:
        """Begin to stop gracefully, in *grace* seconds at most (default: `graceful_timeout`).

        A call while stopping shortens the time that is left, never lengthens it.  Loop thread.

        Args:
            grace: seconds.
            is_quick: cut what is in flight now; *grace* is for the application's shutdown.
            is_retiring: others serve the same listeners: leave to them whoever is queued, and close
                WebSockets with 1012 (service restart) in place of 1001 (going away).

        Raises:
            StartError: the server has not started.
        """
        if self._phase in (Phase.NEW, Phase.STARTING):
            raise StartError("the server cannot stop before it has started")
        if self._phase is Phase.STOPPED or self._assembly is None:
            return
        seconds = self.config.graceful_timeout if grace is None else grace
        deadline = asyncio.get_running_loop().time() + seconds
        if self._drain is None:
            self._move(PhaseEvent.STOP_ASKED)
            self._drain = Drain(
                self._assembly,
                self._listeners,
                self._lifespan,
                delay=0.0 if is_retiring else self.config.shutdown_delay,
                deadline=deadline,
                is_quick=is_quick,
                is_retiring=is_retiring,
                on_unlistened=self._membership.on_unlistened if self._membership else None,
            )
            self._stopping = asyncio.get_running_loop().create_task(self._stop(self._drain))
        else:
            self._drain.hurry(deadline, is_quick=is_quick)

    def call_after(self, requests: int, callback: Callable[[], None]) -> None:
        """Call *callback* when *requests* more have been answered or cut.  Loop thread, started.

        Raises:
            StartError: the server has not started.
        """
        if self._assembly is None:
            raise StartError("the server counts no requests before it has started")
        Countdown(self._assembly.wiring, requests, callback).begin()

    def describe(self, why: str) -> None:
        """Log what is in flight, *why* first, with stacks of threads and tasks.  Thread: any."""
        if self._assembly is not None:
            log_in_flight(self._assembly, why, level=logging.INFO)

    def tell_before_end(self) -> None:
        """Log what is in flight, and the access records that wait.  Thread: any.

        For those who end the process while the loop cannot.
        """
        assembly = self._assembly
        if assembly is None or self.report is not None:
            return
        with contextlib.suppress(RuntimeError):  # what changes meanwhile cannot be listed
            if self._drain is not None:
                log_in_flight(assembly, TIME_OVER)
            if assembly.recorder is not None:
                for connection in list(assembly.wiring.connections):
                    exchange = connection.exchange
                    if exchange is not None:
                        assembly.recorder.record_last(exchange, "the process ended")
        if assembly.recorder is not None:
            assembly.recorder.flush()

    async def wait_stopped(self) -> None:
        """Wait until the server has stopped."""
        await self._stopped.wait()

    def activity(self) -> tuple[int, ...]:
        """Return what stays the same only while nothing happens; () before the start."""
        return activity_of(self._assembly, self._phase) if self._assembly else ()

    def statistics(self) -> ServerStatistics:
        """Return the counts at this moment.

        Raises:
            StartError: the server has not started.
        """
        assembly = self._assembly
        if assembly is None:
            raise StartError("the server has no statistics before it has started")
        return statistics_of(assembly, self._phase)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        await self._stopped.wait()

    # --- the steps

    def _open_listeners(self) -> list[Listener]:
        if self._membership is not None:
            return list(self._membership.listeners)
        return listeners_of(self.config)

    def _check_descriptors(self) -> None:
        connections = self.config.worker_connections
        needed = descriptors_needed(connections)
        limit = raise_descriptor_limit(needed)
        if limit < needed:
            raise StartError(
                too_few_descriptors(limit=limit, needed=needed, worker_connections=connections)
            )

    async def _undo_start(self) -> None:
        # First what takes no time: a cancellation may come while the application shuts down.
        _close_all(self._listeners)
        if self._assembly is not None and self._assembly.pool is not None:
            self._assembly.pool.stop()
        if self._lifespan is not None:
            await self._lifespan.stop(self.config.graceful_timeout)

    def _announce(self) -> None:
        if self._membership is not None:
            return  # the supervisor does, once for all
        for url in self.urls:
            logger.info("listening on %s", url)
        logger.info("ready pid=%d %s", os.getpid(), self.summary)
        if self.config.app is None:
            logger.info("this is the demo; serve your own: asgibridge serve module:app")

    async def _stop(self, drain: Drain) -> None:
        try:
            self.report = await drain.run()
        finally:
            _close_all(self._listeners)
            report = self.report
            is_clean = report is not None and report.is_clean
            self._move(PhaseEvent.DRAINED if is_clean else PhaseEvent.GRACE_OVER)
            self._stopped.set()

    def _on_exhausted(self) -> None:
        if self._membership is not None:
            self._membership.on_exhausted()
            return
        logger.critical("all threads are overdue: stopping, so that a fresh process can take over")
        if self._phase is Phase.SERVING:
            self.stop()

    def _move(self, event: PhaseEvent) -> None:
        before = self._phase
        self._phase = PHASE_MOVES[before, event]
        logger.debug("phase %s -> %s", before.value, self._phase.value)

    def __repr__(self) -> str:
        return f"<Server {self._phase.value} {' '.join(self.urls)}>"


def load_application(config: Config) -> LoadedApplication:
    """Import the application that *config* names.

    Raises:
        LoadError: it cannot be found, or is no application.
    """
    return load(
        config.app, factory=config.factory, app_dir=config.app_dir, interface=config.interface
    )


def listeners_of(config: Config) -> list[Listener]:
    """Open what *config* names, or adopt what the service manager has opened for this process.

    Raises:
        BindError: one of them could not be opened or adopted.
    """
    inherited = inherited_listeners()
    if inherited:
        return inherited
    addresses = [parse_address(text, default_mode=config.uds_mode) for text in config.addresses]
    return open_listeners(addresses, backlog=config.backlog)


def urls_of(config: Config, listeners: Sequence[Listener]) -> list[str]:
    """Say where *listeners* are reached, with the scheme that *config* has them speak."""
    scheme = "http://" if config.ssl_certfile is None else "https://"
    return [listener.url.replace("http://", scheme, 1) for listener in listeners]


def _close_all(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()

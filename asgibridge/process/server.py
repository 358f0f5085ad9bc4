"""One process: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

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
from asgibridge.process.drain import RESTARTING, Drain, StopReport
from asgibridge.process.phase import PHASE_MOVES, Phase, PhaseEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from asgibridge.app.threads import PoolStatistics
    from asgibridge.config.settings import Config
    from asgibridge.net.gate import GateStatistics

__all__ = ["Server", "ServerStatistics"]

logger = logging.getLogger("asgibridge")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics:
    """A server at one moment.

    Attributes:
        phase: where it stands.
        gate: the counts of connections.
        pool: the threads; None for an ASGI application.
        is_paused: whether the listeners are not watched for want of room.
        pauses: how often that was so.
        paused_seconds: for how long in all, by reason.
        queue_length: clients in the kernel's accept queues; None where it does not tell.
        requests: answered or cut since the start.
        refused: requests that broke the protocol or a limit.
        cut: those of `requests` whose response did not end well.
    """

    phase: Phase
    gate: GateStatistics
    pool: PoolStatistics | None
    is_paused: bool
    pauses: int
    paused_seconds: dict[str, float]
    queue_length: int | None
    requests: int
    refused: int
    cut: int


class Server:
    """Serves one application in the running loop.

    Use it as a context manager, `async with Server(config) as server:`, or await `serve()`.  It
    installs no signal handlers, configures no logs and never ends the process.

    Attributes:
        config: its settings.
        report: how the stop went; None before.
    """

    def __init__(self, config: Config) -> None:
        """Prepare to serve; nothing is loaded or opened yet."""
        self.config = config
        self.report: StopReport | None = None
        self._phase = Phase.NEW
        self._loaded: LoadedApplication | None = None
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
        """Where it listens: `http://127.0.0.1:8000` with the real port, or `unix:/path`."""
        return [listener.url for listener in self._listeners]

    def load(self) -> LoadedApplication:
        """Import the application, if that has not been done.

        Raises:
            LoadError: it cannot be found, or is no application.
        """
        if self._loaded is None:
            config = self.config
            self._loaded = load(
                config.app,
                factory=config.factory,
                app_dir=config.app_dir,
                interface=config.interface,
            )
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
            loaded = self.load()
            lifespan = Lifespan(loaded.application, LifespanMode(config.lifespan))
            if loaded.interface == "asgi":
                self._lifespan = lifespan
                await lifespan.start(max(0.0, startup_deadline - time.monotonic()))
            self._listeners = self._open_listeners()
            self._assembly = assemble(
                config, loaded, lifespan.state, asyncio.get_running_loop(), self._on_exhausted
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
        self._announce(loaded)

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
        self, *, grace: float | None = None, is_quick: bool = False, is_restart: bool = False
    ) -> None:
        """Begin to stop gracefully, in *grace* seconds at most (default: `graceful_timeout`).

        A call while stopping shortens the time that is left, never lengthens it.  Loop thread.

        Args:
            grace: seconds.
            is_quick: cut what is in flight now; *grace* is for the application's shutdown.
            is_restart: another process goes on to serve: WebSockets are closed with 1012 (service
                restart) in place of 1001 (going away).

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
                delay=self.config.shutdown_delay,
                deadline=deadline,
                is_quick=is_quick,
            )
            if is_restart:
                self._drain.going_away = RESTARTING
            self._stopping = asyncio.get_running_loop().create_task(self._stop(self._drain))
        else:
            self._drain.hurry(deadline, is_quick=is_quick)

    def tell_before_end(self) -> None:
        """Log what is in flight, and the access records that wait.  Thread: any.

        For those who end the process while the loop cannot.
        """
        assembly = self._assembly
        if assembly is None or self.report is not None:
            return
        with contextlib.suppress(RuntimeError):  # what changes meanwhile cannot be listed
            if self._drain is not None:
                self._drain.describe()
            if assembly.recorder is not None:
                for connection in list(assembly.wiring.connections):
                    exchange = connection.exchange
                    if exchange is not None:
                        assembly.recorder.record_last(exchange, connection, "the process ended")
        if assembly.recorder is not None:
            assembly.recorder.flush()

    async def wait_stopped(self) -> None:
        """Wait until the server has stopped."""
        await self._stopped.wait()

    def statistics(self) -> ServerStatistics:
        """Return the counts at this moment.

        Raises:
            StartError: the server has not started.
        """
        assembly = self._assembly
        if assembly is None:
            raise StartError("the server has no statistics before it has started")
        counters = assembly.wiring.counters
        times = assembly.acceptor.times
        return ServerStatistics(
            phase=self._phase,
            gate=assembly.wiring.gate.statistics(),
            pool=assembly.pool.statistics() if assembly.pool is not None else None,
            is_paused=assembly.acceptor.reason is not None,
            pauses=times.count,
            paused_seconds={reason.value: spent for reason, spent in times.seconds.items()},
            queue_length=assembly.acceptor.queue_length(),
            requests=counters.requests,
            refused=counters.refused,
            cut=counters.cut,
        )

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
        config = self.config
        inherited = inherited_listeners()
        if inherited:
            return inherited
        addresses = [parse_address(text, default_mode=config.uds_mode) for text in config.addresses]
        return open_listeners(addresses, backlog=config.backlog)

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

    def _announce(self, loaded: LoadedApplication) -> None:
        assert self._assembly is not None  # noqa: S101 - called at the end of start
        for url in self.urls:
            logger.info("listening on %s", url)
        gate = self._assembly.wiring.gate
        pool = self._assembly.pool
        facts: dict[str, Any] = {
            "pid": os.getpid(),
            "app": loaded.name,
            "interface": loaded.interface,
            "threads": pool.size if pool is not None else "none",
            "worker_connections": gate.worker_connections,
            "max_in_flight": gate.max_in_flight if gate.max_in_flight is not None else "none",
            "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        }
        logger.info("ready %s", " ".join(f"{name}={value}" for name, value in facts.items()))
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
        logger.critical("all threads are overdue: stopping, so that a fresh process can take over")
        if self._phase is Phase.SERVING:
            self.stop()

    def _move(self, event: PhaseEvent) -> None:
        before = self._phase
        self._phase = PHASE_MOVES[before, event]
        logger.debug("phase %s -> %s", before.value, self._phase.value)

    def __repr__(self) -> str:
        return f"<Server {self._phase.value} {' '.join(self.urls)}>"


def _close_all(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()

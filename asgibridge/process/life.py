"""One serving process, from its signal handlers to its last farewell.

Alone it hears signals, and a second one ends it at once.  Under a supervisor it hears orders: then
SIGTERM from somebody else is passed on, so that a successor serves before this one goes, and
Ctrl-C, which a terminal sends to every process of the group, is left to the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgibridge.errors import StartError
from asgibridge.ops.reopening import reopen_log_files
from asgibridge.ops.stacks import format_all_threads
from asgibridge.process import channel as says
from asgibridge.process.loops import close_loop, come_to, log_loop_trouble, loop_factory
from asgibridge.process.phase import Phase
from asgibridge.process.pulse import LoopMonitor, Pulse
from asgibridge.process.signals import SignalRelay
from asgibridge.process.watchdog import Watchdog

if TYPE_CHECKING:
    from types import FrameType

    from asgibridge.config.settings import Config
    from asgibridge.process.channel import Channel
    from asgibridge.process.server import Server

__all__ = ["EXIT_NOT_CLEAN", "EXIT_OK", "EXIT_START_FAILED", "LIFE_SIGNALS", "Life", "Onlooker"]

logger = logging.getLogger("asgibridge")

EXIT_OK: Final = 0
EXIT_NOT_CLEAN: Final = 1
EXIT_START_FAILED: Final = 3

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# SIGHUP is here so that it ends no process that was not told to end.
_OTHER_SIGNALS: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LIFE_SIGNALS: Final = frozenset({*_STOP_SIGNALS, *_OTHER_SIGNALS})
"""All that a serving process handles."""
# Seconds that the quick stop (SIGQUIT, or a second signal) leaves for the application's shutdown.
_QUICK: Final = 1.0
# Seconds that every stop may take, even with a `graceful_timeout` of 0: to close and to tell.
_LEAST: Final = 0.25


class _StopAsked(BaseException):
    """A signal came before the start was complete."""


class Onlooker(Protocol):
    """Whoever is told how the process is.  Called on the loop."""

    def on_ready(self, server: Server) -> None:
        """The application is started and the listeners are watched."""

    def on_beat(self, now: float) -> None:
        """A second has passed, and the loop still turns; *now* is by `time.monotonic()`."""

    def on_stopping(self) -> None:
        """The stop has begun."""


class Life:
    """One run of *server*, which is its own master or obeys a supervisor.

    To be used from the main thread.
    """

    def __init__(
        self,
        config: Config,
        server: Server,
        *,
        onlooker: Onlooker,
        channel: Channel | None = None,
    ) -> None:
        """Prepare to run.

        Args:
            config: the settings.
            server: not started yet.
            onlooker: is told how it goes.
            channel: to the supervisor; None for a process that has none.

        Raises:
            StartError: this is not the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise StartError(
                "only the main thread hears signals; run there, or await Server(config).serve()"
            )
        self._config = config
        self._server = server
        self._onlooker = onlooker
        self._channel = channel
        self._watchdog = Watchdog(self._server.tell_before_end)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[int] | None = None
        self._asked = 0  # how many times somebody has asked to stop
        self._is_starting = True  # and no loop runs that could be told of a signal
        self._handlers_before: dict[signal.Signals, Any] = {}

    def run(self) -> int:
        """Serve until asked to stop; return the exit code.

        Raises:
            StartError: the application or a listener could not be started.
        """
        on_signal = self._on_signal if self._channel is None else self._on_signal_to_worker
        for number in _STOP_SIGNALS:
            self._handlers_before[number] = signal.signal(number, on_signal)
        for number in _OTHER_SIGNALS:
            self._handlers_before[number] = signal.signal(number, self._on_other_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LIFE_SIGNALS)  # the fork has blocked them
        if self._channel is not None:
            threading.Thread(
                target=self._obey, args=(self._channel,), name="asgibridge-orders", daemon=True
            ).start()
        try:
            try:
                code = self._serve()
            finally:
                self._is_starting = False  # before all else: a second signal would raise here
        except _StopAsked:
            logger.info("stopped before the start was complete")
            code = EXIT_OK
        except StartError:
            # The application may have left threads that the interpreter would join for ever.
            self._end_within(self._config.graceful_timeout, EXIT_START_FAILED)
            raise
        if not self._asked:
            # It stopped by itself; what the interpreter still joins must not take for ever.
            self._end_within(self._config.graceful_timeout, EXIT_NOT_CLEAN)
        return code

    def release(self) -> None:
        """Let the process go on for as long as it likes, and hear its own signals."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._watchdog.call_off()

    def _serve(self) -> int:
        timeout = self._config.startup_timeout
        deadline = time.monotonic() + timeout
        # The import can't be interrupted; beyond the lifespan's own timeout, so that its clearer
        # message comes first.
        self._watchdog.set(
            deadline + _QUICK, EXIT_START_FAILED, f"the start took longer than {timeout:g} s"
        )
        self._server.load()
        if self._asked:  # something has swallowed the exception: an `except:`, a finalizer
            raise _StopAsked
        loop = loop_factory(self._config.loop)()
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(self._main(loop, deadline))
        finally:
            close_loop(loop)

    async def _main(self, loop: asyncio.AbstractEventLoop, deadline: float) -> int:
        self._task = asyncio.current_task()
        self._loop = loop
        self._is_starting = False
        if self._asked:
            raise _StopAsked
        loop.set_exception_handler(log_loop_trouble)
        with contextlib.ExitStack() as closing:
            closing.callback(SignalRelay(self._on_signal_heard).close)
            try:
                await self._server.start(startup_deadline=deadline)
            except asyncio.CancelledError:
                raise _StopAsked from None  # by `_stop`: nobody else knows this task
            self._onlooker.on_ready(self._server)
            pulse = Pulse(loop, self._onlooker.on_beat)
            closing.callback(pulse.stop)
            closing.callback(LoopMonitor(pulse, threading.get_ident()).stop)
            self._watchdog.call_off()
            if self._asked:  # perhaps right before that line
                self._end_within(self._config.graceful_timeout, EXIT_NOT_CLEAN)
            report = await self._server.serve()
        return EXIT_OK if report.is_clean else EXIT_NOT_CLEAN

    # --- signals

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Ask to stop; a second signal, or SIGQUIT, at once.  [STOP-2]  Thread: main, anywhere."""
        is_quick = self._asked > 0 or number == signal.SIGQUIT
        grace = self._config.graceful_timeout
        self._ask_to_stop(
            f"signal={signal.Signals(number).name}",
            min(_QUICK, grace) if is_quick else grace,
            is_quick=is_quick,
        )
        if self._is_starting:
            raise _StopAsked

    def _on_signal_to_worker(self, number: int, frame: FrameType | None) -> None:
        """Pass on what did not come from the supervisor.  Thread: main, anywhere."""
        assert self._channel is not None  # noqa: S101 - installed only then
        if number == signal.SIGQUIT:
            self._on_signal(number, frame)
        elif number == signal.SIGTERM and self._is_starting:
            self._asked += 1
            raise _StopAsked  # by `_obey`, or an operator: nobody is served yet
        elif number == signal.SIGTERM:
            self._channel.send(says.Asked())

    def _on_other_signal(self, number: int, frame: FrameType | None) -> None:
        """Act on what does not stop a process, but for SIGHUP to one that nobody restarts."""
        if number == signal.SIGHUP and self._channel is None:
            # As always, only gracefully: the terminal is gone, or somebody wants a new process.
            self._on_signal(number, frame)
        elif self._loop is None or self._loop.is_closed():
            self._on_request(number)  # nobody relays the signals yet, or any more

    def _on_signal_heard(self, number: int) -> None:
        """Begin to count, even if the main thread should never come to.  Thread: the relay's."""
        is_alone = self._channel is None
        if number in ((*_STOP_SIGNALS, signal.SIGHUP) if is_alone else (signal.SIGQUIT,)):
            self._end_within(self._config.graceful_timeout, EXIT_NOT_CLEAN)
        self._on_request(number)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(come_to)

    def _on_request(self, number: int) -> None:
        """Do what operators ask for while serving.  Thread: any."""
        if number == signal.SIGUSR1:
            reopen_log_files()
        elif number == signal.SIGUSR2:
            self._dump()

    # --- orders

    def _obey(self, channel: Channel) -> None:
        """Follow the supervisor; without it, drain and leave.  [PROC-5]  Thread: its own."""
        while True:
            try:
                for order in channel.receive():
                    self._follow(order)
            except EOFError:
                logger.error("the supervisor is gone")  # noqa: TRY400 - no traceback tells more
                self._ask_to_stop(
                    "reason=the supervisor is gone", self._config.graceful_timeout, is_quick=False
                )
                self._interrupt_start()
                return

    def _follow(self, order: says.Message) -> None:
        match order:
            case says.Stop():
                self._ask_to_stop(
                    "reason=retired" if order.is_retiring else "reason=the server stops",
                    order.grace,
                    is_quick=order.is_quick,
                    is_retiring=order.is_retiring,
                )
                self._interrupt_start()
            case says.Dump():
                self._dump()
            case says.Reopen():
                reopen_log_files()
            case _:
                raise AssertionError(f"no order: {order}")

    def _interrupt_start(self) -> None:
        """Stop an import, which only a signal can."""
        if self._is_starting:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _dump(self) -> None:
        """Log what is in flight, and where every thread and task is.  Thread: any."""
        self._server.describe("as asked for")
        logger.info("all threads:\n%s", format_all_threads())

    # --- the end

    def _ask_to_stop(
        self, why: str, grace: float, *, is_quick: bool, is_retiring: bool = False
    ) -> None:
        """Have the server stop within *grace* seconds, come what may.  Thread: any."""
        self._asked += 1
        self._end_within(grace, EXIT_NOT_CLEAN)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._stop, why, grace, is_quick, is_retiring)

    def _stop(self, why: str, grace: float, is_quick: bool, is_retiring: bool) -> None:  # noqa: FBT001 - a callback
        logger.info("stopping %s within=%gs", why, grace)
        self._onlooker.on_stopping()
        if self._server.phase is Phase.STARTING and self._task is not None:
            self._task.cancel()
        elif self._server.phase is not Phase.NEW:
            self._server.stop(grace=grace, is_quick=is_quick, is_retiring=is_retiring)

    def _end_within(self, seconds: float, exit_code: int) -> None:
        self._watchdog.bring_forward(
            time.monotonic() + max(_LEAST, seconds), exit_code, "the time to stop is over"
        )

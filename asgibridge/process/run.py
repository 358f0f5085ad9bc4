"""Composition root: from settings to a running process, its signals and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asgibridge.config.env_file import read_env_file
from asgibridge.config.settings import Config
from asgibridge.errors import StartError
from asgibridge.ops import logs
from asgibridge.process.phase import Phase
from asgibridge.process.server import Server
from asgibridge.process.signals import SignalRelay
from asgibridge.process.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["close_loop", "log_loop_trouble", "loop_factory", "run", "serve_until_stopped"]

logger = logging.getLogger("asgibridge")

EXIT_OK: Final = 0
EXIT_NOT_CLEAN: Final = 1
EXIT_START_FAILED: Final = 3

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Seconds that the quick stop (SIGQUIT, or a second signal) leaves for the application's shutdown.
_QUICK: Final = 1.0
# Seconds that every stop may take, even with a `graceful_timeout` of 0: to close and to tell.
_LEAST: Final = 0.25


def run(app: Any = None, /, **settings: Any) -> int:  # noqa: ANN401 - str or callable; Config's own
    """Serve *app*, a callable or text such as `main:app`, until a signal asks to stop.

    To be called from the main thread.  If the stop takes longer than `graceful_timeout`, the
    process is ended from here; once this function has returned, it is the caller's again.

    Args:
        app: None serves the built-in demo.
        **settings: as `asgibridge.Config` takes them.

    Returns:
        0 after a graceful stop, 1 if something had to be cut.

    Raises:
        SettingsError: a setting is wrong.
        StartError: the application or a listener could not be started.
    """
    config = Config(app=app, **settings)
    if config.env_file is not None:
        for name, value in read_env_file(Path(config.env_file)).items():
            os.environ.setdefault(name, value)
    process = _Process(config)
    try:
        return process.run()
    finally:
        process.release()


def serve_until_stopped(config: Config) -> int:
    """Serve what *config* says until a signal asks to stop; return the exit code.

    For a process that does nothing else: whatever keeps it from ending, threads that the
    application left behind included, it is gone `graceful_timeout` after the signal.

    Raises:
        StartError: the application or a listener could not be started.
    """
    return _Process(config).run()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop *name*: auto, uvloop or asyncio.

    Raises:
        StartError: uvloop was asked for and is not installed.
    """
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - absent on some platforms, and costly where unwanted
        except ImportError as error:
            if name == "uvloop":
                raise StartError(
                    "uvloop is not installed; run `pip install uvloop` or choose another loop"
                ) from error
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


class _StopAsked(BaseException):
    """A signal came before the start was complete."""


class _Process:
    """One run, from the signal handlers to the last farewell."""

    def __init__(self, config: Config) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise StartError(
                "only the main thread hears signals; run there, or await Server(config).serve()"
            )
        logs.configure(
            config.log_level,
            fmt=config.log_format,
            access=config.access_log,
            access_format=config.access_log_format,
            config_file=config.log_config,
        )
        self._config = config
        self._server = Server(config)
        self._watchdog = Watchdog(self._server.tell_before_end)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[int] | None = None
        self._asked = 0  # how many times a signal has asked to stop
        self._is_starting = True  # and no loop runs that could be told of a signal
        self._handlers_before: dict[signal.Signals, Any] = {}

    def run(self) -> int:
        """Serve until asked to stop; return the exit code."""
        for number in _SIGNALS:
            self._handlers_before[number] = signal.signal(number, self._on_signal)
        try:
            code = self._serve()
        except _StopAsked:
            logger.info("stopped before the start was complete")
            code = EXIT_OK
        except StartError:
            # The application may have left threads that the interpreter would join for ever.
            self._end_within(self._config.graceful_timeout, EXIT_START_FAILED)
            raise
        finally:
            self._is_starting = False
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
        relay = SignalRelay(self._on_signal_heard)
        try:
            try:
                await self._server.start(startup_deadline=deadline)
            except asyncio.CancelledError:
                raise _StopAsked from None  # by `_stop`: nobody else knows this task
            self._watchdog.call_off()
            if self._asked:  # perhaps right before that line
                self._end_within(self._config.graceful_timeout, EXIT_NOT_CLEAN)
            report = await self._server.serve()
        finally:
            relay.close()
        return EXIT_OK if report.is_clean else EXIT_NOT_CLEAN

    # --- signals

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Ask to stop; a second signal, or SIGQUIT, at once.  [STOP-2]  Thread: main, anywhere."""
        self._asked += 1
        is_quick = self._asked > 1 or number == signal.SIGQUIT
        grace = self._config.graceful_timeout
        if is_quick:
            grace = min(_QUICK, grace)
        self._end_within(grace, EXIT_NOT_CLEAN)
        loop = self._loop
        if self._is_starting:
            raise _StopAsked
        if loop is not None and not loop.is_closed():
            name = signal.Signals(number).name
            loop.call_soon_threadsafe(self._stop, name, grace, is_quick)

    def _on_signal_heard(self, number: int) -> None:
        """Begin to count, even if the main thread should never come to.  Thread: the relay's."""
        if number in _SIGNALS:
            self._end_within(self._config.graceful_timeout, EXIT_NOT_CLEAN)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(_come_to)

    def _stop(self, name: str, grace: float, is_quick: bool) -> None:  # noqa: FBT001 - a callback
        logger.info("stopping signal=%s within=%gs", name, grace)
        if self._server.phase is Phase.STARTING and self._task is not None:
            self._task.cancel()
        elif self._server.phase is not Phase.NEW:
            self._server.stop(grace=grace, is_quick=is_quick)

    def _end_within(self, seconds: float, exit_code: int) -> None:
        self._watchdog.bring_forward(
            time.monotonic() + max(_LEAST, seconds), exit_code, "the time to stop is over"
        )


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close *loop* as `asyncio.run` would, but wait for nobody: a watchdog is behind us."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    if sys.exc_info()[0] is None:
        loop.run_until_complete(loop.shutdown_asyncgens())
    # What is left has been named when it was cut.
    loop.set_exception_handler(lambda _loop, _context: None)
    asyncio.set_event_loop(None)
    loop.close()


def _come_to() -> None:
    """Do nothing, in Python: pending signal handlers are called on the way."""


def log_loop_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG001
    """Log what the loop caught, in a callback or a task that nobody awaited."""
    what = context.get("task") or context.get("future") or context.get("handle")
    suffix = f": {what!r}" if what is not None else ""
    exception = context.get("exception")
    logger.error("%s%s", context.get("message", "error in the loop"), suffix, exc_info=exception)

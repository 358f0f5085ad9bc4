"""Composition root: from settings to a running process, its signals and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from asgibridge.config.settings import Config
from asgibridge.ops import logs
from asgibridge.process.phase import Phase
from asgibridge.process.server import Server
from asgibridge.process.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["loop_factory", "run", "serve_until_stopped"]

logger = logging.getLogger("asgibridge")

EXIT_OK: Final = 0
EXIT_NOT_CLEAN: Final = 1
EXIT_START_FAILED: Final = 3

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Seconds that the quick stop (SIGQUIT, or a second signal) leaves for the application's shutdown.
_QUICK: Final = 1.0


def run(app: Any = None, /, **settings: Any) -> int:  # noqa: ANN401 - str or callable; Config's own
    """Serve *app*, a callable or text such as `main:app`, until a signal asks to stop.

    Args:
        app: None serves the built-in demo.
        **settings: as `asgibridge.Config` takes them.

    Returns:
        0 after a graceful stop, 1 if something had to be cut.

    Raises:
        SettingsError: a setting is wrong.
        StartError: the application or a listener could not be started.
    """
    return serve_until_stopped(Config(app=app, **settings))


def serve_until_stopped(config: Config) -> int:
    """Serve what *config* says until a signal asks to stop; return the exit code.

    To be called from the main thread.  If the stop takes longer than `graceful_timeout`, the
    process is ended from here.

    Raises:
        StartError: the application or a listener could not be started.
    """
    logs.configure(
        config.log_level,
        fmt=config.log_format,
        access=config.access_log,
        access_format=config.access_log_format,
        config_file=config.log_config,
    )
    return _Process(config).run()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop *name*: auto, uvloop or asyncio."""
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - absent on some platforms, and costly where unwanted
        except ImportError:
            if name == "uvloop":
                raise
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


class _StopAsked(BaseException):
    """A signal came while the application was being imported."""


class _Process:
    """One run, from the signal handlers to the last farewell."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._watchdog = Watchdog()
        self._server = Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = 0  # how many times a signal has asked to stop

    def run(self) -> int:
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            return self._serve()
        except _StopAsked:
            logger.info("stopped before the start was complete")
            return EXIT_OK
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if not self._asked:
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
        loop = loop_factory(self._config.loop)()
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(self._main(loop, deadline))
        finally:
            self._close(loop)

    async def _main(self, loop: asyncio.AbstractEventLoop, deadline: float) -> int:
        await self._server.start(startup_deadline=deadline)
        if not self._asked:
            self._watchdog.call_off()
        self._loop = loop
        if self._asked:
            self._server.stop()
        report = await self._server.serve()
        if not self._asked:
            # It stopped by itself; what the interpreter still joins must not take for ever.
            self._set_watchdog(self._config.graceful_timeout)
        return EXIT_OK if report.is_clean else EXIT_NOT_CLEAN

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Ask to stop; a second signal, or SIGQUIT, at once.  [STOP-2]  Thread: main, anywhere."""
        self._asked += 1
        is_quick = self._asked > 1 or number == signal.SIGQUIT
        grace = min(_QUICK, self._config.graceful_timeout) if is_quick else None
        self._set_watchdog(self._config.graceful_timeout if grace is None else grace)
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._stop, signal.Signals(number).name, grace)
        elif self._server.phase is Phase.NEW:
            raise _StopAsked

    def _stop(self, name: str, grace: float | None) -> None:
        seconds = self._config.graceful_timeout if grace is None else grace
        logger.info("stopping signal=%s graceful_timeout=%gs", name, seconds)
        self._server.stop(grace=grace)

    def _set_watchdog(self, seconds: float) -> None:
        self._watchdog.set(
            time.monotonic() + seconds, EXIT_NOT_CLEAN, "the time to stop is over"
        )

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the loop as `asyncio.run` would, but wait for nobody: the watchdog is behind us."""
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        if sys.exc_info()[0] is None:
            loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()

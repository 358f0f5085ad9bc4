"""Composition root: from settings to one serving process, or to a supervisor of several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgibridge.config.env_file import read_env_file
from asgibridge.config.settings import Config
from asgibridge.process.life import Life
from asgibridge.process.log_setup import configure_logs
from asgibridge.process.server import Server
from asgibridge.process.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run", "serve_until_stopped"]


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
    if config.is_supervised:
        return _supervise(config, lambda: config)
    life = _alone(config)
    try:
        return life.run()
    finally:
        life.release()


def serve_until_stopped(config: Config, reread: Callable[[], Config]) -> int:
    """Serve what *config* says until a signal asks to stop; return the exit code.

    For a process that does nothing else: whatever keeps it from ending, threads that the
    application left behind included, it is gone `graceful_timeout` after the signal.

    Args:
        config: the settings.
        reread: reads the settings anew, for a rolling restart; may raise `SettingsError`.

    Raises:
        StartError: the application or a listener could not be started.
    """
    if config.is_supervised:
        return _supervise(config, reread)
    return _alone(config).run()


def _supervise(config: Config, reread: Callable[[], Config]) -> int:
    # Imported late: a process that serves alone should not carry it.
    from asgibridge.supervision.supervisor import Supervisor  # noqa: PLC0415 - as told above

    return Supervisor(config, reread).run()


def _alone(config: Config) -> Life:
    """Prepare this process to serve by itself."""
    life = Life(config, Server(config), onlooker=_Alone(ServiceManager()))
    configure_logs(config)  # not before it is certain that this process may serve
    return life


class _Alone:
    """Passes on to the service manager what a process without a supervisor has to tell."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager

    def on_ready(self, server: Server) -> None:
        self._manager.ready(f"serving {' '.join(server.urls)}")

    def on_beat(self, now: float) -> None:
        self._manager.alive(now)

    def on_stopping(self) -> None:
        self._manager.stopping()

"""Logging as the settings want it, for whichever process this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgibridge.ops import logs

if TYPE_CHECKING:
    from asgibridge.config.settings import Config

__all__ = ["configure_logs"]


def configure_logs(config: Config, *, shows_pid: bool = False) -> None:
    """Set up the loggers.  *shows_pid* tells the processes of a supervisor apart in text.

    Raises:
        SettingsError: a file that the settings name is wrong.
    """
    logs.configure(
        config.log_level,
        fmt=config.log_format,
        access=config.access_log,
        access_format=config.access_log_format,
        config_file=config.log_config,
        shows_pid=shows_pid,
    )

"""Tell the service manager how the service is: sd_notify(3), by its environment variables.

Nothing happens where no manager listens.  The protocol is datagrams of NAME=VALUE lines to a Unix
socket; systemd of any version ignores names that it does not know.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ServiceManager"]

logger = logging.getLogger("asgibridge")

# Seconds for which a manager may leave its socket full.
_SEND_TIMEOUT: Final = 1.0


class ServiceManager:
    """What is told to whoever started this process, if it wants to know.  Never raises."""

    def __init__(self, environ: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        """Find out from *environ* who listens, and whether it wants to hear that we are alive."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_interval: float | None = None
        self._next_watchdog = 0.0
        microseconds = environ.get("WATCHDOG_USEC", "")
        # sd_watchdog_enabled(3): meant for the process with that number, or for any without it.
        is_meant = environ.get("WATCHDOG_PID", "") in {"", str(pid or os.getpid())}
        if microseconds.isdecimal() and int(microseconds) and is_meant:
            self._watchdog_interval = int(microseconds) / 1e6 / 2  # as the manual recommends

    def ready(self, status: str) -> None:
        """The start is complete, or a reload is."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """Workers are being replaced; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self, now: float) -> None:
        """Say that the service is alive, as often as its manager wants to hear it.

        To be called about once a second while that is true; *now* is by `time.monotonic()`.
        """
        if self._watchdog_interval is not None and now >= self._next_watchdog:
            # Early by a call's distance, since the next call might be late.
            self._next_watchdog = now + max(0.0, self._watchdog_interval - 1.0)
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the NUL of Linux's abstract names.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SEND_TIMEOUT)
                sock.sendto(text.encode(), address)
        except OSError as error:
            logger.warning("cannot reach NOTIFY_SOCKET %s: %s", self._address, error.strerror)
            self._address = ""  # once is enough

"""Deaths and failed starts in a row, and how long to wait before the next start.  [PROC-2]"""

from __future__ import annotations

import logging
import math
from typing import Final

from asgibridge.supervision.policy import STEADY, backoff

__all__ = ["Setbacks"]

# Failed starts in a row, with nobody serving, after which there is no point in going on.
MAX_FAILED_STARTS: Final = 3

logger = logging.getLogger("asgibridge")


class Setbacks:
    """Counts them.  All times are by `time.monotonic()`.

    Attributes:
        failed_starts: in a row: none has succeeded since.
        spawn_at: when the next worker may be started.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.failed_starts = 0
        self.spawn_at = 0.0
        self._quick_deaths = 0
        self._told = ""

    def is_news(self, trace: str) -> bool:
        """Say whether *trace* has yet to be told: it is another than the last."""
        told, self._told = self._told, trace
        return trace != told

    def note_ready(self) -> None:
        """A start has succeeded."""
        self.failed_starts = 0

    def note_failed_start(self, now: float, *, is_anybody_ready: bool) -> bool:
        """A worker has ended before it was ready; say whether there is no point in going on.

        While others serve there always is: they must not be ended for one that cannot start.
        """
        self.failed_starts += 1
        if self.failed_starts >= MAX_FAILED_STARTS and not is_anybody_ready:
            return True
        self._wait(now, self.failed_starts + 1)
        return False

    def note_no_fork(self, now: float) -> None:
        """The system would not fork."""
        self._quick_deaths += 1
        self._wait(now, self._quick_deaths + 1)

    def note_death(self, now: float, served: float) -> None:
        """A worker that was ready has died after *served* seconds."""
        self._quick_deaths = self._quick_deaths + 1 if served < STEADY else 1
        self._wait(now, self._quick_deaths)

    def wait_for_a_change(self) -> None:
        """Start nobody until `forget`."""
        self.spawn_at = math.inf

    def forget(self) -> None:
        """Begin anew: the code or the settings have changed."""
        self.failed_starts = self._quick_deaths = 0
        self.spawn_at = 0.0
        self._told = ""

    def _wait(self, now: float, in_a_row: int) -> None:
        pause = backoff(in_a_row)
        self.spawn_at = now + pause
        if pause:
            logger.warning("waiting %.2gs before the next start", pause)

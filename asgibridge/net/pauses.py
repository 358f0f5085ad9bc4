"""Why listeners are not watched, and for how long that has been so."""

from __future__ import annotations

import enum

__all__ = ["PauseReason", "PauseTimes"]


class PauseReason(enum.Enum):
    """Why the listeners are not watched."""

    WORKER_CONNECTIONS = "worker_connections"
    MAX_IN_FLIGHT = "max_in_flight"
    RESOURCES = "resources"

    __hash__ = object.__hash__


class PauseTimes:
    """What operators see of the pauses that are over.

    Attributes:
        seconds: time spent paused, by reason.
        count: how often watching stopped.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.seconds = dict.fromkeys(PauseReason, 0.0)
        self.count = 0

    def add(self, reason: PauseReason, seconds: float) -> None:
        """Note *seconds* paused for *reason*."""
        self.seconds[reason] += seconds

"""Which workers have come of age, and what the log tells when they go.  [PROC-1] [PROC-4]"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from asgibridge.process.pulse import STUCK
from asgibridge.supervision.memory import (
    available_memory,
    in_megabytes,
    limit_in_bytes,
    resident,
    unshared,
)
from asgibridge.supervision.policy import Limits, Load, limit_reached

if TYPE_CHECKING:
    from asgibridge.config.settings import Config
    from asgibridge.supervision.worker import Worker

__all__ = ["Recycling"]

logger = logging.getLogger("asgibridge")

# Seconds between two measurements of memory: soon enough to act, too seldom to be felt.
_MEMORY_INTERVAL: Final = 2.0


class Recycling:
    """Looks at workers that serve, and notes on each whether it should be replaced."""

    def __init__(self, config: Config) -> None:
        """Hold workers to the limits of *config*."""
        self._limits = Limits(
            rss=limit_in_bytes(config.max_rss, available_memory),
            uss=limit_in_bytes(config.max_uss, available_memory),
            min_lifetime=config.min_lifetime,
            worker_timeout=config.worker_timeout,
        )

    def look_at(self, worker: Worker, now: float) -> None:
        """Note on *worker*, which is ready, whether it is due and whether it is stuck."""
        heartbeat = worker.slot.heartbeat(worker.pid)
        silence = now - heartbeat if heartbeat is not None else None
        worker.is_stuck = silence is not None and silence > STUCK
        if worker.due is not None:
            return
        limits = self._limits
        is_time = now >= worker.measure_at
        if is_time:
            worker.measure_at = now + _MEMORY_INTERVAL
        load = Load(
            age=now - (worker.ready_at or now),
            lifetime=worker.lifetime,
            silence=silence,
            rss=resident(worker.pid) if is_time and limits.rss is not None else None,
            uss=unshared(worker.pid) if is_time and limits.uss is not None else None,
            asked=worker.asked,
        )
        worker.due = limit_reached(load, limits)
        if worker.due is not None:
            logger.info("%s to be replaced %s", worker.name, self._describe(worker, now))

    def log_farewell(self, worker: Worker, successor: Worker) -> None:
        """Tell that *worker* goes, and what *successor*, the newest that serves, has to spare."""
        logger.info(
            "%s retires reason=%s rss=%s newest=(%s rss=%s)",
            worker.name,
            worker.due.value if worker.due is not None else "restart, or fewer workers wanted",
            in_megabytes(resident(worker.pid)),
            successor.name,
            in_megabytes(resident(successor.pid)),
        )

    def _describe(self, worker: Worker, now: float) -> str:
        status = worker.status()
        requests = status.requests if status is not None else "unknown"
        served = now - (worker.ready_at or now)
        return (
            f"reason={worker.due.value if worker.due else ''} requests={requests} "
            f"served={served:.0f}s rss={in_megabytes(resident(worker.pid))}"
        )

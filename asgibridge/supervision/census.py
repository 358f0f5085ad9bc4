"""A table of all workers for the log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from asgibridge.supervision.memory import in_megabytes, resident

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.supervision.scoreboard import Tally
    from asgibridge.supervision.worker import Worker

__all__ = ["log_census"]

logger = logging.getLogger("asgibridge")


def log_census(workers: Iterable[Worker], wanted: int, tally: Tally) -> None:
    """Log one line for each of *workers*: what it is and what it does.

    The first tells how many are *wanted*, and what has become of those before.
    """
    now = time.monotonic()
    lines = [
        f"workers wanted={wanted} {tally.describe()}",
        *(_describe(worker, now) for worker in workers),
    ]
    logger.info("%s", "\n".join(lines))


def _describe(worker: Worker, now: float) -> str:
    line = (
        f"{worker.name} stage={worker.stage.value} age={now - worker.spawned_at:.0f}s "
        f"rss={in_megabytes(resident(worker.pid))}"
    )
    status = worker.status()
    if status is None:
        return line
    return (
        f"{line} requests={status.requests} open={status.open} in_flight={status.in_flight} "
        f"parked={status.parked} busy={status.busy}/{status.threads} queued={status.queued} "
        f"overdue={status.overdue} heartbeat={now - status.heartbeat:.1f}s ago"
    )

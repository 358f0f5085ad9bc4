"""What a supervisor should do, decided from what it sees.  Pure: time and chance are arguments.

One law above all: a worker that serves is told to go only when its successor serves already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from asgibridge.supervision.stage import Reason, Stage, WorkerView

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "STEADY",
    "FleetView",
    "Kill",
    "Limits",
    "Load",
    "Retire",
    "Spawn",
    "Step",
    "backoff",
    "limit_reached",
    "next_steps",
    "with_jitter",
]

# Lives shorter than this, in seconds, make a row of quick deaths.
STEADY: Final = 10.0
# Seconds before the next start: none after the first quick death, then doubling up to the last.
_FIRST_BACKOFF: Final = 0.25
_MAX_BACKOFF: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """All workers, and what is wanted of them.

    Attributes:
        workers: those that are not gone.
        wanted: how many should serve.
        generation: which configuration they should have.
        spawn_at: when the next may be started: later than now after quick deaths.
        is_stopping: the server stops.
        may_overlap: whether a successor may start before its predecessor is gone.
    """

    workers: Sequence[WorkerView]
    wanted: int
    generation: int
    spawn_at: float
    is_stopping: bool = False
    may_overlap: bool = True


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker."""


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell worker *pid* to drain and go."""

    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End worker *pid* now: it has had its time."""

    pid: int


Step: TypeAlias = Spawn | Retire | Kill


def next_steps(fleet: FleetView, now: float) -> list[Step]:
    """Say what to do about *fleet* at time *now*."""
    steps: list[Step] = [
        Kill(worker.pid)
        for worker in fleet.workers
        if worker.kill_at is not None and now >= worker.kill_at
    ]
    if fleet.is_stopping:
        return steps
    spawned = [worker for worker in fleet.workers if worker.stage is Stage.SPAWNED]
    ready = [worker for worker in fleet.workers if worker.stage is Stage.READY]
    is_one_leaving = any(worker.stage is Stage.RETIRING for worker in fleet.workers)
    surplus = len(ready) - fleet.wanted
    if surplus > 0:
        # Successors have arrived, or fewer are wanted than before.
        leaving = sorted(ready, key=lambda each: _order_of_leaving(each, fleet))
        return [*steps, *(Retire(worker.pid) for worker in leaving[:surplus])]
    if now < fleet.spawn_at or (is_one_leaving and not fleet.may_overlap):
        return steps
    # Who is in trouble serves nobody: the successor waits for nothing.
    missing = fleet.wanted + sum(each.is_urgent for each in ready) - len(spawned) - len(ready)
    if missing > 0:
        return [*steps, *(Spawn() for _ in range(missing))]
    # All others one at a time: the next only when the one before has left.  [PROC-1]
    if not spawned and not is_one_leaving and any(_is_outgoing(each, fleet) for each in ready):
        return [*steps, Spawn()]
    return steps


def _order_of_leaving(worker: WorkerView, fleet: FleetView) -> tuple[bool, bool, float]:
    return (not worker.is_urgent, not _is_outgoing(worker, fleet), worker.spawned_at)


def _is_outgoing(worker: WorkerView, fleet: FleetView) -> bool:
    return worker.is_due or worker.generation != fleet.generation


def backoff(quick_deaths: int) -> float:
    """Say how long to wait, in seconds, before the next start.

    Args:
        quick_deaths: in a row, the last one included.
    """
    if quick_deaths <= 1:
        return 0.0
    # Bounded before it is computed: the row may be long.
    return min(_MAX_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(quick_deaths - 2, 16))


def with_jitter(limit: float, share: float, chance: float) -> float:
    """Spread *limit* by up to *share* of it to either side; *chance* is from 0 to 1."""
    return limit * (1 + share * (2 * chance - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Beyond which a worker is replaced; None for no limit.  Bytes and seconds."""

    rss: int | None = None
    uss: int | None = None
    min_lifetime: float = 0.0
    worker_timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What has become of a worker that is ready.

    Attributes:
        age: seconds since it was ready.
        lifetime: after how many it should go; None for never.
        silence: seconds since its loop last turned; None if unknown.
        rss, uss: bytes; None if not measured.
        asked: a reason that it, or somebody else, has given already.
    """

    age: float
    lifetime: float | None = None
    silence: float | None = None
    rss: int | None = None
    uss: int | None = None
    asked: Reason | None = None


def limit_reached(load: Load, limits: Limits) -> Reason | None:
    """Say why a worker should be replaced; None while it should not.

    What is out of order counts at once, what has merely grown old after the minimum lifetime.
    """
    for reason in (
        load.asked,
        Reason.BLOCKED if _is_above(load.silence, limits.worker_timeout) else None,
        Reason.MAX_RSS if _is_above(load.rss, limits.rss) else None,
        Reason.MAX_USS if _is_above(load.uss, limits.uss) else None,
        Reason.MAX_LIFETIME if _is_above(load.age, load.lifetime) else None,
    ):
        if reason is not None and (not reason.is_age or load.age >= limits.min_lifetime):
            return reason
    return None


def _is_above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit

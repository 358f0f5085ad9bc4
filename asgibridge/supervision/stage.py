"""The stages of a worker, the table of their moves, and why one is replaced."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from asgibridge.http.lifecycle import Moves

__all__ = ["STAGE_MOVES", "Reason", "Stage", "StageEvent", "WorkerView"]


class Stage(enum.Enum):
    """How far a worker has come."""

    SPAWNED = "spawned"
    READY = "ready"
    RETIRING = "retiring"
    GONE = "gone"

    __hash__ = object.__hash__


class StageEvent(enum.Enum):
    """What happens to a `Stage`."""

    SAID_READY = "said ready"
    STOP_ORDERED = "stop ordered"
    REAPED = "reaped"

    __hash__ = object.__hash__


STAGE_MOVES: Final[Moves[Stage, StageEvent]] = Moves(
    {
        (Stage.SPAWNED, StageEvent.SAID_READY): Stage.READY,
        (Stage.SPAWNED, StageEvent.STOP_ORDERED): Stage.RETIRING,
        (Stage.SPAWNED, StageEvent.REAPED): Stage.GONE,
        (Stage.READY, StageEvent.STOP_ORDERED): Stage.RETIRING,
        (Stage.READY, StageEvent.REAPED): Stage.GONE,
        # It was told to stop while it said so.
        (Stage.RETIRING, StageEvent.SAID_READY): Stage.RETIRING,
        # Told again: sooner, or at once.
        (Stage.RETIRING, StageEvent.STOP_ORDERED): Stage.RETIRING,
        (Stage.RETIRING, StageEvent.REAPED): Stage.GONE,
    }
)


class Reason(enum.Enum):
    """Why a worker should be replaced by a fresh one."""

    MAX_REQUESTS = "max_requests"
    MAX_RSS = "max_rss"
    MAX_USS = "max_uss"
    MAX_LIFETIME = "max_lifetime"
    OVERDUE = "overdue requests hold all threads"
    BLOCKED = "its loop does not turn"
    SIGTERM = "it was sent SIGTERM"

    __hash__ = object.__hash__

    @property
    def is_trouble(self) -> bool:
        """Whether it cannot serve any more, so that its successor has to wait for nothing."""
        return self in (Reason.OVERDUE, Reason.BLOCKED)

    @property
    def is_age(self) -> bool:
        """Whether it has merely grown old, which the minimum lifetime puts off."""
        return not self.is_trouble and self is not Reason.SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """What the decision needs to know of a worker; attributes as in `Worker`.

    Attributes:
        is_due: it should be replaced when its turn comes.
        is_urgent: it should be replaced at once.
    """

    pid: int
    stage: Stage
    generation: int
    spawned_at: float
    kill_at: float | None
    is_due: bool
    is_urgent: bool = False

"""The phases of a process, and the table of their moves."""

from __future__ import annotations

import enum
from typing import Final

from asgibridge.http.lifecycle import Moves

__all__ = ["PHASE_MOVES", "Phase", "PhaseEvent"]


class Phase(enum.Enum):
    """Where a process stands between its start and its end."""

    NEW = "new"
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"

    __hash__ = object.__hash__


class PhaseEvent(enum.Enum):
    """What happens to a `Phase`."""

    START_ASKED = "start asked"
    START_FAILED = "start failed"
    LISTENING = "listening"
    STOP_ASKED = "stop asked"
    DRAINED = "drained"
    GRACE_OVER = "grace over"

    __hash__ = object.__hash__


PHASE_MOVES: Final[Moves[Phase, PhaseEvent]] = Moves(
    {
        (Phase.NEW, PhaseEvent.START_ASKED): Phase.STARTING,
        (Phase.STARTING, PhaseEvent.START_FAILED): Phase.STOPPED,
        (Phase.STARTING, PhaseEvent.LISTENING): Phase.SERVING,
        # A supervisor waits for its workers even then.
        (Phase.STARTING, PhaseEvent.STOP_ASKED): Phase.DRAINING,
        (Phase.SERVING, PhaseEvent.STOP_ASKED): Phase.DRAINING,
        (Phase.DRAINING, PhaseEvent.DRAINED): Phase.STOPPED,
        (Phase.DRAINING, PhaseEvent.GRACE_OVER): Phase.STOPPED,
    }
)

"""A worker's stages, by their table."""

from __future__ import annotations

import pytest

from asgibridge.errors import IllegalMove
from asgibridge.supervision.stage import STAGE_MOVES, Reason, Stage, StageEvent


def after(*events: StageEvent) -> Stage:
    stage = Stage.SPAWNED
    for event in events:
        stage = STAGE_MOVES[stage, event]
    return stage


def test_a_life_from_fork_to_grave() -> None:
    assert after(StageEvent.SAID_READY) is Stage.READY
    assert after(StageEvent.SAID_READY, StageEvent.STOP_ORDERED) is Stage.RETIRING
    assert after(StageEvent.STOP_ORDERED, StageEvent.STOP_ORDERED) is Stage.RETIRING
    assert after(StageEvent.SAID_READY, StageEvent.REAPED) is Stage.GONE


def test_a_worker_told_to_stop_while_it_starts_does_not_come_back() -> None:
    assert after(StageEvent.STOP_ORDERED, StageEvent.SAID_READY) is Stage.RETIRING


@pytest.mark.parametrize("event", StageEvent)
def test_nothing_happens_to_one_that_is_gone(event: StageEvent) -> None:
    with pytest.raises(IllegalMove):
        after(StageEvent.REAPED, event)


def test_trouble_is_told_from_age() -> None:
    assert {reason for reason in Reason if reason.is_trouble} == {Reason.OVERDUE, Reason.BLOCKED}
    assert {reason for reason in Reason if not reason.is_age} == {
        Reason.OVERDUE,
        Reason.BLOCKED,
        Reason.SIGTERM,
    }

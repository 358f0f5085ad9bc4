"""Workers that serve are held to the limits of the settings."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import pytest

from asgibridge import Config
from asgibridge.process.channel import Channel
from asgibridge.supervision.recycling import Recycling
from asgibridge.supervision.scoreboard import Scoreboard, WorkerStatus
from asgibridge.supervision.stage import Reason, StageEvent
from asgibridge.supervision.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def worker() -> Iterator[Worker]:
    """This very process, as if it had been ready for a hundred seconds."""
    above, below = Channel.pair()
    now = time.monotonic()
    (slot,) = Scoreboard(1).slots
    slot.write(WorkerStatus(pid=os.getpid(), heartbeat=now, requests=7))
    made = Worker(
        os.getpid(), slot, above, generation=1, spawned_at=now - 101, kill_at=now, lifetime=None
    )
    made.move(StageEvent.SAID_READY)
    made.ready_at = now - 100
    yield made
    above.close()
    below.close()


def due(worker: Worker, *, after: float = 0.0, **settings: object) -> Reason | None:
    Recycling(Config(**settings)).look_at(worker, time.monotonic() + after)  # type: ignore[arg-type]
    return worker.due


def test_without_limits_nobody_is_due(worker: Worker) -> None:
    assert due(worker) is None


def test_memory_above_the_limit_is_told_with_what_was_done(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """[PROC-1]."""
    with caplog.at_level(logging.INFO, "asgibridge"):
        assert due(worker, max_rss="1m") is Reason.MAX_RSS
    said = caplog.records[-1].getMessage()
    assert "to be replaced reason=max_rss requests=7 served=100s rss=" in said


def test_unshared_memory_has_a_limit_of_its_own(worker: Worker) -> None:
    assert due(worker, max_uss="1m", max_rss="100%") is Reason.MAX_USS


def test_memory_is_not_measured_at_every_look(worker: Worker) -> None:
    roomy, tight = (Recycling(Config(max_rss=limit)) for limit in ("100g", "1m"))
    now = time.monotonic()
    roomy.look_at(worker, now)
    tight.look_at(worker, now + 1.9)
    assert worker.due is None
    tight.look_at(worker, now + 2.0)
    assert worker.due is Reason.MAX_RSS


def test_a_loop_that_does_not_turn_is_noted_and_due_if_wanted(worker: Worker) -> None:
    """[PROC-4]."""
    assert due(worker, after=5.5) is None
    assert worker.is_stuck
    assert due(worker, after=5.5, worker_timeout=5) is Reason.BLOCKED


def test_who_is_due_stays_due(worker: Worker) -> None:
    worker.asked = Reason.SIGTERM
    assert due(worker) is Reason.SIGTERM
    assert due(worker, max_rss="1m") is Reason.SIGTERM


def test_the_farewell_names_both_memories(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    worker.due = Reason.MAX_RSS
    with caplog.at_level(logging.INFO, "asgibridge"):
        Recycling(Config()).log_farewell(worker, worker)
    said = caplog.records[-1].getMessage()
    assert f"{worker.name} retires reason=max_rss rss=" in said
    assert f"newest=({worker.name} rss=" in said

"""The table of workers."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from asgibridge.process.channel import Channel
from asgibridge.supervision.census import log_census
from asgibridge.supervision.scoreboard import Scoreboard, Tally, WorkerStatus
from asgibridge.supervision.worker import Worker

if TYPE_CHECKING:
    import pytest


def test_each_worker_has_a_line_and_one_that_said_nothing_a_short_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    above, below = Channel.pair()
    first, second = Scoreboard(2).slots
    first.write(WorkerStatus(pid=os.getpid(), requests=5, busy=2, threads=4, queued=1))
    workers = [
        Worker(pid, slot, above, generation=1, spawned_at=0.0, kill_at=0.0, lifetime=None)
        for pid, slot in ((os.getpid(), first), (4711, second))
    ]
    with caplog.at_level(logging.INFO, "asgibridge"):
        log_census(workers, wanted=2, tally=Tally(started=3, died=1))
    title, talkative, silent = caplog.records[-1].getMessage().splitlines()
    assert title == "workers wanted=2 started=3 died=1 recycled=0"
    assert "requests=5" in talkative
    assert "busy=2/4 queued=1" in talkative
    assert "stage=spawned" in silent
    assert "requests" not in silent
    above.close()
    below.close()

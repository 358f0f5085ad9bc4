"""A worker's slot and name, and how its end is described."""

from __future__ import annotations

import os
import signal

import pytest

from asgibridge.process.channel import Channel
from asgibridge.supervision.scoreboard import Scoreboard, WorkerStatus
from asgibridge.supervision.worker import Worker, describe_exit


@pytest.fixture
def worker() -> Worker:
    above, below = Channel.pair()
    below.close()
    (slot,) = Scoreboard(1).slots
    made = Worker(4711, slot, above, generation=1, spawned_at=0.0, kill_at=9.0, lifetime=None)
    above.close()
    return made


def test_its_slot_is_read_by_its_process(worker: Worker) -> None:
    worker.slot.write(WorkerStatus(pid=1))
    assert worker.status() is None
    worker.slot.write(WorkerStatus(pid=4711, requests=3))
    status = worker.status()
    assert status is not None
    assert status.requests == 3
    assert worker.name == "worker=1 pid=4711"
    assert repr(worker) == "<Worker worker=1 pid=4711 spawned>"


def test_how_a_process_ended() -> None:
    def end(how: str) -> str:
        child = os.fork()
        if child == 0:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(3)
        return describe_exit(os.waitpid(child, 0)[1])

    assert end("exits") == "code=3"
    assert end("killed") == "signal=SIGKILL"
    assert describe_exit(126) == "signal=126"

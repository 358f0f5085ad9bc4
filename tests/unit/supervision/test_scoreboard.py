"""One writer and any reader share a slot without locks."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from asgibridge.net.wiring import BUCKETS
from asgibridge.supervision.scoreboard import Scoreboard, Tally, WorkerStatus
from asgibridge.supervision.stage import Reason

FULL = WorkerStatus(
    pid=4711,
    generation=3,
    phase=2,
    started=1.5,
    heartbeat=2.25,
    requests=2**60,
    paused_max_in_flight=0.125,
    overdue=1,
    request_seconds=7.5,
    request_times=tuple(range(len(BUCKETS) + 1)),
)


def test_what_is_written_is_read() -> None:
    first, second = Scoreboard(2).slots
    first.write(FULL)
    second.write(replace(FULL, pid=1, requests=5))
    assert first.read(4711) == FULL
    assert replace(FULL, pid=1, requests=5) == second.read(1)


def test_a_touch_changes_the_heartbeat_alone() -> None:
    (slot,) = Scoreboard(1).slots
    slot.write(FULL)
    slot.touch(99.5)
    assert replace(FULL, heartbeat=99.5) == slot.read(4711)
    assert slot.heartbeat(4711) == 99.5
    assert slot.heartbeat(4712) is None


def test_an_empty_slot_and_one_of_a_predecessor_are_stale() -> None:
    (slot,) = Scoreboard(1).slots
    assert slot.read(0) is None
    slot.write(FULL)
    assert slot.read(4712) is None


def test_a_torn_slot_is_recognised_until_it_is_written_again() -> None:
    (slot,) = Scoreboard(1).slots
    slot.write(FULL)
    before = slot._memory[:]
    slot.write(replace(FULL, requests=1, request_seconds=1e9))
    after = slot._memory[:]
    middle = slot._size // 2
    slot._memory[:] = after[:middle] + before[middle:]
    assert slot.read(4711) is None
    slot.write(FULL)
    assert slot.read(4711) == FULL


def test_a_reader_beside_a_writer_never_sees_half_of_a_status() -> None:
    (slot,) = Scoreboard(1).slots
    rows = [
        replace(FULL, requests=n, cut=n, request_times=(n,) * (len(BUCKETS) + 1))
        for n in (0, 2**63)
    ]
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            for row in rows:
                slot.write(row)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [status for _ in range(3000) if (status := slot.read(4711)) is not None]
    finally:
        is_over.set()
        writer.join()
    assert seen
    assert all(status in rows for status in seen)


def test_a_child_writes_to_the_parents_memory() -> None:
    (slot,) = Scoreboard(1).slots
    child = os.fork()
    if child == 0:
        slot.write(replace(FULL, pid=os.getpid()))
        os._exit(0)
    assert (child, 0) == os.waitpid(child, 0)
    assert replace(FULL, pid=child) == slot.read(child)


def test_the_tally_counts_replacements_by_reason() -> None:
    tally = Tally(started=5, died=1).recycled(Reason.MAX_RSS)
    assert tally.recycled(Reason.MAX_RSS).recycled(Reason.MAX_REQUESTS).describe() == (
        "started=5 died=1 recycled=3 (max_requests: 1, max_rss: 2)"
    )
    assert Tally(started=2).describe() == "started=2 died=0 recycled=0"


def test_a_child_reads_the_parents_tally_beside_its_slot() -> None:
    board = Scoreboard(2)
    assert board.tally.read() == Tally()
    tally = Tally(started=2**40, died=3).recycled(Reason.OVERDUE)
    board.slots[-1].write(FULL)
    board.tally.write(tally)
    assert board.slots[-1].read(4711) == FULL
    child = os.fork()
    if child == 0:
        os._exit(0 if board.tally.read() == tally else 1)
    assert (child, 0) == os.waitpid(child, 0)

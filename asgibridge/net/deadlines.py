"""One coarse wheel for all timeouts of a loop: one timer, however many connections.

A deadline that moves later, as it does with every request on a kept-alive connection, costs an
attribute: the entry stays in its slot, and is put further on when that slot comes round.
"""

from __future__ import annotations

import heapq
import logging
import math
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["GRANULARITY", "NEVER", "Deadlines", "Entry"]

logger = logging.getLogger("asgibridge")

# Seconds.  A deadline fires up to this much late, never early.  Fine enough for the parking
# delay of 0.1 s, coarse enough that thousands of connections share a wake-up.
GRANULARITY: Final = 0.025
# Seconds by which the loop may call early: libuv rounds to its millisecond.
_TIMER_ERROR: Final = 0.002
NEVER: Final = math.inf


class Entry(Protocol):
    """What can have a deadline.  Both attributes belong to `Deadlines` and start as below.

    Attributes:
        deadline: loop time in seconds; `NEVER` at first.
        slot: where the wheel keeps the entry; None at first.
    """

    deadline: float
    slot: int | None

    def on_deadline(self, now: float) -> None:
        """Act: the deadline, at or before *now*, has passed, and is cleared."""


class Deadlines:
    """Keeps at most one deadline per entry.  Loop thread only."""

    __slots__ = ("_due", "_loop", "_slots", "_timer", "_timer_slot")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start with no entries and no timer."""
        self._loop = loop
        self._slots: dict[int, set[Entry]] = {}
        self._due: list[int] = []  # a heap of the slots in use
        self._timer: asyncio.TimerHandle | None = None
        self._timer_slot = 0

    def set(self, entry: Entry, when: float) -> None:
        """Give *entry* the deadline *when*, in loop time, in place of any it had."""
        entry.deadline = when
        slot = entry.slot
        if slot is not None:
            if slot * GRANULARITY <= when:
                return  # it will be looked at in time
            self._slots[slot].discard(entry)
        self._insert(entry, when)

    def remove(self, entry: Entry) -> None:
        """Forget *entry*; it need not be known."""
        entry.deadline = NEVER
        slot = entry.slot
        if slot is None:
            return
        entry.slot = None
        entries = self._slots[slot]
        entries.discard(entry)
        if not entries and slot == self._timer_slot and self._timer is not None:
            # Most deadlines never come to pass: a loop that would wake for each of them in vain
            # pays more for that than for the timer.
            self._timer.cancel()
            self._timer = None
            self._arm_next()

    def close(self) -> None:
        """Forget all entries and the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for entries in self._slots.values():
            for entry in entries:
                entry.slot = None
        self._slots.clear()
        self._due.clear()

    def _insert(self, entry: Entry, when: float) -> None:
        slot = math.ceil(when / GRANULARITY)
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = {entry}
            heapq.heappush(self._due, slot)
            if self._timer is None or slot < self._timer_slot:
                self._arm(slot)
        else:
            entries.add(entry)
        entry.slot = slot

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_slot = slot
        self._timer = self._loop.call_at(slot * GRANULARITY, self._turn)

    def _turn(self) -> None:
        now = self._loop.time()
        last = max(self._timer_slot, math.floor(now / GRANULARITY))
        self._timer = None
        due = self._due
        entries: list[Entry] = []
        # All are taken out first: one that is put back into a slot of this turn, because the loop
        # called early, waits for the next.
        while due and due[0] <= last:
            entries.extend(self._slots.pop(heapq.heappop(due)))
        for entry in entries:
            entry.slot = None
        for entry in entries:
            if entry.slot is None:  # not given a new deadline by one before it
                self._look_at(entry, now)
        self._arm_next()

    def _arm_next(self) -> None:
        """Wait for the first slot that has entries, unless an earlier one is waited for."""
        due = self._due
        while due and not self._slots[due[0]]:
            del self._slots[heapq.heappop(due)]
        if due and (self._timer is None or due[0] < self._timer_slot):
            self._arm(due[0])

    def _look_at(self, entry: Entry, now: float) -> None:
        when = entry.deadline
        if when <= now + _TIMER_ERROR:
            entry.deadline = NEVER
            try:
                entry.on_deadline(now)
            except Exception:
                # One connection's trouble must not take the timeouts of the others away.
                logger.exception("a deadline could not be acted on")
        elif when != NEVER:
            self._insert(entry, when)

"""Shared memory in which each worker says how it is: one slot each, a single writer, no locks.

An anonymous mapping, made before the workers are forked; no file, and gone with the last process.
Behind the slots the supervisor keeps a tally of what has become of workers.
Each is a row of 64-bit words behind a checksum.  Writers never wait.  A reader that meets a row
while it is being written sees that the checksum does not fit, and looks again; one whose writer has
died in the middle stays unreadable until its next owner writes.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass, fields, replace
from typing import Final

from asgibridge.net.wiring import BUCKETS
from asgibridge.supervision.stage import Reason

__all__ = ["Scoreboard", "Slot", "Tally", "TallyRow", "WorkerStatus"]

# Looks at a slot that is being written, before it counts as torn.  A write takes a microsecond.
_LOOKS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker at one moment.

    Attributes:
        pid: its process.
        generation: of the configuration it serves.
        phase: number of its `Phase`, in the order of their definition.
        started: when it was ready, by `time.monotonic()`; 0 before.
        heartbeat: when its loop last turned, likewise.
        requests, refused, cut: as in `ServerStatistics`.
        accepted: connections since the start.
        bytes_sent: of response bodies.
        open, in_flight, parked, idle: as in `GateStatistics`.
        pauses: how often the listeners were not watched for want of room.
        paused_worker_connections, paused_max_in_flight, paused_resources: for how many seconds, by
            reason.
        threads, busy, queued, overdue: of the pool; 0 for an ASGI application.
        request_seconds: spent on requests in all.
        request_times: count of requests by bucket; see `net.wiring.BUCKETS`.
    """

    pid: int
    generation: int = 0
    phase: int = 0
    started: float = 0.0
    heartbeat: float = 0.0
    requests: int = 0
    refused: int = 0
    cut: int = 0
    accepted: int = 0
    bytes_sent: int = 0
    open: int = 0
    in_flight: int = 0
    parked: int = 0
    idle: int = 0
    pauses: int = 0
    paused_worker_connections: float = 0.0
    paused_max_in_flight: float = 0.0
    paused_resources: float = 0.0
    threads: int = 0
    busy: int = 0
    queued: int = 0
    overdue: int = 0
    request_seconds: float = 0.0
    request_times: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What has become of the workers since the server started.

    Attributes:
        started: how many were forked.
        died: how many ended while they served, though nobody had told them to.
        recycles: how many were replaced, for each `Reason` in the order of their definition.
    """

    started: int = 0
    died: int = 0
    recycles: tuple[int, ...] = (0,) * len(Reason)

    def recycled(self, reason: Reason) -> Tally:
        """Return the tally with one more worker that was replaced for *reason*."""
        recycles = list(self.recycles)
        recycles[_REASONS.index(reason)] += 1
        return replace(self, recycles=tuple(recycles))

    def describe(self) -> str:
        """Write it for the log, without the reasons for which nobody was replaced."""
        counts = zip(_REASONS, self.recycles, strict=True)
        reasons = ", ".join(f"{reason.value}: {count}" for reason, count in counts if count)
        text = f"started={self.started} died={self.died} recycled={sum(self.recycles)}"
        return f"{text} ({reasons})" if reasons else text


_REASONS: Final = tuple(Reason)
_TALLY: Final = struct.Struct(f"={3 + len(_REASONS)}Q")
_NAMES: Final = tuple(field.name for field in fields(WorkerStatus))[:-1]
_FORMAT: Final = struct.Struct(
    "=Q"
    + "".join("d" if field.type == "float" else "Q" for field in fields(WorkerStatus)[:-1])
    + f"{len(BUCKETS) + 1}Q"
)
_CHECKSUM: Final = struct.Struct("=Q")
_PID: Final = struct.Struct("=Q")
_HEARTBEAT: Final = struct.Struct("=d")
# Every word has eight bytes, and the checksum is the first.
_PID_AT: Final = 8 * (1 + _NAMES.index("pid"))
_HEARTBEAT_AT: Final = 8 * (1 + _NAMES.index("heartbeat"))


class _Row:
    """Words that one process writes and any may read."""

    def __init__(self, memory: mmap.mmap, begin: int, size: int) -> None:
        """Look at *size* bytes of *memory*."""
        self._memory = memory
        self._begin = begin
        self._size = size
        self._words = bytearray(size)  # as written last, by this process

    def _publish(self) -> None:
        _CHECKSUM.pack_into(self._words, 0, _checksum(self._words))
        self._memory[self._begin : self._begin + self._size] = bytes(self._words)

    def _read_whole(self) -> bytes | None:
        """Take a copy that is whole; None if its writer has died in the middle, or never wrote."""
        for _ in range(_LOOKS):
            words = self._memory[self._begin : self._begin + self._size]
            (checksum,) = _CHECKSUM.unpack_from(words)
            if checksum == _checksum(words):
                return words
        return None


class Slot(_Row):
    """One worker's part of the board."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        """Look at slot *index* of *memory*."""
        super().__init__(memory, index * _FORMAT.size, _FORMAT.size)
        self.index = index

    def write(self, status: WorkerStatus) -> None:
        """Publish *status*.  Only the slot's owner does."""
        values = (getattr(status, name) for name in _NAMES)
        _FORMAT.pack_into(self._words, 0, 0, *values, *status.request_times)
        self._publish()

    def touch(self, heartbeat: float) -> None:
        """Publish what was written last with a new *heartbeat*: all that an idle worker has."""
        _HEARTBEAT.pack_into(self._words, _HEARTBEAT_AT, heartbeat)
        self._publish()

    def read(self, pid: int) -> WorkerStatus | None:
        """Return what the process *pid* wrote last.

        Returns:
            None if it has written nothing yet, the slot still being that of another, or if it died
            while writing.
        """
        words = self._read_own(pid)
        if words is None:
            return None
        _, *values = _FORMAT.unpack(words)
        single = len(_NAMES)
        return WorkerStatus(
            **dict(zip(_NAMES, values[:single], strict=True)), request_times=tuple(values[single:])
        )

    def heartbeat(self, pid: int) -> float | None:
        """Return when the loop of the process *pid* last turned; None where `read` would."""
        words = self._read_own(pid)
        return None if words is None else float(_HEARTBEAT.unpack_from(words, _HEARTBEAT_AT)[0])

    def _read_own(self, pid: int) -> bytes | None:
        words = self._read_whole()
        return words if words is not None and _PID.unpack_from(words, _PID_AT)[0] == pid else None


class TallyRow(_Row):
    """The supervisor's part of the board."""

    def write(self, tally: Tally) -> None:
        """Publish *tally*.  Only the supervisor does."""
        _TALLY.pack_into(self._words, 0, 0, tally.started, tally.died, *tally.recycles)
        self._publish()

    def read(self) -> Tally:
        """Return what the supervisor wrote last."""
        words = self._read_whole()
        if words is None:
            return Tally()
        _, started, died, *recycles = _TALLY.unpack(words)
        return Tally(started=started, died=died, recycles=tuple(recycles))


class Scoreboard:
    """All slots, and the tally.  Made once, before the first fork."""

    def __init__(self, size: int) -> None:
        """Make *size* empty slots; memory is taken by those that are written to."""
        self._memory = mmap.mmap(-1, size * _FORMAT.size + _TALLY.size)
        self.slots = tuple(Slot(self._memory, index) for index in range(size))
        self.tally = TallyRow(self._memory, size * _FORMAT.size, _TALLY.size)


def _checksum(words: bytes | bytearray) -> int:
    # Not 0 even for zeros: an empty slot is no valid one.
    return zlib.crc32(memoryview(words)[_CHECKSUM.size :]) ^ 0xA5A5A5A5

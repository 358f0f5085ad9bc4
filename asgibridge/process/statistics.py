"""A server at one moment, in numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgibridge.process.phase import Phase

if TYPE_CHECKING:
    from asgibridge.app.threads import PoolStatistics
    from asgibridge.net.gate import GateStatistics
    from asgibridge.process.assembly import Assembly

__all__ = ["ServerStatistics", "activity_of", "statistics_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics:
    """A server at one moment.

    Attributes:
        phase: where it stands.
        gate: the counts of connections.
        pool: the threads; None for an ASGI application that has had no work for any.
        is_paused: whether the listeners are not watched for want of room.
        pauses: how often that was so.
        paused_seconds: for how long in all, by reason.
        queue_length: clients in the kernel's accept queues; None where it does not tell.
        accepted: connections since the start.
        requests: answered or cut since the start.
        refused: requests that broke the protocol or a limit.
        cut: those of `requests` whose response did not end well.
        bytes_sent: of response bodies.
        overdue: WSGI requests beyond `request_timeout` whose threads have not come back.
        request_seconds: spent on `requests` in all.
        request_times: how many of `requests` took how long; see `net.wiring.BUCKETS`.
    """

    phase: Phase
    gate: GateStatistics
    pool: PoolStatistics | None
    is_paused: bool
    pauses: int
    paused_seconds: dict[str, float]
    queue_length: int | None
    accepted: int
    requests: int
    refused: int
    cut: int
    bytes_sent: int
    overdue: int
    request_seconds: float
    request_times: tuple[int, ...]


def activity_of(assembly: Assembly, phase: Phase) -> tuple[int, ...]:
    """Return a few counts that stay the same only while nothing happens: cheap to compare."""
    counters, gate = assembly.wiring.counters, assembly.wiring.gate
    # While anything is in flight, threads and queues may change without a count.
    changing = time.monotonic_ns() if gate.in_flight or phase is not Phase.SERVING else 0
    return (counters.accepted, counters.requests, counters.refused, gate.open, changing)


def statistics_of(assembly: Assembly, phase: Phase) -> ServerStatistics:
    """Read the counts of *assembly*, whose server is in *phase*.  Loop thread."""
    counters = assembly.wiring.counters
    times = assembly.acceptor.times
    return ServerStatistics(
        phase=phase,
        gate=assembly.wiring.gate.statistics(),
        pool=assembly.pool.statistics() if assembly.pool is not None else None,
        is_paused=assembly.acceptor.reason is not None,
        pauses=times.count,
        paused_seconds={reason.value: spent for reason, spent in times.seconds.items()},
        queue_length=assembly.acceptor.queue_length(),
        accepted=counters.accepted,
        requests=counters.requests,
        refused=counters.refused,
        cut=counters.cut,
        bytes_sent=counters.bytes_sent,
        overdue=assembly.overdue,
        request_seconds=counters.request_seconds,
        request_times=tuple(counters.request_times),
    )

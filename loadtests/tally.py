"""From single requests to counts and percentiles.  Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.client import Result

__all__ = ["Failed", "Latency", "Repeated", "Tally", "beyond_kills", "from_json", "percentile"]

# Seconds until a proxy knows that a kept connection has ended, on a busy machine.
KEPT_SLACK: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long the answered requests of one kind took, repetitions included."""

    requests: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A request that got no good answer, times of CLOCK_MONOTONIC."""

    kind: str
    cause: str
    started: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A request that was sent again since its kept connection ended without a byte."""

    kind: str
    cause: str
    after_ms: float
    """From its sending to that end: a race takes next to none, lost work takes as long as work."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the clients saw."""

    seconds: float
    all_kinds: Latency | None
    """None: nothing was answered."""
    kinds: dict[str, Latency] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    repeated: list[Repeated] = field(default_factory=list)
    closed_idle: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    """How many requests each worker process answered."""

    @classmethod
    def of(
        cls, results: Sequence[tuple[str, Result]], seconds: float, closed_idle: int = 0
    ) -> Tally:
        """Count *results*, each with its kind."""
        took: dict[str, list[float]] = {}
        tally = cls(seconds=seconds, all_kinds=None, closed_idle=closed_idle)
        for kind, result in results:
            if result.repeated is not None:
                tally.repeated.append(
                    Repeated(kind=kind, cause=result.repeated, after_ms=result.repeated_after * 1e3)
                )
            if result.failed is not None:
                tally.failed.append(
                    Failed(
                        kind=kind, cause=result.failed, started=result.started, ended=result.ended
                    )
                )
                continue
            took.setdefault(kind, []).append(result.ended - result.started)
        tally.kinds = {kind: _latency(took[kind]) for kind in sorted(took)}
        if took:
            tally.all_kinds = _latency([value for values in took.values() for value in values])
        answered = Counter(result.worker for _, result in results if result.worker)
        tally.workers = dict(answered.most_common())
        return tally

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def from_json(told: dict[str, Any]) -> Tally:
    """Build what `Tally.to_json` took apart."""
    everything = told.pop("all_kinds")
    kinds = {kind: Latency(**entry) for kind, entry in told.pop("kinds").items()}
    failed = [Failed(**entry) for entry in told.pop("failed")]
    repeated = [Repeated(**entry) for entry in told.pop("repeated")]
    return Tally(
        **told,
        all_kinds=None if everything is None else Latency(**everything),
        kinds=kinds,
        failed=failed,
        repeated=repeated,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the sorted *values* that *percent* of them do not exceed."""
    rank = math.ceil(len(values) * percent / 100)
    return values[max(rank, 1) - 1]


def beyond_kills(failed: Sequence[Failed], kills: Sequence[float], in_flight: int | None) -> int:
    """Count the requests that failed for no kill, or beyond those *in_flight* at one.

    A request belongs to the first kill that came while it was under way.  Where connections are
    kept, the victim holds more of them than it serves, and one may be used at the very moment at
    which it ends: pass None for *in_flight*, then there is no such bound and a request may also
    have begun a moment after the kill.
    """
    slack = KEPT_SLACK if in_flight is None else 0.0
    excused: Counter[float] = Counter()
    beyond = 0
    for request in failed:
        kill = next((at for at in kills if request.started - slack <= at <= request.ended), None)
        if kill is None or excused[kill] == in_flight:
            beyond += 1
        else:
            excused[kill] += 1
    return beyond


def _latency(seconds: Sequence[float]) -> Latency:
    """Summarise; there is at least one."""
    values = sorted(value * 1e6 for value in seconds)
    return Latency(
        requests=len(values),
        p50_us=percentile(values, 50),
        p99_us=percentile(values, 99),
        p999_us=percentile(values, 99.9),
        max_us=values[-1],
    )

"""What a run leaves behind: samples, failures, verdicts; to JSON and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "METRICS",
    "Failure",
    "FigureResult",
    "Metric",
    "Results",
    "ResultsError",
    "Sample",
    "ScenarioResult",
    "read",
    "write",
]

FORMAT: Final = 1


class ResultsError(Exception):
    """A file holds no results that this version can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One server under one case in one round; None is what such a case does not measure."""

    server: str
    case: str
    round: int
    requests: int = 0
    seconds: float | None = None
    cpu_seconds: float | None = None
    """Of the whole process tree, while the load ran."""
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    rss_bytes: int | None = None
    """Of the serving process, after the load; of all together where they are left alone."""
    connection_bytes: float | None = None
    """By how much one idle connection makes the process tree grow."""
    idle_cpu_percent: float | None = None
    """Of one core, of the whole process tree, while nobody asks."""
    stop_seconds: float | None = None
    """From SIGTERM to the exit of the process that was started."""
    kinds: dict[str, dict[str, float]] = field(default_factory=dict)
    """Kind of request -> `tally.Latency`."""
    failed: dict[str, int] | None = None
    """Cause -> requests without a good answer; a repeated one counts if its repetition failed."""
    failed_beyond_kills: int | None = None
    """Those of them that were not in flight in a worker when it was killed."""
    repeated: dict[str, int] | None = None
    """Cause -> requests that were sent again since a kept connection ended without a byte."""
    repeated_after_ms: float | None = None
    """The longest time from sending such a request to the end of its connection."""
    closed_idle: int | None = None
    """Kept connections found closed before a request was sent on them."""
    events: dict[str, int] = field(default_factory=dict)
    """Signal -> how often it was sent under the load."""
    workers_answered: int | None = None
    """How many different worker processes answered."""
    workers_least: int | None = None
    """The fewest that were alive at a look."""
    workers_most: int | None = None
    nginx_errors: dict[str, int] = field(default_factory=dict)
    """What nginx had to complain about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A quantity that a figure can be about."""

    title: str
    is_higher_better: bool
    value: Callable[[Sample], float | None]
    is_worst_judged: bool = False
    """Whether the worst round is judged in place of the median: for what must never happen."""


def _rate(sample: Sample) -> float | None:
    return sample.requests / sample.seconds if sample.seconds else None


def _cpu(sample: Sample) -> float | None:
    if sample.cpu_seconds is None or sample.requests == 0:
        return None
    return sample.cpu_seconds / sample.requests * 1e6


def _rss(sample: Sample) -> float | None:
    return None if sample.rss_bytes is None else sample.rss_bytes / 1e6


def _connection(sample: Sample) -> float | None:
    return None if sample.connection_bytes is None else sample.connection_bytes / 1e3


def _sum(counts: dict[str, int] | None) -> int | None:
    return None if counts is None else sum(counts.values())


def _of_kind(kind: str, key: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.kinds.get(kind, {}).get(key)


METRICS: Final = {
    "requests": Metric(
        title="requests", is_higher_better=True, value=lambda sample: sample.requests
    ),
    "requests_per_second": Metric(title="requests/s", is_higher_better=True, value=_rate),
    "cpu_us": Metric(title="CPU µs/request", is_higher_better=False, value=_cpu),
    "p50_us": Metric(title="p50 µs", is_higher_better=False, value=lambda sample: sample.p50_us),
    "p99_us": Metric(title="p99 µs", is_higher_better=False, value=lambda sample: sample.p99_us),
    "p999_us": Metric(
        title="p99.9 µs", is_higher_better=False, value=lambda sample: sample.p999_us
    ),
    "rss_mb": Metric(title="RSS MB", is_higher_better=False, value=_rss),
    "connection_kb": Metric(title="kB/idle connection", is_higher_better=False, value=_connection),
    **{
        f"{kind}_{key}": Metric(
            title=f"{kind} {title}", is_higher_better=False, value=_of_kind(kind, key)
        )
        for kind in ("quick", "slow")
        for key, title in (("p50_us", "p50 µs"), ("p99_us", "p99 µs"))
    },
    "failed": Metric(
        title="failed",
        is_higher_better=False,
        value=lambda sample: _sum(sample.failed),
        is_worst_judged=True,
    ),
    "failed_beyond_kills": Metric(
        title="failed beyond kills",
        is_higher_better=False,
        value=lambda sample: sample.failed_beyond_kills,
        is_worst_judged=True,
    ),
    "repeated": Metric(
        title="repeated",
        is_higher_better=False,
        value=lambda sample: _sum(sample.repeated),
        is_worst_judged=True,
    ),
    "workers_answered": Metric(
        title="workers", is_higher_better=True, value=lambda sample: sample.workers_answered
    ),
    "stop_seconds": Metric(
        title="stop s",
        is_higher_better=False,
        value=lambda sample: sample.stop_seconds,
        is_worst_judged=True,
    ),
    "idle_cpu_percent": Metric(
        title="idle CPU %", is_higher_better=False, value=lambda sample: sample.idle_cpu_percent
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that must not happen in a run, and fails it."""

    server: str
    case: str
    round: int
    fact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureResult:
    """One acceptance figure as measured: the median of the rounds, and their spread."""

    title: str
    measured: float | None
    low: float | None
    high: float | None
    is_higher_better: bool
    must: float | None
    aim: float | None
    verdict: str


@dataclass(slots=True, kw_only=True)
class ScenarioResult:
    """All that one scenario gave.  Filled while it runs, so not frozen."""

    name: str
    title: str
    settings: dict[str, Any]
    """Threads, pinning, rounds, seconds, cases: what was asked for."""
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    figures: list[FigureResult] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Results:
    """One run: where it ran, what ran, what came out."""

    made_at: str
    command: str
    commit: str
    machine: dict[str, Any]
    versions: dict[str, str]
    scenarios: list[ScenarioResult] = field(default_factory=list)


def write(results: Results, path: Path) -> None:
    """Write *results* as JSON to *path*, making its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **asdict(results)}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """Read what `write` wrote.

    Raises:
        ResultsError: The file is missing or holds something else.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"cannot read results from {path}: {error}") from error
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise ResultsError(f"{path} holds no results in format {FORMAT}; run the load test again")
    try:
        scenarios = [_scenario(entry) for entry in told.pop("scenarios")]
        return Results(**told, scenarios=scenarios)
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{path} does not fit format {FORMAT}: {error}") from error


def _scenario(told: dict[str, Any]) -> ScenarioResult:
    samples = [Sample(**entry) for entry in told.pop("samples")]
    failures = [Failure(**entry) for entry in told.pop("failures")]
    figures = [FigureResult(**entry) for entry in told.pop("figures")]
    return ScenarioResult(**told, samples=samples, failures=failures, figures=figures)

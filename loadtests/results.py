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
    requests: int
    seconds: float | None = None
    cpu_seconds: float | None = None
    """Of the whole process tree, while the load ran."""
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    rss_bytes: int
    """Of the serving process, after the load."""
    connection_bytes: float | None = None
    """By how much one idle connection makes the process tree grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A quantity that a figure can be about."""

    title: str
    is_higher_better: bool
    value: Callable[[Sample], float | None]


def _rate(sample: Sample) -> float | None:
    return sample.requests / sample.seconds if sample.seconds else None


def _cpu(sample: Sample) -> float | None:
    if sample.cpu_seconds is None or sample.requests == 0:
        return None
    return sample.cpu_seconds / sample.requests * 1e6


def _connection(sample: Sample) -> float | None:
    return None if sample.connection_bytes is None else sample.connection_bytes / 1e3


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
    "rss_mb": Metric(
        title="RSS MB", is_higher_better=False, value=lambda sample: sample.rss_bytes / 1e6
    ),
    "connection_kb": Metric(title="kB/idle connection", is_higher_better=False, value=_connection),
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

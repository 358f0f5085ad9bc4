"""Decide: from the samples of one run to ratios and verdicts.  Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from loadtests.results import METRICS, FigureResult
from loadtests.scenarios import BEST
from loadtests.servers import ASGIBRIDGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadtests.results import Sample
    from loadtests.scenarios import Figure

__all__ = ["MISSED", "NOT_MEASURED", "evaluate", "median_of", "ratios"]

AIM: Final = "aim reached"
MUST: Final = "must reached"
MISSED: Final = "MISSED"
NOT_MEASURED: Final = "NOT MEASURED"
NO_BOUND: Final = "no bound"


def evaluate(figure: Figure, samples: Iterable[Sample]) -> FigureResult:
    """Compute *figure* for each round, take the median (or the worst), and judge it."""
    samples = tuple(samples)
    rounds = sorted({sample.round for sample in samples})
    each = [_in_round(figure, samples, number) for number in rounds]
    values = [value for value in each if value is not None]
    is_higher_better = METRICS[figure.metric].is_higher_better is not figure.is_inverted
    measured = None
    if values:
        worst = min if is_higher_better else max
        measured = worst(values) if METRICS[figure.metric].is_worst_judged else median(values)
    return FigureResult(
        title=figure.title,
        measured=measured,
        low=min(values, default=None),
        high=max(values, default=None),
        is_higher_better=is_higher_better,
        must=figure.must,
        aim=figure.aim,
        verdict=judge(measured, figure.must, figure.aim, is_higher_better=is_higher_better),
    )


def judge(
    measured: float | None, must: float | None, aim: float | None, *, is_higher_better: bool
) -> str:
    """Say which of its bounds *measured* reaches."""
    if measured is None:
        return NOT_MEASURED
    if must is None and aim is None:
        return NO_BOUND
    sign = 1 if is_higher_better else -1
    if aim is not None and sign * measured >= sign * aim:
        return AIM
    if must is None or sign * measured >= sign * must:
        return MUST if must is not None else NO_BOUND
    return MISSED


def median_of(metric: str, server: str, case: str, samples: Iterable[Sample]) -> float | None:
    """Return the median of *metric* over the rounds; None when it was not measured.

    Of what must never happen, the worst round.
    """
    values = [
        value
        for sample in samples
        if (sample.server, sample.case) == (server, case)
        and (value := METRICS[metric].value(sample)) is not None
    ]
    if not values:
        return None
    if METRICS[metric].is_worst_judged:
        return min(values) if METRICS[metric].is_higher_better else max(values)
    return median(values)


def ratios(metric: str, peer: str, case: str, samples: Iterable[Sample]) -> list[float]:
    """Return asgibridge's value over the *peer*'s, one for each round that measured both."""
    samples = tuple(samples)
    found = []
    for number in sorted({sample.round for sample in samples}):
        ours = _value(metric, ASGIBRIDGE, case, samples, number)
        theirs = _value(metric, peer, case, samples, number)
        if ours is not None and theirs:
            found.append(ours / theirs)
    return found


def _in_round(figure: Figure, samples: tuple[Sample, ...], number: int) -> float | None:
    """Compute *figure* from the samples of one round."""
    value = _compared(figure, figure.case, samples, number)
    if value is None or figure.relative_to_case is None:
        return value
    plain = _compared(figure, figure.relative_to_case, samples, number)
    return value / plain if plain else None


def _compared(figure: Figure, case: str, samples: tuple[Sample, ...], number: int) -> float | None:
    """Return asgibridge's value, divided by what the figure says."""
    value = _value(figure.metric, ASGIBRIDGE, case, samples, number)
    if value is None:
        return None
    if figure.ideal is not None:
        value /= figure.ideal
    if figure.against is None:
        return value
    other = _other(figure.metric, figure.against, case, samples, number)
    above, below = (other, value) if figure.is_inverted else (value, other)
    return above / below if above is not None and below else None


def _other(
    metric: str, against: str, case: str, samples: tuple[Sample, ...], number: int
) -> float | None:
    """Return what is divided by: one peer's value, or the best peer's."""
    if against != BEST:
        return _value(metric, against, case, samples, number)
    peers = {sample.server for sample in samples} - {ASGIBRIDGE}
    values = [_value(metric, peer, case, samples, number) for peer in peers]
    known = [value for value in values if value is not None]
    best = max if METRICS[metric].is_higher_better else min
    return best(known, default=None)


def _value(
    metric: str, server: str, case: str, samples: tuple[Sample, ...], number: int
) -> float | None:
    """Return *metric* of one sample; None when there is no such sample."""
    return median_of(metric, server, case, (s for s in samples if s.round == number))

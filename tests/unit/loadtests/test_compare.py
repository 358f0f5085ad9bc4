from __future__ import annotations

from loadtests.compare import evaluate, median_of
from loadtests.results import Sample
from loadtests.scenarios import Figure


def sample(server: str, number: int, quick: float = 0.0, failed: int = 0) -> Sample:
    return Sample(
        server=server,
        case="new",
        round=number,
        kinds={"quick": {"p99_us": quick}},
        failed={"cut in the answer": failed} if failed else {},
    )


def test_the_best_peer_is_found_anew_in_each_round() -> None:
    samples = [
        *(sample("asgibridge", n, quick=20.0) for n in (1, 2, 3)),
        *(sample("uwsgi", n, quick=10.0 * n) for n in (1, 2, 3)),
        *(sample("granian", n, quick=20.0) for n in (1, 2, 3)),
    ]
    figure = Figure(title="", metric="quick_p99_us", case="new", against="best", must=1.5)
    result = evaluate(figure, samples)
    assert (result.low, result.measured, result.high) == (1.0, 1.0, 2.0)


def test_one_bad_round_is_not_outvoted() -> None:
    samples = [sample("asgibridge", n, failed=5 if n == 2 else 0) for n in (1, 2, 3)]
    result = evaluate(Figure(title="", metric="failed", case="new", must=0), samples)
    assert (result.measured, result.verdict) == (5, "MISSED")
    assert median_of("failed", "asgibridge", "new", samples) == 5

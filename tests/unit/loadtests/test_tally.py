from __future__ import annotations

import json

from loadtests.client import Cause, Result
from loadtests.tally import Failed, Tally, beyond_kills, from_json, percentile


def good(seconds: float, worker: str = "1") -> Result:
    return Result(started=10.0, ended=10.0 + seconds, worker=worker)


def failed(started: float, ended: float) -> Failed:
    return Failed(kind="wait", cause="reset before a byte", started=started, ended=ended)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (0, 50, 99, 99.9, 100)] == [1, 50, 99, 100, 100]
    assert percentile([3.0], 99) == 3.0


def test_kinds_are_counted_apart_and_together() -> None:
    results = [("quick", good(0.01))] * 3 + [("slow", good(0.5, worker="2"))]
    tally = Tally.of(results, seconds=1.0)
    assert {kind: latency.requests for kind, latency in tally.kinds.items()} == {
        "quick": 3,
        "slow": 1,
    }
    assert tally.all_kinds is not None
    assert (tally.all_kinds.requests, round(tally.all_kinds.max_us)) == (4, 500_000)
    assert tally.workers == {"1": 3, "2": 1}


def test_a_failure_has_no_latency() -> None:
    lost = Result(started=1.0, ended=9.0, failed=Cause.CUT)
    tally = Tally.of([("wait", good(0.05)), ("wait", lost)], seconds=9.0)
    assert tally.all_kinds is not None
    assert tally.all_kinds.requests == 1
    assert tally.failed == [Failed(kind="wait", cause="cut in the answer", started=1.0, ended=9.0)]


def test_a_repetition_counts_beside_its_outcome() -> None:
    again = Result(started=1.0, ended=1.1, repeated=Cause.CLOSED, repeated_after=0.002)
    lost = Result(
        started=1.0, ended=1.1, repeated=Cause.RESET, repeated_after=0.05, failed=Cause.REFUSED
    )
    tally = Tally.of([("wait", again), ("wait", lost)], seconds=1.0)
    assert [(r.cause, r.after_ms) for r in tally.repeated] == [
        ("closed before a byte", 2.0),
        ("reset before a byte", 50.0),
    ]
    assert len(tally.failed) == 1


def test_a_tally_survives_json() -> None:
    lost = Result(started=1.0, ended=9.0, failed=Cause.CUT, repeated=Cause.RESET)
    for results in ([], [("wait", good(0.05)), ("wait", lost)]):
        tally = Tally.of(results, seconds=2.0, closed_idle=3)
        assert from_json(json.loads(json.dumps(tally.to_json()))) == tally


def test_a_kill_excuses_as_many_as_were_in_flight() -> None:
    at_the_kill = [failed(1.9 + n / 100, 2.01) for n in range(5)]
    assert beyond_kills(at_the_kill, [2.0], in_flight=4) == 1
    assert beyond_kills(at_the_kill, [2.0], in_flight=5) == 0


def test_a_kill_excuses_nothing_that_was_not_under_way() -> None:
    assert beyond_kills([failed(2.001, 2.01), failed(1.0, 1.9)], [2.0], in_flight=4) == 2
    assert beyond_kills([failed(1.0, 1.9)], [], in_flight=4) == 1


def test_a_kept_connection_may_be_used_a_moment_after_the_kill() -> None:
    requests = [failed(1.9, 2.01) for _ in range(9)] + [failed(2.001, 2.01)]
    assert beyond_kills(requests, [2.0], in_flight=None) == 0
    assert beyond_kills([failed(2.5, 2.6)], [2.0], in_flight=None) == 1

"""However the network cuts bytes, and whatever stands before them, the requests are the same."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus import InvalidCase, ValidCase, load_invalid, load_valid
from support.feeding import Outcome, read_requests

# Cases under other limits than the defaults would need them for their neighbours as well.
VALID: Final = [case for case in load_valid() if not case.limits]
REUSABLE: Final = [case for case in VALID if all(request.keep_alive for request in case.requests)]
INVALID: Final = [case for case in load_invalid() if not case.limits]

# Shares of the whole rather than offsets: they shrink independently of the data's length.
cuts = st.lists(st.floats(min_value=0, max_value=1), max_size=12)


def cut_up(data: bytes, shares: list[float]) -> list[bytes]:
    ends = sorted({int(share * len(data)) for share in shares} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


# No deadline per example: a busy machine is no defect of the parser.
@settings(deadline=None)
@given(st.lists(st.sampled_from(REUSABLE), max_size=4), st.sampled_from(VALID), cuts)
def test_any_split_of_any_requests_yields_the_same_requests(
    before: list[ValidCase], last: ValidCase, shares: list[float]
) -> None:
    cases = [*before, last]
    pieces = cut_up(b"".join(case.data for case in cases), shares)

    expected = tuple(request for case in cases for request in case.requests)
    assert Outcome(requests=expected, status=None) == read_requests(pieces, {})


@settings(deadline=None)
@given(st.lists(st.sampled_from(REUSABLE), max_size=3), st.sampled_from(INVALID), cuts)
def test_any_requests_before_bad_bytes_are_answered_first(
    before: list[ValidCase], bad: InvalidCase, shares: list[float]
) -> None:
    pieces = cut_up(b"".join(case.data for case in before) + bad.data, shares)

    outcome = read_requests(pieces, {})

    good = sum(len(case.requests) for case in before) + bad.after
    assert (bad.status, good) == (outcome.status, len(outcome.requests))

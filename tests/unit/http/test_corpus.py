"""Every case of the corpus through the parser: whole, byte by byte, and split at every point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.corpus import InvalidCase, ValidCase, load_invalid, load_valid
from support.feeding import Outcome, read_requests

if TYPE_CHECKING:
    from collections.abc import Iterator

VALID = [pytest.param(case, id=case.name) for case in load_valid()]
INVALID = [pytest.param(case, id=case.name) for case in load_invalid()]


def expected_of(case: ValidCase) -> Outcome:
    return Outcome(requests=case.requests, status=None)


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    return (data[index : index + 1] for index in range(len(data)))


@pytest.mark.parametrize("case", VALID)
def test_valid_bytes_are_these_requests(case: ValidCase) -> None:
    assert expected_of(case) == read_requests([case.data], case.limits), case.why


@pytest.mark.parametrize("case", VALID)
def test_valid_bytes_one_at_a_time_are_these_requests(case: ValidCase) -> None:
    assert expected_of(case) == read_requests(byte_by_byte(case.data), case.limits), case.why


@pytest.mark.parametrize("case", VALID)
def test_valid_bytes_split_anywhere_are_these_requests(case: ValidCase) -> None:
    for cut in range(1, len(case.data)):
        pieces = [case.data[:cut], case.data[cut:]]
        assert expected_of(case) == read_requests(pieces, case.limits), pieces


@pytest.mark.parametrize("case", INVALID)
def test_invalid_bytes_are_refused_after_the_good_ones(case: InvalidCase) -> None:
    outcome = read_requests([case.data], case.limits)
    assert (case.status, case.after) == (outcome.status, len(outcome.requests)), case.why


@pytest.mark.parametrize("case", INVALID)
def test_invalid_bytes_one_at_a_time_are_refused_alike(case: InvalidCase) -> None:
    outcome = read_requests(byte_by_byte(case.data), case.limits)
    assert (case.status, case.after) == (outcome.status, len(outcome.requests)), case.why


@pytest.mark.parametrize("case", INVALID)
def test_invalid_bytes_split_anywhere_are_refused_alike(case: InvalidCase) -> None:
    whole = read_requests([case.data], case.limits)
    for cut in range(1, len(case.data)):
        pieces = [case.data[:cut], case.data[cut:]]
        assert whole == read_requests(pieces, case.limits), pieces

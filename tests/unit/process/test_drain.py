"""How the time to stop is divided."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgibridge.process.drain import Slices, slice_time

moments = st.floats(min_value=0, max_value=1e7)
lengths = st.floats(min_value=0, max_value=3600)


@given(now=moments, total=lengths, has_shutdown=st.booleans(), is_quick=st.booleans())
def test_slices_come_in_order_between_now_and_the_deadline(
    *, now: float, total: float, has_shutdown: bool, is_quick: bool
) -> None:
    """[STOP-1]."""
    slices = slice_time(now, now + total, has_shutdown=has_shutdown, is_quick=is_quick)
    points = [now, *_in_order(slices), now + total]
    rounding = 1e-6 * (1 + now / 1e6)
    assert all(a <= b + rounding for a, b in itertools.pairwise(points))


@given(now=moments, late=lengths, has_shutdown=st.booleans(), is_quick=st.booleans())
def test_a_deadline_in_the_past_leaves_no_time_for_anything(
    *, now: float, late: float, has_shutdown: bool, is_quick: bool
) -> None:
    slices = slice_time(now, now - late, has_shutdown=has_shutdown, is_quick=is_quick)
    assert {now} == set(astuple(slices))


@given(now=moments, total=lengths)
def test_most_of_the_time_is_for_what_is_in_flight(now: float, total: float) -> None:
    slices = slice_time(now, now + total, has_shutdown=True)
    assert slices.cut - now >= total / 2 - 1e-6 * (1 + now)


@given(now=moments, total=lengths, has_shutdown=st.booleans())
def test_a_quick_stop_cuts_at_once_and_leaves_the_rest_for_the_shutdown(
    *, now: float, total: float, has_shutdown: bool
) -> None:
    """[STOP-2]."""
    slices = slice_time(now, now + total, has_shutdown=has_shutdown, is_quick=True)
    assert slices.notice == now
    assert slices.cut - now <= 0.05 + 1e-6 * (1 + now)
    assert slices.shutdown - slices.cleaned >= total * 0.75 - 1e-6 * (1 + now)


def test_the_default_of_25_seconds_is_divided_as_documented() -> None:
    slices = slice_time(0.0, 25.0, has_shutdown=True)
    assert slices == Slices(notice=17.0, cut=19.0, cleaned=19.5, shutdown=24.5, end=25.0)


def test_without_a_shutdown_its_time_is_for_what_is_in_flight() -> None:
    assert slice_time(0.0, 25.0, has_shutdown=False).cut == pytest.approx(24.0)


def _in_order(slices: Slices) -> list[float]:
    return [slices.notice, slices.cut, slices.cleaned, slices.shutdown, slices.end]

"""Rows of failures and deaths, and the pauses that follow.  [PROC-2]"""

from __future__ import annotations

import math

from asgibridge.supervision.setbacks import Setbacks


def test_the_third_failed_start_in_a_row_is_one_too_many() -> None:
    setbacks = Setbacks()
    verdicts = [setbacks.note_failed_start(0.0, is_anybody_ready=False) for _ in range(3)]
    assert verdicts == [False, False, True]


def test_a_start_that_succeeds_ends_the_row() -> None:
    setbacks = Setbacks()
    for _ in range(2):
        setbacks.note_failed_start(0.0, is_anybody_ready=False)
    setbacks.note_ready()
    assert not setbacks.note_failed_start(0.0, is_anybody_ready=False)


def test_as_long_as_somebody_serves_starts_are_tried_again_after_growing_pauses() -> None:
    setbacks = Setbacks()
    moments = []
    for _ in range(4):
        assert not setbacks.note_failed_start(100.0, is_anybody_ready=True)
        moments.append(setbacks.spawn_at)
    assert moments == [100.25, 100.5, 101.0, 102.0]


def test_the_first_death_is_made_good_at_once_and_quick_ones_later() -> None:
    setbacks = Setbacks()
    setbacks.note_death(100.0, served=3600.0)
    assert setbacks.spawn_at == 100.0
    setbacks.note_death(101.0, served=1.0)
    assert setbacks.spawn_at == 101.25
    setbacks.note_death(102.0, served=9.9)
    assert setbacks.spawn_at == 102.5
    setbacks.note_death(103.0, served=10.0)
    assert setbacks.spawn_at == 103.0


def test_a_system_that_does_not_fork_is_asked_again_later() -> None:
    setbacks = Setbacks()
    setbacks.note_no_fork(5.0)
    assert setbacks.spawn_at == 5.25


def test_waiting_for_a_change_ends_with_one() -> None:
    setbacks = Setbacks()
    setbacks.note_failed_start(0.0, is_anybody_ready=False)
    setbacks.wait_for_a_change()
    assert math.inf == setbacks.spawn_at
    setbacks.forget()
    assert (setbacks.spawn_at, setbacks.failed_starts) == (0.0, 0)


def test_a_trace_is_news_until_it_is_told_and_again_after_a_change() -> None:
    setbacks = Setbacks()
    assert [setbacks.is_news(trace) for trace in ("a", "a", "b")] == [True, False, True]
    setbacks.forget()
    assert setbacks.is_news("b")

"""Settings on trial."""

from __future__ import annotations

import pytest

from asgibridge import Config
from asgibridge.supervision.generations import Generations

FIRST, SECOND, THIRD = (Config(threads=threads) for threads in (1, 2, 3))


def test_new_settings_are_in_force_once_confirmed() -> None:
    generations = Generations(FIRST)
    assert not generations.is_on_trial
    generations.propose(SECOND)
    assert generations.is_on_trial
    assert (generations.config, generations.number) == (SECOND, 2)
    generations.confirm()
    assert not generations.is_on_trial
    assert SECOND is generations.config


def test_settings_that_fail_are_taken_back_to_those_that_serve() -> None:
    """[PROC-3]  However many were proposed in a row."""
    generations = Generations(FIRST)
    generations.propose(SECOND)
    generations.propose(THIRD)
    generations.take_back()
    assert (generations.config, generations.number) == (FIRST, 1)
    assert not generations.is_on_trial


def test_there_is_nothing_to_take_back_without_a_proposal() -> None:
    with pytest.raises(AssertionError, match="without propose"):
        Generations(FIRST).take_back()

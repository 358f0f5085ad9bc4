"""The phases of a process: every move, and no other."""

from __future__ import annotations

import itertools

import pytest

from asgibridge.errors import IllegalMove
from asgibridge.process.phase import PHASE_MOVES, Phase, PhaseEvent


def test_a_life_without_trouble() -> None:
    phase = Phase.NEW
    seen = [phase]
    for event in (
        PhaseEvent.START_ASKED,
        PhaseEvent.LISTENING,
        PhaseEvent.STOP_ASKED,
        PhaseEvent.DRAINED,
    ):
        phase = PHASE_MOVES[phase, event]
        seen.append(phase)
    assert seen == [Phase.NEW, Phase.STARTING, Phase.SERVING, Phase.DRAINING, Phase.STOPPED]


@pytest.mark.parametrize("event", PhaseEvent)
def test_nothing_leads_out_of_the_end(event: PhaseEvent) -> None:
    with pytest.raises(IllegalMove, match=r"Phase\.STOPPED"):
        PHASE_MOVES[Phase.STOPPED, event]


def test_every_phase_can_be_reached_and_left_but_the_first_and_the_last() -> None:
    reached = set(PHASE_MOVES.values())
    left = {phase for phase, _ in PHASE_MOVES}
    assert set(Phase) - reached == {Phase.NEW}
    assert set(Phase) - left == {Phase.STOPPED}


def test_every_other_move_is_refused_and_names_both_sides() -> None:
    missing = set(itertools.product(Phase, PhaseEvent)) - set(PHASE_MOVES)
    for phase, event in missing:
        with pytest.raises(IllegalMove) as caught:
            PHASE_MOVES[phase, event]
        assert (caught.value.state, caught.value.event) == (phase, event)

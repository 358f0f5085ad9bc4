"""The tables of moves: complete, closed, and refusing what they do not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgibridge.errors import IllegalMove
from asgibridge.http.lifecycle import (
    PERSISTENCE_MOVES,
    READING_MOVES,
    WRITING_MOVES,
    Moves,
    Persistence,
    PersistenceEvent,
    ReadEvent,
    Reading,
    WriteEvent,
    Writing,
)

if TYPE_CHECKING:
    import enum

TABLES: list[tuple[Moves[Any, Any], type[enum.Enum], type[enum.Enum], enum.Enum]] = [
    (READING_MOVES, Reading, ReadEvent, Reading.AWAITING_HEAD),
    (WRITING_MOVES, Writing, WriteEvent, Writing.AWAITING_START),
    (PERSISTENCE_MOVES, Persistence, PersistenceEvent, Persistence.REUSE),
]


@pytest.mark.parametrize(("table", "states", "events", "first"), TABLES)
def test_every_state_and_event_is_used(
    table: Moves[Any, Any],
    states: type[enum.Enum],
    events: type[enum.Enum],
    first: enum.Enum,
) -> None:
    reached = {first, *table.values()}

    assert set(states) == reached
    assert set(events) == {event for _, event in table}


def test_move_that_is_not_in_the_table_names_both_sides() -> None:
    with pytest.raises(IllegalMove, match=r"no move from Reading\.READ on ReadEvent\.BODY_ENDED"):
        READING_MOVES[Reading.READ, ReadEvent.BODY_ENDED]


def test_refusing_a_move_leaves_the_table_as_it_was() -> None:
    before = dict(WRITING_MOVES)
    with pytest.raises(IllegalMove):
        WRITING_MOVES[Writing.WRITTEN, WriteEvent.HEAD_WRITTEN]

    assert before == WRITING_MOVES


def test_closed_connection_has_no_further_moves() -> None:
    for event in PersistenceEvent:
        with pytest.raises(IllegalMove):
            PERSISTENCE_MOVES[Persistence.CLOSED, event]

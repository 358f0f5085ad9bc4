"""States of reading, writing and persistence of a connection, and the tables of their moves.

Two laws hold here:

1. Everything that can happen to one of these states stands in a table in this file.
2. A move that is not in its table is an `IllegalMove` that names the state and the event.
"""

from __future__ import annotations

import enum
from typing import Final, NoReturn, TypeVar

from asgibridge.errors import IllegalMove

__all__ = [
    "PERSISTENCE_MOVES",
    "READING_MOVES",
    "WEBSOCKET_MOVES",
    "WRITING_MOVES",
    "Moves",
    "Persistence",
    "PersistenceEvent",
    "ReadEvent",
    "Reading",
    "WebSocketEvent",
    "WebSocketStage",
    "WriteEvent",
    "Writing",
]


S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)


class Moves(dict[tuple[S, E], S]):
    """Where each event leads from each state: `moves[state, event]`.

    Modules on the way of every request keep the members they use in module constants: looking up
    `Reading.READ` in its class takes as long as the move itself.
    """

    def __missing__(self, key: tuple[S, E]) -> NoReturn:
        """Refuse a move that is not in the table.

        Raises:
            IllegalMove: always.
        """
        raise IllegalMove(*key)


class _Named(enum.Enum):
    """An enum whose members hash by identity: a table look-up costs a third of `Enum`'s own."""

    __hash__ = object.__hash__


class Reading(_Named):
    """How much of the current request has been read."""

    AWAITING_HEAD = "awaiting head"
    IN_BODY = "in body"
    READ = "read"


class ReadEvent(_Named):
    """What happens to `Reading`."""

    HEAD_WITH_BODY = "head with body"
    HEAD_WITHOUT_BODY = "head without body"
    BODY_ENDED = "body ended"
    NEXT_REQUEST = "next request"


class Writing(_Named):
    """How much of the current response has been handed over."""

    AWAITING_START = "awaiting start"
    IN_BODY = "in body"
    WRITTEN = "written"


class WriteEvent(_Named):
    """What happens to `Writing`."""

    HEAD_WRITTEN = "head written"
    WHOLE_WRITTEN = "whole response written"
    BODY_ENDED = "body ended"


class Persistence(_Named):
    """What becomes of the connection after the current exchange."""

    REUSE = "reuse"
    CLOSE = "close"
    LINGERING = "lingering"
    CLOSED = "closed"


class PersistenceEvent(_Named):
    """What happens to `Persistence`."""

    MUST_CLOSE = "must close"
    LINGER = "linger"
    LOST = "lost"


class WebSocketStage(_Named):
    """How far a WebSocket is (RFC 6455 §4 and §7)."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class WebSocketEvent(_Named):
    """What happens to `WebSocketStage`."""

    ACCEPTED = "accepted"
    CLOSE_SENT = "close sent"
    OVER = "over"


READING_MOVES: Final[Moves[Reading, ReadEvent]] = Moves(
    {
        (Reading.AWAITING_HEAD, ReadEvent.HEAD_WITH_BODY): Reading.IN_BODY,
        (Reading.AWAITING_HEAD, ReadEvent.HEAD_WITHOUT_BODY): Reading.READ,
        (Reading.IN_BODY, ReadEvent.BODY_ENDED): Reading.READ,
        (Reading.READ, ReadEvent.NEXT_REQUEST): Reading.AWAITING_HEAD,
    }
)

WRITING_MOVES: Final[Moves[Writing, WriteEvent]] = Moves(
    {
        (Writing.AWAITING_START, WriteEvent.HEAD_WRITTEN): Writing.IN_BODY,
        (Writing.AWAITING_START, WriteEvent.WHOLE_WRITTEN): Writing.WRITTEN,
        (Writing.IN_BODY, WriteEvent.BODY_ENDED): Writing.WRITTEN,
    }
)

PERSISTENCE_MOVES: Final[Moves[Persistence, PersistenceEvent]] = Moves(
    {
        (Persistence.REUSE, PersistenceEvent.MUST_CLOSE): Persistence.CLOSE,
        (Persistence.REUSE, PersistenceEvent.LINGER): Persistence.LINGERING,
        (Persistence.REUSE, PersistenceEvent.LOST): Persistence.CLOSED,
        (Persistence.CLOSE, PersistenceEvent.MUST_CLOSE): Persistence.CLOSE,
        (Persistence.CLOSE, PersistenceEvent.LINGER): Persistence.LINGERING,
        (Persistence.CLOSE, PersistenceEvent.LOST): Persistence.CLOSED,
        (Persistence.LINGERING, PersistenceEvent.MUST_CLOSE): Persistence.LINGERING,
        (Persistence.LINGERING, PersistenceEvent.LOST): Persistence.CLOSED,
    }
)

# Over: it was not accepted, both close frames have been exchanged, one side has failed the other,
# or the connection is lost.
WEBSOCKET_MOVES: Final[Moves[WebSocketStage, WebSocketEvent]] = Moves(
    {
        (WebSocketStage.CONNECTING, WebSocketEvent.ACCEPTED): WebSocketStage.OPEN,
        (WebSocketStage.CONNECTING, WebSocketEvent.OVER): WebSocketStage.CLOSED,
        (WebSocketStage.OPEN, WebSocketEvent.CLOSE_SENT): WebSocketStage.CLOSING,
        (WebSocketStage.OPEN, WebSocketEvent.OVER): WebSocketStage.CLOSED,
        (WebSocketStage.CLOSING, WebSocketEvent.OVER): WebSocketStage.CLOSED,
    }
)

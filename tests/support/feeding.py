"""Feed bytes to the request parser in the way of a connection, and note what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asgibridge.http.parser import BadRequest, ParserLimits, RequestParser
from support.corpus import PlainRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Outcome", "read_requests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The complete requests, and the status of the refusal that ended them, if one did."""

    requests: tuple[PlainRequest, ...]
    status: int | None


def read_requests(pieces: Iterable[bytes], limits: Mapping[str, int]) -> Outcome:
    """Feed *pieces* to a fresh parser until it refuses or a request ends the connection."""
    # The documented default of max_body_size; the parser itself has none.
    settings = {"max_body_size": 1 << 30, **limits}
    parser = RequestParser(ParserLimits(**settings))
    requests: list[PlainRequest] = []
    body = bytearray()
    try:
        for piece in pieces:
            rest = piece
            while rest:
                rest = parser.feed(rest)
                body += b"".join(parser.take_body())
                if not parser.is_complete:
                    assert rest == b"", f"left unread in the middle of a request: {rest!r}"
                    continue
                requests.append(_noted(parser, bytes(body)))
                if not requests[-1].keep_alive:
                    return Outcome(requests=tuple(requests), status=None)
                body.clear()
                parser.start_next()
    except BadRequest as refusal:
        return Outcome(requests=tuple(requests), status=refusal.status)
    return Outcome(requests=tuple(requests), status=None)


def _noted(parser: RequestParser, body: bytes) -> PlainRequest:
    head = parser.head
    assert head is not None, "a complete request has a head"
    return PlainRequest(
        method=head.method,
        target=head.target,
        version=head.version,
        headers=tuple(head.headers),
        body=body,
        content_length=head.content_length,
        is_chunked=head.is_chunked,
        expects_continue=head.expects_continue,
        keep_alive=head.keep_alive,
    )

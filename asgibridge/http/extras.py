"""What may go with a response besides head and body: hints before it, trailers behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgibridge.errors import ResponseError
from asgibridge.http.response import split_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.http.request import RequestHead

__all__ = ["accepts_trailers", "early_hints", "trailer_lines"]

# RFC 9110 §6.5.1: fields that say where the message ends, where it goes or who may see it.  A
# recipient that merges them into the head behind our back would read another message.
_NOT_IN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"host",
        b"keep-alive",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def accepts_trailers(request: RequestHead) -> bool:
    """Say whether the client of *request* asked for trailers: `TE: trailers` (RFC 9110 §10.1.4)."""
    if b"te" not in request.fields or request.version == "1.0":
        return False
    values = b",".join(value for name, value in request.headers if name == b"te")
    return b"trailers" in {token.strip(b" \t").lower() for token in values.split(b",")}


def early_hints(links: Iterable[Any]) -> bytes:
    """Render an interim response 103 (RFC 8297) with *links*; nothing without any.

    Raises:
        ResponseError: one of them is no value of a header.
    """
    lines = [b"Link: %b\r\n" % split_field((b"Link", link))[1] for link in links]
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(lines) if lines else b""


def trailer_lines(headers: Iterable[Any]) -> bytes:
    """Render *headers* as lines of a trailer section.

    Raises:
        ResponseError: one of them is no header, or must not come so late.
    """
    lines = []
    for pair in headers:
        name, value = split_field(pair)
        if name.lower() in _NOT_IN_TRAILERS:
            raise ResponseError(f"the header {name!r} must not be sent as a trailer")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)

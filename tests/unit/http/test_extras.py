"""Hints before a response and trailers behind it, as bytes."""

from __future__ import annotations

import pytest

from asgibridge.errors import ResponseError
from asgibridge.http.extras import accepts_trailers, early_hints, trailer_lines
from asgibridge.http.request import RequestHead


@pytest.mark.parametrize(
    ("values", "version", "expected"),
    [
        ([b"trailers"], "1.1", True),
        ([b"gzip;q=0.5, Trailers"], "1.1", True),
        ([b"gzip", b"trailers"], "1.1", True),
        ([b"trailers"], "1.0", False),
        ([b"gzip"], "1.1", False),
        ([b"xtrailers"], "1.1", False),
        ([], "1.1", False),
    ],
)
def test_trailers_are_for_clients_that_ask(
    values: list[bytes], version: str, *, expected: bool
) -> None:
    """[ASGI-2]."""
    headers = [(b"host", b"a"), *((b"te", value) for value in values)]
    assert accepts_trailers(RequestHead("GET", b"/", version, headers)) is expected


def test_each_link_is_a_line_of_the_hint() -> None:
    """[ASGI-2]."""
    hint = early_hints([b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload; as=script"])
    assert hint == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\n"
        b"Link: </b.js>; rel=preload; as=script\r\n\r\n"
    )
    assert early_hints([]) == b""


@pytest.mark.parametrize("link", [b"</a>\r\nSet-Cookie: a=1", b"</a>\0", 7])
def test_link_cannot_split_the_response(link: object) -> None:
    with pytest.raises(ResponseError):
        early_hints([link])


def test_trailers_are_lines() -> None:
    """[ASGI-2]."""
    assert trailer_lines([(b"x-digest", b"7"), [b"x-more", b""]]) == b"x-digest: 7\r\nx-more: \r\n"


@pytest.mark.parametrize(
    "pair",
    [
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"set-cookie", b"a=1"),
        (b"x-a", b"b\r\nx-c: d"),
        (b"x a", b"b"),
        b"x",
    ],
)
def test_what_frames_a_message_is_no_trailer(pair: object) -> None:
    with pytest.raises(ResponseError):
        trailer_lines([pair])

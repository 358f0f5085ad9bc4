"""The parser's own promises; what it accepts and refuses is in the corpus (`test_corpus.py`)."""

from __future__ import annotations

import pytest

from asgibridge.errors import IllegalMove
from asgibridge.http.lifecycle import Reading
from asgibridge.http.parser import BadRequest, ParserLimits, RequestParser

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\n\r\n\r\n\r\n1\r\nx\r\n0\r\nTrailer: t\r\n\r\n"
)


def parser(**limits: int) -> RequestParser:
    return RequestParser(ParserLimits(**limits))


@pytest.mark.parametrize("first", [GET, POST, CHUNKED])
def test_nothing_behind_a_request_is_read(first: bytes) -> None:
    found = parser()

    assert found.feed(first + b"garbage\0") == b"garbage\0"
    assert found.is_complete


def test_parser_serves_one_request_after_another() -> None:
    found = parser()
    seen = []
    rest = GET + CHUNKED + POST + GET
    while rest:
        rest = found.feed(rest)
        assert found.head is not None
        seen.append((found.head.target, b"".join(found.take_body())))
        found.start_next()

    assert seen == [(b"/a", b""), (b"/c", b"\r\n\r\nx"), (b"/b", b"abc"), (b"/a", b"")]


def test_next_request_cannot_start_before_the_end_of_this_one() -> None:
    found = parser()
    found.feed(POST[:-1])

    assert found.reading is Reading.IN_BODY
    with pytest.raises(IllegalMove):
        found.start_next()


def test_pristine_means_that_nothing_has_come() -> None:
    found = parser()
    assert found.is_pristine
    found.feed(b"G")
    assert not found.is_pristine
    found.feed(GET[1:])
    found.start_next()
    assert found.is_pristine


def test_body_is_handed_over_as_it_comes() -> None:
    found = parser()
    found.feed(POST[:-2])
    assert found.take_body() == [b"a"]
    found.feed(b"bc")
    assert found.take_body() == [b"bc"]
    assert found.body_bytes == 3


def feed_by(found: RequestParser, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        found.feed(data[start : start + step])


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_head_of_exactly_the_limit_passes(step: int) -> None:
    found = parser(max_head_size=len(GET))
    feed_by(found, GET, step)

    assert found.is_complete


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_head_of_one_byte_more_than_the_limit_is_refused(step: int) -> None:
    found = parser(max_head_size=len(GET) - 1)
    with pytest.raises(BadRequest) as refusal:
        feed_by(found, GET, step)

    assert refusal.value.status == 431


def test_number_of_headers_is_limited_while_the_head_arrives() -> None:
    found = parser(max_headers=3)
    with pytest.raises(BadRequest) as refusal:
        found.feed(b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n")

    assert refusal.value.status == 431


def test_target_is_limited_before_its_end_has_come() -> None:
    found = parser(max_target_size=20)
    with pytest.raises(BadRequest) as refusal:
        found.feed(b"GET /" + b"a" * 30)

    assert refusal.value.status == 414


@pytest.mark.parametrize("junk", [b";" + b"e" * 100, b"\r\nX: " + b"t" * 400])
def test_endless_extension_or_trailer_is_refused(junk: bytes) -> None:
    found = parser(max_head_size=100)
    found.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    found.feed(b"0")
    with pytest.raises(BadRequest) as refusal:
        feed_by(found, junk * 4, len(junk))

    assert refusal.value.status == 431


def test_many_end_marks_in_a_body_take_linear_time() -> None:
    body = b"\r\n\r\n" * 20_000
    found = parser()
    found.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    found.feed(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")

    assert found.is_complete
    assert b"".join(found.take_body()) == body


def test_header_cache_does_not_leak_values_between_requests() -> None:
    found = parser()
    values = []
    for value in (b"one", b"two", b"one"):
        found.feed(
            b"GET / HTTP/1.1\r\nHost: a\r\nAccept: %b\r\nCookie: %b\r\n\r\n" % (value, value)
        )
        assert found.head is not None
        values.append((found.head.fields[b"accept"], found.head.fields[b"cookie"]))
        found.start_next()

    assert values == [(b"one", b"one"), (b"two", b"two"), (b"one", b"one")]


@pytest.mark.parametrize("step", [1, 1000])
def test_few_empty_lines_before_a_request_are_skipped_and_many_refused(step: int) -> None:
    found = parser(max_head_size=len(GET))
    feed_by(found, b"\r\n" * 8 + GET, step)
    assert found.is_complete

    with pytest.raises(BadRequest, match="empty lines"):
        feed_by(parser(), b"\r\n" * 9 + GET, step)


def test_empty_lines_alone_are_no_request() -> None:
    found = parser()
    found.feed(b"\r\n\r")

    assert found.is_pristine


def test_chunk_framing_is_bounded_by_the_data_in_it() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = parser(max_head_size=100)
    feed_by(found, head + b"1\r\na\r\n" * 1000, 7)
    with pytest.raises(BadRequest) as refusal:
        feed_by(parser(max_head_size=100), head + b"1;eeeeeeeeeeeeeeee\r\na\r\n" * 1000, 7)

    assert found.body_bytes == 1000
    assert refusal.value.status == 431


def head_with(size: int) -> bytes:
    """A request with one header line of *size* bytes, its line end included."""
    line = b"X: " + b"a" * (size - len(b"X: \r\n")) + b"\r\n"
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"B: c\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 10_000], ids=["byte by byte", "in pieces", "whole"])
def test_a_header_line_may_be_as_long_as_its_limit(step: int) -> None:
    found = parser(max_header_size=200)

    def read(data: bytes) -> None:
        for start in range(0, len(data), step):
            found.feed(data[start : start + step])

    read(head_with(200))
    assert found.is_complete
    found.start_next()
    with pytest.raises(BadRequest, match="larger than 200 bytes") as refusal:
        read(head_with(201))
    assert refusal.value.status == 431


def test_a_long_head_of_short_lines_passes_a_limit_on_lines() -> None:
    found = parser(max_header_size=50)
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(50))
    found.feed(b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    assert found.is_complete

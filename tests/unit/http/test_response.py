"""How responses are framed, rendered and held to what they declare."""

from __future__ import annotations

import http
from typing import Any

import pytest

from asgibridge.errors import IllegalMove, ResponseError
from asgibridge.http.request import RequestHead
from asgibridge.http.response import MAX_JOINED_BODY, STATUS_LINES, Response, error_response


class Defaults:
    """A `DefaultHeaders` with fixed lines."""

    def lines(self) -> bytes:
        return b"Server: s\r\nDate: d\r\n"

    def lines_without(self, names: set[bytes]) -> bytes:
        server = b"" if b"server" in names else b"Server: s\r\n"
        return server + (b"" if b"date" in names else b"Date: d\r\n")


def response(method: str = "GET", version: str = "1.1", *, close: bool = False) -> Response:
    headers = [(b"host", b"a")]
    if close:
        headers.append((b"connection", b"close"))
    elif version == "1.0":
        headers.append((b"connection", b"keep-alive"))
    return Response(RequestHead(method, b"/", version, headers), Defaults())


def whole(found: Response, status: int, headers: list[Any], body: bytes = b"") -> bytes:
    return b"".join(found.whole(status, STATUS_LINES[status], headers, body))


def test_whole_response_is_one_buffer_with_its_length() -> None:
    found = response()
    rendered = found.whole(200, STATUS_LINES[200], [("Content-Type", "text/plain")], b"hello")

    expected = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
        b"Server: s\r\nDate: d\r\n\r\nhello"
    )
    assert rendered == [expected]
    assert not found.will_close


def test_str_and_bytes_headers_render_alike() -> None:
    as_str = whole(response(), 200, [("X-Name", "v\xe9")], b"")
    as_bytes = whole(response(), 200, [(b"X-Name", b"v\xe9")], b"")
    as_lists = whole(response(), 200, [[b"X-Name", b"v\xe9"]], b"")

    assert as_str == as_bytes == as_lists


def test_rendering_again_from_the_cache_gives_the_same_bytes() -> None:
    headers = [("Cache-Control", "no-store"), ("Content-Length", "2"), ("Set-Cookie", "a=1")]

    assert whole(response(), 200, headers, b"ok") == whole(response(), 200, headers, b"ok")


def test_large_body_is_not_copied_into_the_head() -> None:
    body = b"x" * (MAX_JOINED_BODY + 1)
    head, rest = response().whole(200, STATUS_LINES[200], [], body)

    assert rest is body
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("version", "close", "line"),
    [
        ("1.1", False, None),
        ("1.1", True, b"\r\nConnection: close\r\n"),
        ("1.0", False, b"\r\nConnection: keep-alive\r\n"),
        ("1.0", True, b"\r\nConnection: close\r\n"),
    ],
)
def test_connection_header_tells_what_becomes_of_the_connection(
    version: str, line: bytes | None, *, close: bool
) -> None:
    found = response(version=version, close=close)
    rendered = whole(found, 200, [], b"x")

    assert close == found.will_close
    if line is None:
        assert b"Connection" not in rendered
    else:
        assert line in rendered


def test_application_can_close_the_connection_but_not_frame_the_body() -> None:
    found = response()
    rendered = whole(
        found, 200, [("Connection", "close"), ("Transfer-Encoding", "gzip"), ("Keep-Alive", "x")]
    )

    assert found.will_close
    assert b"gzip" not in rendered
    assert b"Keep-Alive" not in rendered


def test_own_date_and_server_of_the_application_win() -> None:
    rendered = whole(response(), 200, [("Date", "mine"), ("Server", "me")])

    assert rendered.count(b"Date: ") == 1
    assert b"Server: s" not in rendered


def test_streamed_body_is_chunked_for_http_11() -> None:
    found = response()
    head = found.start(200, STATUS_LINES[200], [])
    body = b"".join([*found.piece(b"hello"), *found.piece(b""), *found.piece(b"w" * 16)])

    assert b"Transfer-Encoding: chunked\r\n" in head
    assert body == b"5\r\nhello\r\n10\r\n" + b"w" * 16 + b"\r\n"
    assert found.end() == b"0\r\n\r\n"


def test_streamed_body_ends_with_the_connection_for_http_10() -> None:
    found = response(version="1.0")
    head = found.start(200, STATUS_LINES[200], [])

    assert b"Connection: close\r\n" in head
    assert b"chunked" not in head
    assert found.piece(b"hello") == [b"hello"]
    assert found.end() == b""
    assert found.will_close


def test_declared_length_is_kept_to_in_a_streamed_body() -> None:
    found = response()
    found.start(200, STATUS_LINES[200], [(b"content-length", b"5")])

    assert found.piece(b"hel") == [b"hel"]
    with pytest.raises(ResponseError, match="2 bytes shorter"):
        found.end()
    with pytest.raises(ResponseError, match="longer"):
        found.piece(b"loo")


@pytest.mark.parametrize("length", ["4", "6", "+5", "", "5.0"])
def test_wrong_length_of_a_whole_body_is_refused_before_anything_is_sent(length: str) -> None:
    found = response()
    with pytest.raises(ResponseError):
        whole(found, 200, [("Content-Length", length)], b"hello")

    assert not found.is_started


def test_repeated_length_is_refused() -> None:
    with pytest.raises(ResponseError):
        whole(response(), 200, [("Content-Length", "1"), ("content-length", "1")], b"x")


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body_has_none(status: int) -> None:
    rendered = whole(response(), status, [("Content-Length", "3")], b"abc")

    assert rendered.endswith(b"\r\n\r\n")
    assert (b"Content-Length" in rendered) == (status == 304)


def test_head_gets_the_length_but_no_body() -> None:
    declared = whole(response("HEAD"), 200, [("Content-Length", "3")], b"")
    counted = whole(response("HEAD"), 200, [], b"abc")
    streamed = response("HEAD").start(200, STATUS_LINES[200], [])

    assert b"Content-Length: 3\r\n" in declared
    assert b"Content-Length: 3\r\n" in counted
    assert counted.endswith(b"\r\n\r\n")
    assert b"chunked" not in streamed


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("encode", [False, True])
def test_value_that_would_split_the_response_is_refused(value: str, *, encode: bool) -> None:
    pair: tuple[Any, Any] = ("X", value)
    if encode:
        pair = (b"X", value.encode())
    with pytest.raises(ResponseError, match="CR, LF or NUL"):
        whole(response(), 200, [pair])


@pytest.mark.parametrize(
    "pair",
    [
        ("", "v"),
        ("a b", "v"),
        ("a:", "v"),
        ("a\n", "v"),
        ("é", "v"),
        ("X", 1),
        ("X", None),
        (1, "v"),
        ("X",),
        "X: v",
        ("X", "snow\u2603"),
    ],
)
def test_what_is_no_header_is_refused(pair: object) -> None:
    with pytest.raises(ResponseError):
        whole(response(), 200, [pair])


@pytest.mark.parametrize("status", [0, 99, 100, 199, 1000, "200", None, True])
def test_what_is_no_final_status_is_refused(status: int) -> None:
    with pytest.raises(ResponseError):
        STATUS_LINES[status]


def test_status_lines_carry_the_registered_phrase() -> None:
    assert STATUS_LINES[404] == b"HTTP/1.1 404 Not Found\r\n"
    assert STATUS_LINES[299] == b"HTTP/1.1 299 \r\n"
    assert STATUS_LINES[http.HTTPStatus.CREATED] == b"HTTP/1.1 201 Created\r\n"


def test_file_is_announced_with_its_length() -> None:
    found = response()
    head = found.start_file(200, STATUS_LINES[200], [], 1000)

    assert b"Content-Length: 1000\r\n" in head
    assert found.body_bytes == 1000


def test_file_shorter_than_declared_is_refused() -> None:
    with pytest.raises(ResponseError, match="the file has 10 bytes"):
        response().start_file(200, STATUS_LINES[200], [("Content-Length", "11")], 10)


def test_response_cannot_start_twice() -> None:
    found = response()
    whole(found, 200, [])
    with pytest.raises(IllegalMove):
        found.start(200, STATUS_LINES[200], [])


def test_error_page_says_what_is_wrong_and_closes() -> None:
    page = error_response(400, Defaults(), reason="Host is missing", extra=b"X: y\r\n")

    head, _, body = page.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close" in head
    assert b"X: y" in head
    assert body == b"400 Bad Request: Host is missing\n"
    assert b"Content-Length: %d" % len(body) in head


def test_error_page_for_head_has_no_body() -> None:
    page = error_response(500, Defaults(), keep_alive=True, is_head=True)

    assert page.endswith(b"\r\n\r\n")
    assert b"Connection" not in page


def test_trailers_follow_a_chunked_body_only() -> None:
    """[ASGI-2]."""
    chunked, declared = response(), response()
    chunked.start(200, STATUS_LINES[200], [])
    declared.start(200, STATUS_LINES[200], [("Content-Length", "0")])
    assert (chunked.may_trail, declared.may_trail) == (True, False)
    assert chunked.end(b"x-a: b\r\n") == b"0\r\nx-a: b\r\n\r\n"

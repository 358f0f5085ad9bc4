"""What a head means: framing, persistence, the forms of a target."""

from __future__ import annotations

import pytest

from asgibridge.http.request import BadRequest, RequestHead, split_target

HOST = (b"host", b"a.example")


def head(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    target: bytes = b"/",
    version: str = "1.1",
) -> RequestHead:
    return RequestHead(method, target, version, [HOST, *headers])


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ((), 0),
        (((b"content-length", b"0"),), 0),
        (((b"content-length", b"12"),), 12),
        (((b"transfer-encoding", b"Chunked"),), None),
    ],
)
def test_framing_follows_from_the_fields(
    headers: tuple[tuple[bytes, bytes], ...], length: int | None
) -> None:
    found = head(*headers)

    assert length == found.content_length
    assert (length is None) == found.is_chunked
    assert (length != 0) == found.has_body


@pytest.mark.parametrize(
    ("version", "connection", "persists"),
    [
        ("1.1", None, True),
        ("1.0", None, False),
        ("1.1", b"close", False),
        ("1.1", b"Close", False),
        ("1.1", b"keep-alive, close", False),
        ("1.1", b"closed", True),
        ("1.0", b"keep-alive", True),
        ("1.0", b"Keep-Alive", True),
        ("1.0", b"keep-alive, close", False),
    ],
)
def test_persistence_follows_from_version_and_connection(
    version: str, connection: bytes | None, *, persists: bool
) -> None:
    headers = [] if connection is None else [(b"connection", connection)]

    assert persists == head(*headers, version=version).keep_alive


def test_close_on_one_line_outweighs_keep_alive_on_another() -> None:
    found = head((b"connection", b"close"), (b"connection", b"keep-alive"))

    assert not found.keep_alive


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([HOST, HOST], 400),
        ([], 400),
        ([(b"host", b"a b")], 400),
        ([(b"host", b"a:99999")], 400),
        ([HOST, (b"content-length", b"1"), (b"content-length", b"1")], 400),
        ([HOST, (b"content-length", b"5, 5")], 400),
        ([HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], 400),
        ([HOST, (b"expect", b"tea")], 417),
    ],
)
def test_broken_fields_are_refused(headers: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(BadRequest) as refusal:
        RequestHead("GET", b"/", "1.1", headers)

    assert status == refusal.value.status


def test_good_host_does_not_excuse_a_missing_one_later() -> None:
    head()
    with pytest.raises(BadRequest, match="missing"):
        RequestHead("GET", b"/", "1.1", [])


def test_http_10_needs_no_host_and_ignores_expect() -> None:
    found = RequestHead("POST", b"/", "1.0", [(b"expect", b"100-continue")])

    assert not found.expects_continue


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a%20b?c=d?e", b"/a%20b", b"c=d?e"),
        (b"http://host/a?b", b"/a", b"b"),
        (b"http://host", b"/", b""),
        (b"HTTP://host:80?b", b"/", b"b"),
        (b"*", b"*", b""),
    ],
)
def test_target_is_split_into_path_and_query(target: bytes, path: bytes, query: bytes) -> None:
    assert (path, query) == split_target(target)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", b"*", 400),
        ("GET", b"a.example", 400),
        ("GET", b"/a#b", 400),
        ("GET", b"ftp://host/", 400),
        ("GET", b"http://user@host/", 400),
        ("CONNECT", b"host:443", 501),
        ("CONNECT", b"/", 501),
    ],
)
def test_other_forms_of_target_are_refused(method: str, target: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as refusal:
        head(method=method, target=target)

    assert status == refusal.value.status


def test_asterisk_goes_with_options() -> None:
    assert head(method="OPTIONS", target=b"*").target == b"*"

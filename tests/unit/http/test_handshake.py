"""What HTTP knows of the opening handshake of a WebSocket."""

from __future__ import annotations

import pytest

from asgibridge.errors import ResponseError
from asgibridge.http.handshake import (
    bad_handshake,
    check_handshake,
    offered,
    render_switch,
    wants_websocket,
)
from asgibridge.http.request import BadRequest, RequestHead

GOOD: dict[bytes, bytes] = {
    b"host": b"a",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-version": b"13",
}


class Defaults:
    def lines(self) -> bytes:
        return self.lines_without(set())

    def lines_without(self, names: set[bytes]) -> bytes:
        return b"" if b"server" in names else b"Server: test\r\n"


def head(
    changes: dict[bytes, bytes | None] | None = None, method: str = "GET", version: str = "1.1"
) -> RequestHead:
    fields = {**GOOD, **(changes or {})}
    return RequestHead(method, b"/", version, [(n, v) for n, v in fields.items() if v is not None])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({b"upgrade": b"WebSocket", b"connection": b"keep-alive, upgrade"}, True),
        ({b"upgrade": b"h2c, websocket"}, True),
        ({b"sec-websocket-key": None, b"sec-websocket-version": None}, True),
        ({b"upgrade": None}, False),
        ({b"upgrade": b"h2c"}, False),
        ({b"upgrade": b"websockets"}, False),
        ({b"connection": None}, False),
        ({b"connection": b"keep-alive"}, False),
        ({b"connection": b"not-upgrade"}, False),
    ],
)
def test_upgrade_is_wanted_where_both_headers_say_so(
    changes: dict[bytes, bytes | None], *, wanted: bool
) -> None:
    assert wants_websocket(head(changes)) is wanted


def test_http_10_has_no_upgrades() -> None:
    """RFC 9110 §7.8."""
    assert not wants_websocket(head(version="1.0"))


@pytest.mark.parametrize(
    ("method", "changes", "status"),
    [
        ("POST", {}, 400),
        ("GET", {b"content-length": b"5"}, 400),
        ("GET", {b"transfer-encoding": b"chunked"}, 400),
        ("GET", {b"sec-websocket-version": b"8"}, 426),
        ("GET", {b"sec-websocket-version": b"13, 8"}, 426),
        ("GET", {b"sec-websocket-version": None}, 426),
    ],
)
def test_bad_handshake_is_told_the_version(
    method: str, changes: dict[bytes, bytes | None], status: int
) -> None:
    with pytest.raises(BadRequest) as caught:
        check_handshake(head(changes, method))
    assert caught.value.status == status
    assert b"Sec-WebSocket-Version: 13\r\n" in caught.value.lines
    assert (b"Upgrade: websocket\r\n" in caught.value.lines) is (status == 426)


def test_good_handshake_passes() -> None:
    check_handshake(head())
    check_handshake(head({b"content-length": b"0"}))
    assert bad_handshake("a reason").status == 400


def test_tokens_come_from_all_headers_in_order() -> None:
    request = RequestHead(
        "GET", b"/", "1.1", [*GOOD.items(), (b"x-list", b"a,, b\t"), (b"x-list", b"c")]
    )
    assert offered(request, b"x-list") == ["a", "b", "c"]
    assert offered(request, b"x-none") == []


def test_the_switch_says_what_was_agreed() -> None:
    rendered = render_switch("key", "permessage-deflate", "chat", [(b"X-A", b"1")], Defaults())
    assert rendered == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: key\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        b"Sec-WebSocket-Protocol: chat\r\nX-A: 1\r\nServer: test\r\n\r\n"
    )


def test_the_application_may_name_the_server_but_not_break_the_handshake() -> None:
    headers = [(b"server", b"mine"), (b"connection", b"close"), (b"upgrade", b"x")]
    rendered = render_switch("key", None, None, headers, Defaults())
    assert rendered.count(b"erver") == 1
    assert b"close" not in rendered
    for name in ("sec-websocket-accept", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
        with pytest.raises(ResponseError, match="for the server to send"):
            render_switch("key", None, None, [(name.encode(), b"x")], Defaults())


@pytest.mark.parametrize(
    ("subprotocol", "headers"), [("a\r\nX: y", []), (None, [(b"x", b"y\n")]), (None, [b"x"])]
)
def test_nothing_slips_into_the_head(subprotocol: str | None, headers: list[object]) -> None:
    with pytest.raises(ResponseError):
        render_switch("key", None, subprotocol, headers, Defaults())

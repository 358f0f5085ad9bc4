"""The opening handshake of a WebSocket, as far as HTTP knows it (RFC 6455 §4).

Pure.  What the key, the extensions and the subprotocol mean is left to the WebSocket protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgibridge.errors import ResponseError
from asgibridge.http.request import BadRequest
from asgibridge.http.response import header_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.http.request import RequestHead
    from asgibridge.http.response import DefaultHeaders

__all__ = ["bad_handshake", "check_handshake", "offered", "render_switch", "wants_websocket"]

# RFC 6455 §4.2.2 and §4.4 want the version, RFC 9110 §15.5.22 the protocol, §7.8 the option.
_VERSION_LINE: Final = b"Sec-WebSocket-Version: 13\r\n"
_UPGRADE_LINES: Final = b"Upgrade: websocket\r\nConnection: upgrade\r\n" + _VERSION_LINE
# What the handshake itself says.  The subprotocol is an argument of its own (ASGI).
_OURS: Final = frozenset(
    {b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"}
)
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"upgrade", b"content-length", b"transfer-encoding", b"keep-alive"}
)


def offered(head: RequestHead, name: bytes) -> list[str]:
    """List the comma-separated tokens in all headers *name* of a request, in order."""
    values = b",".join(value for key, value in head.headers if key == name)
    tokens = (token.strip(" \t") for token in values.decode("latin-1").split(","))
    return [token for token in tokens if token]


def wants_websocket(head: RequestHead) -> bool:
    """Say whether the request asks for a WebSocket, well or badly.

    Without `Connection: upgrade` the header `Upgrade` is not meant for us (RFC 9110 §7.8); in
    HTTP/1.0 it is to be ignored.
    """
    if head.version != "1.1" or b"connection" not in head.fields:
        return False
    if "websocket" not in map(str.lower, offered(head, b"upgrade")):
        return False
    return "upgrade" in map(str.lower, offered(head, b"connection"))


def bad_handshake(reason: str) -> BadRequest:
    """Make the refusal of a handshake that breaks RFC 6455."""
    return BadRequest(400, reason, lines=_VERSION_LINE)


def check_handshake(head: RequestHead) -> None:
    """Check what HTTP knows of a handshake.

    Raises:
        BadRequest: it cannot become a WebSocket.
    """
    if head.method != "GET" or head.has_body:
        raise bad_handshake("a WebSocket handshake is a GET without a body")
    if offered(head, b"sec-websocket-version") != ["13"]:
        raise BadRequest(426, "the WebSocket version spoken here is 13", lines=_UPGRADE_LINES)


def render_switch(
    accept: str,
    extensions: str | None,
    subprotocol: str | None,
    headers: Iterable[Any],
    defaults: DefaultHeaders,
) -> bytes:
    """Render the head that ends HTTP on a connection, with the application's *headers*.

    Raises:
        ResponseError: a header or the *subprotocol* breaks HTTP, or the handshake.
    """
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        f"Sec-WebSocket-Accept: {accept}\r\n".encode("ascii"),
    ]
    if extensions is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}\r\n".encode("ascii"))
    if subprotocol is not None:
        (chosen,) = header_fields([(b"Sec-WebSocket-Protocol", subprotocol)])
        lines.append(b"%b: %b\r\n" % chosen)
    given: set[bytes] = set()
    for name, value in header_fields(headers):
        lower = name.lower()
        if lower in _OURS:
            raise ResponseError(f"the header {lower.decode()} is for the server to send")
        if lower not in _HOP_BY_HOP:
            given.add(lower)
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(defaults.lines_without(given))
    lines.append(b"\r\n")
    return b"".join(lines)

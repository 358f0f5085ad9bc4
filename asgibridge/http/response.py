"""One response: choose its framing, render it, and hold the application to what it declared.

Pure, and used by one thread at a time: the loop's for ASGI, a pool thread's for WSGI.
"""

from __future__ import annotations

import http
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgibridge.errors import ResponseError
from asgibridge.http.lifecycle import WRITING_MOVES, WriteEvent, Writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.http.request import RequestHead

__all__ = [
    "STATUS_LINES",
    "DefaultHeaders",
    "Response",
    "declared_length",
    "error_response",
    "header_fields",
    "split_field",
]

# Head and body leave in one buffer up to here; beyond, copying costs more than a second iovec.
MAX_JOINED_BODY: Final = 65536

_NO_BODY: Final = frozenset({204, 304})
_AWAITING_START: Final = Writing.AWAITING_START
_WHOLE_WRITTEN: Final = WriteEvent.WHOLE_WRITTEN


class DefaultHeaders(Protocol):
    """The header lines that the server adds, ready for the wire."""

    def lines(self) -> bytes:
        """Return all of them, each with its CRLF."""

    def lines_without(self, names: set[bytes]) -> bytes:
        """Return those whose lower-case names are not in *names*."""


# --- response headers, as the application gives them, and as they go to the wire

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
# Names that mean something to the server, or whose values seldom come again, or are secret.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
_DEFAULTED: Final = frozenset({b"date", b"server"})
_NOT_KEPT: Final = _FRAMING | _DEFAULTED | {b"set-cookie", b"location", b"etag", b"last-modified"}
# (name, value) -> checked line, so that what an application says again and again costs one
# look-up.  Bounded, since an application may echo what clients send; begun anew when full.  Threads
# that fill it at once write the same lines.
_lines: dict[object, bytes] = {}
_MAX_LINES: Final = 512
_MAX_VALUE_KEPT: Final = 64


def _wire_bytes(text: object) -> bytes:
    """Encode a name or value: bytes from ASGI applications, latin-1 str from WSGI ones."""
    if type(text) is bytes:
        return text
    if isinstance(text, str):
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError as error:
            raise ResponseError(f"{text!r} cannot be encoded in latin-1") from error
    raise ResponseError(f"a header is made of two byte strings or two str, not of {text!r}")


def split_field(pair: object) -> tuple[bytes, bytes]:
    """Check one header; return its name and value as they go to the wire.

    Raises:
        ResponseError: it is no header, or would break the message.
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004 - a pair
        raise ResponseError(f"{pair!r} is not a header: a name and a value")
    name, value = pair
    wire_name = _wire_bytes(name)
    wire_value = _wire_bytes(value)
    if _TOKEN.fullmatch(wire_name) is None:
        raise ResponseError(f"{name!r} is no header name")
    if b"\n" in wire_value or b"\r" in wire_value or b"\0" in wire_value:
        # Whoever chose the value could write headers of their own (response splitting).
        raise ResponseError(f"the value of header {name!r} contains CR, LF or NUL")
    return wire_name, wire_value


def header_fields(headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """Check *headers* as an application gives them; return names and values for the wire.

    Raises:
        ResponseError: one of them is no header.
    """
    return [split_field(pair) for pair in headers]


def _keep_line(pair: object, line: bytes) -> None:
    if type(pair) is tuple and len(line) <= _MAX_VALUE_KEPT:
        if len(_lines) >= _MAX_LINES:
            _lines.clear()
        _lines[pair] = line


# --- status lines


class _StatusLines(dict[int, bytes]):
    """The status line of each status code, made when it is first asked for.

    The version is always ours, 1.1: RFC 9110 §2.5 wants the highest minor version that the server
    conforms to, whatever the client speaks.
    """

    def __missing__(self, status: int) -> bytes:
        """Make the line for *status*.

        Raises:
            ResponseError: *status* is not a final status code.
        """
        if type(status) is not int and not isinstance(status, http.HTTPStatus):
            raise ResponseError(f"{status!r} is no status code")
        if not 200 <= status <= 999:  # noqa: PLR2004
            raise ResponseError(f"{status!r} is no final status code")
        try:
            phrase = http.HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        line = self[int(status)] = f"HTTP/1.1 {int(status)} {phrase}\r\n".encode("ascii")
        return line


STATUS_LINES: Final = _StatusLines()


class Response:
    """The response of one exchange.

    Attributes:
        writing: how much has been rendered.
        keep_alive: whether the connection may serve another request afterwards; anybody may turn
            it off until the head is rendered.
        will_close: whether the head, once rendered, tells the client that the connection ends.
        head_request: whether the request was a HEAD.
        status: the status code, 0 before the head is rendered.
        headers: the application's headers, once rendered.
        body_bytes: bytes of body rendered, framing left out.
    """

    __slots__ = (
        "_defaults",
        "_is_chunked",
        "_is_http_10",
        "_is_without_body",
        "_remaining",
        "body_bytes",
        "head_request",
        "headers",
        "keep_alive",
        "status",
        "will_close",
        "writing",
    )

    def __init__(self, request: RequestHead, defaults: DefaultHeaders) -> None:
        """Prepare to answer *request*, with *defaults* for the headers that the server adds."""
        self._defaults = defaults
        self._is_http_10 = request.version == "1.0"
        self.head_request = request.method == "HEAD"
        self.keep_alive = request.keep_alive
        self.writing = _AWAITING_START
        self.will_close = True
        self.status = 0
        self.headers: Iterable[Any] = ()
        self.body_bytes = 0
        self._is_chunked = False
        self._is_without_body = False
        self._remaining: int | None = None  # of the declared length; None: not declared

    @property
    def is_started(self) -> bool:
        """Whether the head has been rendered."""
        return self.writing is not _AWAITING_START

    def whole(self, status: int, line: bytes, headers: Iterable[Any], body: bytes) -> list[bytes]:
        """Render the complete response; one buffer, or two when the body is large.

        Raises:
            ResponseError: it breaks HTTP, or *body* is not of the declared length.
        """
        size = len(body)
        lines = self._render_head(status, line, headers, size)
        self.writing = WRITING_MOVES[self.writing, _WHOLE_WRITTEN]
        if not self._is_without_body:
            self.body_bytes = size
            if size > MAX_JOINED_BODY:
                return [b"".join(lines), body]
            lines.append(body)
        return [b"".join(lines)]

    def start(self, status: int, line: bytes, headers: Iterable[Any]) -> bytes:
        """Render the head of a response whose body comes in pieces.

        Raises:
            ResponseError: it breaks HTTP.
        """
        head = b"".join(self._render_head(status, line, headers, None))
        self.writing = WRITING_MOVES[self.writing, WriteEvent.HEAD_WRITTEN]
        return head

    def start_file(self, status: int, line: bytes, headers: Iterable[Any], available: int) -> bytes:
        """Render the head of a response whose body somebody else copies from a file.

        The body is as long as the application declared, else *available* bytes; `body_bytes` says
        so afterwards.

        Raises:
            ResponseError: it breaks HTTP, or more is declared than is *available*.
        """
        declared = declared_length(headers)
        size = available if declared is None else declared
        if size > available:
            raise ResponseError(f"Content-Length says {size}, but the file has {available} bytes")
        head = b"".join(self._render_head(status, line, headers, size))
        self.writing = WRITING_MOVES[self.writing, _WHOLE_WRITTEN]
        self.body_bytes = 0 if self._is_without_body else size
        return head

    def piece(self, data: bytes) -> list[bytes]:
        """Render a piece of body; nothing for an empty one.

        Raises:
            ResponseError: it exceeds the declared length.
        """
        size = len(data)
        if self._is_without_body or not size:
            return []
        self.body_bytes += size
        if self._remaining is not None:
            if size > self._remaining:
                raise ResponseError("the body is longer than the declared Content-Length")
            self._remaining -= size
            return [data]
        if self._is_chunked:
            return [b"%x\r\n" % size, data, b"\r\n"]
        return [data]

    @property
    def may_trail(self) -> bool:
        """Whether trailers can follow the body: once the head has made it chunked."""
        return self._is_chunked

    def end(self, trailers: bytes = b"") -> bytes:
        """Render what ends the body; rendered *trailers* only if it `may_trail`.

        Raises:
            ResponseError: less came than was declared.
        """
        if self._remaining and not self._is_without_body:
            raise ResponseError(
                f"the body is {self._remaining} bytes shorter than the declared Content-Length"
            )
        self.writing = WRITING_MOVES[self.writing, WriteEvent.BODY_ENDED]
        return b"0\r\n%b\r\n" % trailers if self._is_chunked else b""

    def _render_head(
        self, status: int, line: bytes, headers: Iterable[Any], body_length: int | None
    ) -> list[bytes]:
        lines = [line]
        known = _lines
        given: set[bytes] | None = None
        length: int | None = None
        for pair in headers:
            try:
                field = known.get(pair)
            except TypeError:  # a list, say, which ASGI allows
                field = None
            if field is None:
                name, value = split_field(pair)
                field = b"%b: %b\r\n" % (name, value)
                lower = name.lower()
                if lower in _NOT_KEPT:
                    if lower in _FRAMING:
                        # Hop-by-hop headers are the server's business (PEP 3333, ASGI).
                        if lower == b"content-length":
                            length = _declared_length(length, value)
                        elif lower == b"connection" and b"close" in value.lower():
                            self.keep_alive = False
                        continue
                    if lower in _DEFAULTED:
                        given = {lower} if given is None else given | {lower}
                else:
                    _keep_line(pair, field)
            lines.append(field)
        lines.append(self._frame(status, length, body_length))
        self.status = status
        self.headers = headers
        defaults = self._defaults
        lines.append(defaults.lines() if given is None else defaults.lines_without(given))
        lines.append(b"\r\n")
        return lines

    def _frame(self, status: int, length: int | None, body_length: int | None) -> bytes:
        """Decide how the client will find the end of the body; return the header lines for it."""
        if self.head_request or status in _NO_BODY:
            framing = self._frame_without_body(status, length, body_length)
        else:
            if length is None:
                length = body_length
            elif body_length is not None and length != body_length:
                raise ResponseError(
                    f"Content-Length says {length}, but the body has {body_length} bytes"
                )
            self._remaining = length
            if length is not None:
                framing = b"Content-Length: %d\r\n" % length
            elif self._is_http_10:
                framing = b""
                self.keep_alive = False  # RFC 9112 §6.3: the end of the connection ends the body
            else:
                self._is_chunked = True
                framing = b"Transfer-Encoding: chunked\r\n"
        self.will_close = not self.keep_alive
        if self.will_close:
            return framing + b"Connection: close\r\n"
        if self._is_http_10:
            return framing + b"Connection: keep-alive\r\n"
        return framing

    def _frame_without_body(
        self, status: int, length: int | None, body_length: int | None
    ) -> bytes:
        self._is_without_body = True
        if status not in _NO_BODY and length is None:
            # A HEAD whose application made the body all the same: tell its length.
            length = body_length or None
        # RFC 9110 §8.6: no Content-Length in a 204.
        if length is None or status == 204:  # noqa: PLR2004
            return b""
        return b"Content-Length: %d\r\n" % length


def declared_length(headers: Iterable[Any]) -> int | None:
    """Return what *headers* declare as Content-Length; None if they do not.

    Raises:
        ResponseError: one of them is no header, or no number.
    """
    fields = header_fields(headers)
    declared = [value for name, value in fields if name.lower() == b"content-length"]
    return _declared_length(None, declared[0]) if declared else None


def _declared_length(before: int | None, value: bytes) -> int:
    if before is not None or not value.isdigit():
        raise ResponseError(f"Content-Length {value!r} is repeated or no number")
    return int(value)


def error_response(
    status: int,
    defaults: DefaultHeaders,
    *,
    reason: str = "",
    keep_alive: bool = False,
    is_head: bool = False,
    extra: bytes = b"",
) -> bytes:
    """Render the server's own answer to what no application will answer.

    *extra* holds further header lines, each with its CRLF.
    """
    line = STATUS_LINES[status]
    phrase = line[len("HTTP/1.1 ") : -2]
    body = phrase + (b": " + reason.encode("ascii", "replace") if reason else b"") + b"\n"
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return b"".join(
        (
            line,
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(body),
            connection,
            extra,
            defaults.lines(),
            b"\r\n",
            b"" if is_head else body,
        )
    )

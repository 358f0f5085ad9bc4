"""Bytes in, one request at a time out: httptools callbacks become a head and pieces of body.

The parser never reads past the end of one message: what follows stays bytes until the answer to
the first request is on its way.  So pipelined requests cost no memory but their bytes, and
garbage behind a good request cannot spoil that request's answer.

It works because a head and a chunked body both end in CRLF CRLF, and in no other way: llhttp is fed
up to the next such mark and no further.  A body with a Content-Length is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httptools

from asgibridge.http.lifecycle import READING_MOVES, ReadEvent, Reading, move
from asgibridge.http.request import BadRequest, RequestHead

__all__ = ["BadRequest", "ParserLimits", "RequestHead", "RequestParser"]

_END_MARK: Final = b"\r\n\r\n"
_METHODS: Final = {
    method.encode(): method
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserLimits:
    """The bounds of what a client may send.

    Attributes:
        max_head_size: bytes of request line and headers with all line ends (431, or 414 while
            still in the request line).
        max_headers: number of header lines (431).
        max_target_size: bytes of the request target (414).
        max_body_size: bytes of body (413), or None for no bound.
    """

    max_head_size: int = 65536
    max_headers: int = 100
    max_target_size: int = 16384
    max_body_size: int | None = None


# Header names as sent -> lower case, so that common names cost one look-up.  Bounded: clients
# choose the keys.  Two loops filling it at once can only write the same value twice.
_lower_names: dict[bytes, bytes] = {}
_MAX_LOWER_NAMES: Final = 1024
_MAX_NAME_KEPT: Final = 64


def _lower_name(name: bytes) -> bytes:
    lower = name.lower()
    if len(_lower_names) < _MAX_LOWER_NAMES and len(name) <= _MAX_NAME_KEPT:
        _lower_names[name] = lower
    return lower


class RequestParser:
    """Reads one request after another.  Pure: knows no socket, clock or loop.

    Between two requests it keeps nothing, so a parser may go on to serve another connection,
    unless `is_spent`.
    """

    __slots__ = (
        "_fed",
        "_headers",
        "_is_body_left_out",
        "_limits",
        "_machine",
        "_pieces",
        "_remaining",
        "_tail",
        "_target",
        "body_bytes",
        "head",
        "reading",
    )

    def __init__(self, limits: ParserLimits) -> None:
        """Prepare to read a first request within *limits*."""
        self._limits = limits
        self._machine = httptools.HttpRequestParser(self)
        self.reading = Reading.AWAITING_HEAD
        self.head: RequestHead | None = None
        self.body_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._target = b""
        self._tail = b""  # the last bytes fed, in which an end mark may have begun
        self._fed = 0  # bytes of head fed so far
        self._remaining = 0  # bytes of a counted body to come
        self._is_body_left_out = False  # llhttp's way with an offered upgrade

    @property
    def is_complete(self) -> bool:
        """Whether the whole request has been read."""
        return self.reading is Reading.READ

    @property
    def is_pristine(self) -> bool:
        """Whether nothing of the next request has come yet."""
        return self.reading is Reading.AWAITING_HEAD and not self._target and not self._fed

    def take_body(self) -> list[bytes]:
        """Hand over the pieces of body read since the last call."""
        pieces = self._pieces
        if pieces:
            self._pieces = []
        return pieces

    def start_next(self) -> None:
        """Forget the request just read and get ready for the next one.

        Raises:
            IllegalMove: the current request has not been read to its end.
        """
        self.reading = move(READING_MOVES, self.reading, ReadEvent.NEXT_REQUEST)
        if not self.head or not self.head.keep_alive or b"upgrade" in self.head.fields:
            # llhttp takes no data after a message that ends its connection.
            self._machine = httptools.HttpRequestParser(self)
        self.head = None
        self.body_bytes = 0
        self._headers = []
        self._pieces = []
        self._target = b""
        self._tail = b""
        self._fed = 0

    def close(self) -> None:
        """Break the cycle of references with httptools, so that no garbage collection is due."""
        del self._machine

    def feed(self, data: bytes) -> bytes:
        """Read *data* up to the end of the current request at most.

        Returns:
            The bytes behind the end of the request; empty while it is not complete.

        Raises:
            BadRequest: the client broke the protocol or a limit.  The parser is of no use then.
        """
        if self.reading is Reading.AWAITING_HEAD and not self._fed:
            # Nearly always a whole request arrives in one piece.
            size = len(data)
            if size <= self._limits.max_head_size and data.find(_END_MARK) == size - 4:
                self._fed = size
                self._feed_machine(data)
                if self.reading is not Reading.AWAITING_HEAD:
                    return b""
                self._tail = data[-3:]
                self._check_open_head()
                return b""
        return self._feed_in_steps(data)

    def _feed_in_steps(self, data: bytes) -> bytes:
        view = memoryview(data)
        start, size = 0, len(data)
        while start < size and self.reading is not Reading.READ:
            if self.reading is Reading.AWAITING_HEAD:
                stop = self._next_mark(data, start)
                room = self._limits.max_head_size - self._fed
                stop = min(stop, start + room)
                if stop == start:
                    raise self._head_too_large()
                self._fed += stop - start
                self._feed_machine(view[start:stop])
                if self.reading is Reading.AWAITING_HEAD:
                    self._check_open_head()
            elif self._remaining:
                stop = min(size, start + self._remaining)
                self._remaining -= stop - start
                self._feed_machine(view[start:stop])
            else:
                stop = self._next_mark(data, start)
                self._feed_machine(view[start:stop])
            self._tail = (self._tail + data[max(start, stop - 3) : stop])[-3:]
            start = stop
        return data[start:]

    def _next_mark(self, data: bytes, start: int) -> int:
        """Return where the next CRLF CRLF ends; it may have begun in what was fed before."""
        if self._tail:
            straddling = (self._tail + data[start : start + 3]).find(_END_MARK)
            if straddling >= 0:
                end = straddling + 4 - len(self._tail)
                if end > 0:
                    return start + end
        found = data.find(_END_MARK, start)
        return len(data) if found < 0 else found + 4

    def _feed_machine(self, data: bytes | memoryview) -> None:
        try:
            self._machine.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._decline_upgrade()
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, BadRequest):
                raise error.__context__ from None
            raise
        except httptools.HttpParserInvalidURLError as error:
            raise BadRequest(400, "the request target is ill-formed") from error
        except httptools.HttpParserError as error:
            status = 505 if "version" in str(error).lower() else 400
            raise BadRequest(status, str(error)) from error

    def _decline_upgrade(self) -> None:
        """Go on reading HTTP after a request that offered another protocol (RFC 9110 §7.8).

        llhttp stops there and leaves out the body.  Some clients (Java's, curl's with --http2)
        offer an upgrade on a POST, so a body is read by a fresh machine, told of its framing.
        """
        if not self._is_body_left_out or self.head is None:
            return
        self._is_body_left_out = False
        length = self.head.content_length
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._machine = httptools.HttpRequestParser(_BodyReader(self))
        self._machine.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + _END_MARK)

    def _check_open_head(self) -> None:
        """Apply the limits to a head that is still arriving."""
        limits = self._limits
        if len(self._target) > limits.max_target_size:
            raise BadRequest(414, f"the target is longer than {limits.max_target_size} bytes")
        if len(self._headers) > limits.max_headers:
            raise BadRequest(431, f"more than {limits.max_headers} headers")
        if self._fed >= limits.max_head_size:
            raise self._head_too_large()

    def _head_too_large(self) -> BadRequest:
        size = self._limits.max_head_size
        status = 431 if self._headers or not self._target else 414
        return BadRequest(status, f"the request head is larger than {size} bytes")

    # --- what llhttp calls; `on_` methods are called while `feed` runs

    def on_url(self, url: bytes) -> None:
        """Take the target, or the next part of it."""
        if self.head is not None:
            # Cannot happen while messages end in CRLF CRLF; if it does, trust nothing more.
            raise BadRequest(400, "a request began before the end of another")
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line (or a trailer, which nobody asked for and which is dropped)."""
        if self.head is None:
            self._headers.append((_lower_names.get(name) or _lower_name(name), value))

    def on_headers_complete(self) -> None:
        """Make the head, or refuse it."""
        limits = self._limits
        headers = self._headers
        if len(self._target) > limits.max_target_size:
            raise BadRequest(414, f"the target is longer than {limits.max_target_size} bytes")
        if len(headers) > limits.max_headers:
            raise BadRequest(431, f"more than {limits.max_headers} headers")
        for index, (name, value) in enumerate(headers):
            # RFC 9110 §5.5: blanks around a value are not part of it; llhttp keeps trailing ones.
            if value[-1:] in (b" ", b"\t"):
                headers[index] = (name, value.rstrip(b" \t"))
        machine = self._machine
        method = machine.get_method()
        version = machine.get_http_version()
        if version not in ("1.1", "1.0"):
            raise BadRequest(505, f"HTTP/{version} is not spoken here")
        self.head = head = RequestHead(
            _METHODS.get(method) or method.decode("ascii"),
            self._target,
            version,
            headers,
            dict(headers),
            machine.should_keep_alive(),
        )
        length = head.content_length
        if length:
            limit = limits.max_body_size
            if limit is not None and length > limit:
                raise BadRequest(413, f"the body is larger than {limit} bytes")
            self._remaining = length
        if length == 0:
            return  # the end of the message follows at once
        self.reading = move(READING_MOVES, self.reading, ReadEvent.HEAD_WITH_BODY)
        self._is_body_left_out = machine.should_upgrade()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of body."""
        self.body_bytes += len(piece)
        limit = self._limits.max_body_size
        if limit is not None and self.body_bytes > limit:
            raise BadRequest(413, f"the body is larger than {limit} bytes")
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        if self._is_body_left_out:
            return
        event = (
            ReadEvent.BODY_ENDED
            if self.reading is Reading.IN_BODY
            else ReadEvent.HEAD_WITHOUT_BODY
        )
        self.reading = move(READING_MOVES, self.reading, event)


class _BodyReader:
    """What httptools calls while it reads a body under a head that we wrote ourselves."""

    def __init__(self, parser: RequestParser) -> None:
        self.on_body = parser.on_body
        self.on_message_complete = parser.on_message_complete

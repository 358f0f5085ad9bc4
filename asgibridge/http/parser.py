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

from asgibridge.http.lifecycle import READING_MOVES, ReadEvent, Reading
from asgibridge.http.request import BadRequest, RequestHead

__all__ = ["BadRequest", "ParserLimits", "RequestHead", "RequestParser"]

_END_MARK: Final = b"\r\n\r\n"
_CR: Final = ord("\r")
# Empty lines accepted before a request line.  Old browsers sent one after a POST.
_MAX_BLANK_LINES: Final = 8
# Bytes of chunk framing for each byte of data: a chunk of one byte needs five, a cautious client
# with an extension some more.
_MAX_OVERHEAD: Final = 16
_AWAITING_HEAD: Final = Reading.AWAITING_HEAD
_IN_BODY: Final = Reading.IN_BODY
_READ: Final = Reading.READ
_HEAD_WITH_BODY: Final = ReadEvent.HEAD_WITH_BODY
_HEAD_WITHOUT_BODY: Final = ReadEvent.HEAD_WITHOUT_BODY
_BODY_ENDED: Final = ReadEvent.BODY_ENDED
_NEXT_REQUEST: Final = ReadEvent.NEXT_REQUEST
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
        max_header_size: bytes of one header line with its line end (431), or None for no bound but
            that of the head.
    """

    max_head_size: int = 65536
    max_headers: int = 100
    max_target_size: int = 16384
    max_body_size: int | None = None
    max_header_size: int | None = None


# Header lines that clients send again and again -> (lower-case name, value), so that such a line
# costs one look-up.  Only names whose values are common to many requests and no secrets; bounded,
# since clients choose the values, and begun anew when full.  Two loops that fill it at once write
# the same values.
_fields: dict[bytes, tuple[bytes, bytes]] = {}
_MAX_FIELDS: Final = 1024
_MAX_LINE_KEPT: Final = 256
_KEPT_NAMES: Final = frozenset(
    b"accept accept-charset accept-encoding accept-language cache-control connection content-type "
    b"dnt host origin pragma priority sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest "
    b"sec-fetch-mode sec-fetch-site sec-fetch-user te upgrade-insecure-requests user-agent "
    b"x-forwarded-host x-forwarded-port x-forwarded-proto".split()
)


def _split_line(line: bytes) -> tuple[bytes, bytes]:
    """Split a header line that llhttp has found to be well-formed."""
    name, _, value = line.partition(b":")
    # RFC 9110 §5.5: blanks around a value are not part of it.
    field = name.lower(), value.strip(b" \t")
    if len(line) <= _MAX_LINE_KEPT and field[0] in _KEPT_NAMES:
        if len(_fields) >= _MAX_FIELDS:
            _fields.clear()
        _fields[line] = field
    return field


class RequestParser:
    """Reads one request after another.  Pure: knows no socket, clock or loop.

    Between two requests it keeps nothing, so it may go on to serve another connection.

    llhttp decides whether a head is well-formed; then its lines are split here, from the bytes as
    they came.  That is faster than to be called for each of them, and it shows what llhttp does
    not tell: how the request line was really written.

    Attributes:
        reading: how much of the current request has been read.
        head: its head, once that is complete.
        body_bytes: how much of its body has been read.
    """

    __slots__ = (
        "_blank_lines",
        "_cr",
        "_is_apart",
        "_is_spent",
        "_limits",
        "_line_ends",
        "_machine",
        "_max_head_size",
        "_max_plain_size",
        "_overhead",
        "_pieces",
        "_raw",
        "_remaining",
        "_tail",
        "_trailers",
        "body_bytes",
        "head",
        "reading",
    )

    def __init__(self, limits: ParserLimits) -> None:
        """Prepare to read a first request within *limits*."""
        self._limits = limits
        self._max_head_size = limits.max_head_size
        # A head that is no larger than this has no header line that could be too long.
        self._max_plain_size = min(
            limits.max_head_size, limits.max_header_size or limits.max_head_size
        )
        self._machine = httptools.HttpRequestParser(self)
        self._is_spent = False  # whether the machine will take nothing after this message
        self._is_apart = False  # whether the machine reads a body under a head of our own
        self.reading = _AWAITING_HEAD
        self.head: RequestHead | None = None
        self.body_bytes = 0
        self._pieces: list[bytes] = []
        self._raw = b""  # the head as far as it has come
        self._line_ends = 0  # how many there are in it
        self._blank_lines = 0  # how many came before it
        self._cr = b""  # the first half of what may be another blank line
        self._tail = b""  # the last bytes fed, in which an end mark may have begun
        self._remaining = 0  # bytes of a counted body to come
        self._overhead = 0  # bytes of a chunked body that were no data
        self._trailers = (0, 0)  # their number and size

    @property
    def is_complete(self) -> bool:
        """Whether the whole request has been read."""
        return self.reading is _READ

    @property
    def is_pristine(self) -> bool:
        """Whether nothing of the next request has come yet."""
        return not self._raw

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
        self.reading = READING_MOVES[self.reading, _NEXT_REQUEST]
        self.head = None
        self._raw = b""
        if self._tail:
            self.body_bytes = self._overhead = self._line_ends = 0
            self._pieces = []
            self._tail = b""
            self._trailers = (0, 0)
        self._blank_lines = 0
        if self._is_spent:
            self._machine = httptools.HttpRequestParser(self)
            self._is_spent = self._is_apart = False

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
        try:
            size = len(data)
            if (
                self._raw
                or size > self._max_plain_size
                or data.find(_END_MARK) != size - 4
                or data[0] == _CR
                or self._cr
            ):
                return self._feed_in_steps(data)
            # Nearly always: a whole request without a body, in one piece.
            self._raw = data
            self._machine.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._decline_upgrade()
        except httptools.HttpParserError as error:
            raise _translate(error) from error
        if self.reading is not _READ:
            self._tail = data[-3:]
            self._settle_chunked()
        return b""

    def _feed_in_steps(self, data: bytes) -> bytes:
        start = 0
        if self.reading is _AWAITING_HEAD and not self._raw:
            data = self._cr + data
            start = self._skip_blank_lines(data)
        view = memoryview(data)
        size = len(data)
        while start < size and self.reading is not _READ:
            if self.reading is _AWAITING_HEAD:
                room = self._max_head_size - len(self._raw)
                stop = min(self._next_mark(data, start), start + room)
                piece = data[start:stop]
                self._raw += piece
                self._feed_machine(view[start:stop])
                if self.reading is _AWAITING_HEAD:
                    self._check_open_head(piece)
                elif len(self._raw) > self._max_plain_size:
                    self._check_header_lines()
                self._settle_chunked()
            elif self._remaining:
                stop = min(size, start + self._remaining)
                self._remaining -= stop - start
                self._feed_machine(view[start:stop])
            else:
                stop = self._next_mark(data, start)
                before = self.body_bytes
                self._feed_machine(view[start:stop])
                self._check_overhead(stop - start - (self.body_bytes - before))
            self._tail = (self._tail + data[max(start, stop - 3) : stop])[-3:]
            start = stop
        return data[start:]

    def _skip_blank_lines(self, data: bytes) -> int:
        """Return where the request line begins; RFC 9112 §2.2 lets empty lines precede it."""
        start = 0
        while data.startswith(b"\r\n", start):
            start += 2
            self._blank_lines += 1
            if self._blank_lines > _MAX_BLANK_LINES:
                raise BadRequest(400, "too many empty lines before a request")
        self._cr = b""
        if data[start:] == b"\r":
            self._cr = b"\r"
            return len(data)
        return start

    def _check_overhead(self, size: int) -> None:
        """Bound chunk sizes, extensions and trailers, of which *size* more bytes have come.

        A trailer or extension of more than `max_head_size` is refused when it ends; this is for
        those that do not end, and for many of them around little data.
        """
        self._overhead += size
        if self._overhead > 2 * self._max_head_size + _MAX_OVERHEAD * self.body_bytes:
            raise BadRequest(431, "chunk extensions or trailers are too large")

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

    def _settle_chunked(self) -> None:
        """Have a chunked body, whose head has just been read, read apart."""
        if self.reading is _IN_BODY and not self._remaining and not self._is_apart:
            self._read_body_apart()

    def _decline_upgrade(self) -> None:
        """Go on reading HTTP after a request that offered another protocol (RFC 9110 §7.8).

        llhttp stops there and leaves out the body, if there is one.
        """
        if self.reading is _IN_BODY and not self._is_apart:
            self._read_body_apart()

    def _read_body_apart(self) -> None:
        """Let a machine of its own read the body, under a head that tells its framing only.

        For chunked bodies, whose trailers must be counted, and for those that llhttp leaves out
        since their requests offer an upgrade (Java's client does, and curl's with --http2).
        """
        assert self.head is not None  # noqa: S101 - a body has a head
        length = self.head.content_length
        framing = (
            b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        )
        self._machine = httptools.HttpRequestParser(_BodyReader(self))
        self._machine.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + _END_MARK)
        self._is_spent = self._is_apart = True

    def _check_open_head(self, piece: bytes) -> None:
        """Apply the limits to a head that is still arriving, last with *piece*.

        It may arrive byte by byte, so whatever is done here is done as often.
        """
        raw = self._raw
        self._line_ends += piece.count(b"\n")
        target_size = 0
        if not self._line_ends:
            first = raw.find(b" ")
            last = raw.find(b" ", first + 1) if first >= 0 else -1
            target_size = (last if last >= 0 else len(raw)) - first - 1 if first >= 0 else 0
        self._check_counts(target_size, self._line_ends - 1)
        if len(raw) >= self._max_head_size:
            status = 431 if self._line_ends else 414
            raise BadRequest(status, f"the request head is larger than {self._max_head_size} bytes")

    def _check_counts(self, target_size: int, headers: int) -> None:
        limits = self._limits
        if target_size > limits.max_target_size:
            raise BadRequest(414, f"the target is longer than {limits.max_target_size} bytes")
        if headers > limits.max_headers:
            raise BadRequest(431, f"more than {limits.max_headers} headers")

    def _check_header_lines(self) -> None:
        limit = self._limits.max_header_size
        lines = self._raw.split(b"\r\n")[1:]
        if limit is not None and max(map(len, lines)) + 2 > limit:
            raise BadRequest(431, f"a header is larger than {limit} bytes")

    # --- what llhttp calls, while `feed` runs

    def on_headers_complete(self) -> None:
        """Make the head, or refuse it."""
        if self.head is not None:
            # Cannot happen while messages end in CRLF CRLF; if it does, trust nothing more.
            raise BadRequest(400, "a request began before the end of another")
        lines = self._raw[:-4].split(b"\r\n")
        line = lines[0].split(b" ")
        if len(line) != 3:  # noqa: PLR2004 - method, target, version
            raise BadRequest(400, "the request line is ill-formed")
        method, target, version = line
        limits = self._limits
        if len(target) > limits.max_target_size or len(lines) > limits.max_headers + 1:
            self._check_counts(len(target), len(lines) - 1)
        del lines[0]
        known = _fields
        headers = []  # a loop: on 3.11 a comprehension is a function call
        for each in lines:
            headers.append(known.get(each) or _split_line(each))  # noqa: PERF401
        self.head = head = RequestHead(
            _METHODS.get(method) or self._check_method(method),
            target,
            "1.1" if version == b"HTTP/1.1" else _check_version(version),
            headers,
        )
        self._is_spent = not head.keep_alive
        if head.content_length != 0:
            self._expect_body(head.content_length)
        elif b"upgrade" in head.fields:
            self._is_spent = True

    def _check_method(self, method: bytes) -> str:
        """Return an uncommon *method*, unless CR or LF stand in front, which llhttp lets pass."""
        if method != self._machine.get_method():
            raise BadRequest(400, "the request line is ill-formed")
        return method.decode("ascii")

    def _expect_body(self, length: int | None) -> None:
        limit = self._limits.max_body_size
        if length is not None:
            if limit is not None and length > limit:
                raise BadRequest(413, f"the body is larger than {limit} bytes")
            self._remaining = length
        self.reading = READING_MOVES[self.reading, _HEAD_WITH_BODY]

    def on_body(self, piece: bytes) -> None:
        """Take a piece of body."""
        self.body_bytes += len(piece)
        limit = self._limits.max_body_size
        if limit is not None and self.body_bytes > limit:
            raise BadRequest(413, f"the body is larger than {limit} bytes")
        self._pieces.append(piece)

    def on_trailer(self, name: bytes, value: bytes) -> None:
        """Drop a trailer, which nobody asked for, but hold it to the limits."""
        number, size = self._trailers
        number += 1
        size += len(name) + len(value) + 4
        self._trailers = (number, size)
        if number > self._limits.max_headers or size > self._max_head_size:
            raise BadRequest(431, "too many or too large trailers")

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        if self.reading is _AWAITING_HEAD:
            self.reading = READING_MOVES[_AWAITING_HEAD, _HEAD_WITHOUT_BODY]
        elif self._is_apart or not self._machine.should_upgrade():
            self.reading = READING_MOVES[self.reading, _BODY_ENDED]


class _BodyReader:
    """What httptools calls while it reads a body under a head that we wrote ourselves."""

    def __init__(self, parser: RequestParser) -> None:
        self.on_body = parser.on_body
        self.on_message_complete = parser.on_message_complete
        self._parser = parser
        self._is_head_over = False

    def on_headers_complete(self) -> None:
        self._is_head_over = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head_over:
            self._parser.on_trailer(name, value)


def _check_version(version: bytes) -> str:
    """Return the *version* of a request line that is not of HTTP/1.1.

    Raises:
        BadRequest: it is of another version, or of another protocol, which llhttp lets pass.
    """
    if version == b"HTTP/1.0":
        return "1.0"
    name, _, number = version.partition(b"/")
    if name != b"HTTP":
        raise BadRequest(400, "the request is not of HTTP")
    raise BadRequest(505, f"HTTP/{number.decode('latin-1')} is not spoken here")


def _translate(error: httptools.HttpParserError) -> BadRequest:
    """Say what a complaint of llhttp means for the client."""
    if isinstance(error, httptools.HttpParserCallbackError):
        if isinstance(error.__context__, BadRequest):
            return error.__context__
        raise error
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return BadRequest(400, "the request target is ill-formed")
    text = str(error)
    if text == "Invalid HTTP version" or "PRI" in text:
        return BadRequest(505, text)
    return BadRequest(400, text)

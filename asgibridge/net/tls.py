"""TLS between a socket's transport and a connection: protocol to one, transport to the other.

Not asyncio's own TLS, nor uvloop's, because a server needs more than they tell and do: what a
client has yet to read is known to the byte, so that slow readers are told from stuck ones; a
handshake can be given up at any moment; each side may end its half and still be heard or answered;
and a connection is lost in the very callback that closes its socket, which the gate's counts hang
on [GATE-1].  Both loops behave alike.  The cryptography is OpenSSL's, over memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from asgibridge.http.lifecycle import Moves
from asgibridge.net.tls_facts import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.net.certificates import TlsTerms
    from asgibridge.net.link import Link

__all__ = ["TLS_MOVES", "TlsEvent", "TlsStage", "TlsTransport"]

logger = logging.getLogger("asgibridge")

# Bytes decrypted by one call: the largest record (RFC 8446 §5.1).
_RECORD: Final = 16384
# Bytes encrypted at once.  More waits as it is until the client has read some: a large response is
# not in memory twice, and the loop is not held up by its encryption.
_STEP: Final = 262144

# For those who speak plain HTTP to a TLS port: they would wonder about silence.
_SPEAK_TLS: Final = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks https.\n"
)


class TlsStage(enum.Enum):
    """How far the two sides have come."""

    HANDSHAKING = "handshaking"
    OPEN = "open"
    ENDING = "ending our half"
    ENDED = "our half ended"
    CLOSING = "closing"
    CLOSED = "closed"

    __hash__ = object.__hash__


class TlsEvent(enum.Enum):
    """What happens to `TlsStage`."""

    SECURED = "handshake done"
    END_ASKED = "end of our half asked"
    CLOSE_ASKED = "close asked"
    ALL_SENT = "all sent"
    LOST = "socket lost"

    __hash__ = object.__hash__


TLS_MOVES: Final[Moves[TlsStage, TlsEvent]] = Moves(
    {
        (TlsStage.HANDSHAKING, TlsEvent.SECURED): TlsStage.OPEN,
        (TlsStage.HANDSHAKING, TlsEvent.CLOSE_ASKED): TlsStage.CLOSED,
        (TlsStage.HANDSHAKING, TlsEvent.LOST): TlsStage.CLOSED,
        (TlsStage.OPEN, TlsEvent.END_ASKED): TlsStage.ENDING,
        (TlsStage.OPEN, TlsEvent.CLOSE_ASKED): TlsStage.CLOSING,
        (TlsStage.OPEN, TlsEvent.LOST): TlsStage.CLOSED,
        (TlsStage.ENDING, TlsEvent.ALL_SENT): TlsStage.ENDED,
        (TlsStage.ENDING, TlsEvent.CLOSE_ASKED): TlsStage.CLOSING,
        (TlsStage.ENDING, TlsEvent.LOST): TlsStage.CLOSED,
        (TlsStage.ENDED, TlsEvent.CLOSE_ASKED): TlsStage.CLOSING,
        (TlsStage.ENDED, TlsEvent.LOST): TlsStage.CLOSED,
        (TlsStage.CLOSING, TlsEvent.ALL_SENT): TlsStage.CLOSED,
        (TlsStage.CLOSING, TlsEvent.LOST): TlsStage.CLOSED,
        (TlsStage.CLOSED, TlsEvent.LOST): TlsStage.CLOSED,
    }
)

_OPEN: Final = TlsStage.OPEN
_HANDSHAKING: Final = TlsStage.HANDSHAKING
_ENDED: Final = TlsStage.ENDED
_READS: Final = frozenset({TlsStage.OPEN, TlsStage.ENDING})
_GONE: Final = frozenset({TlsStage.CLOSING, TlsStage.CLOSED})


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One client's TLS.  Loop thread only.

    The *link* hears of the handshake when it begins and when it is done, and from then on, or
    whoever it has set in its place, what a protocol hears of any transport.

    Attributes:
        stage: how far the two sides have come.
    """

    def __init__(self, link: Link, terms: TlsTerms) -> None:
        """Serve *link* on *terms*."""
        super().__init__()
        self.stage = TlsStage.HANDSHAKING
        self._link = link
        self._protocol: asyncio.Protocol = link
        self._terms = terms
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = terms.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._backlog: deque[memoryview] = deque()  # to be encrypted
        self._backlog_size = 0
        self._is_raw_full = self._has_client_ended = False
        self._raw_or_none: asyncio.Transport | None = None

    # --- what the socket's transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to begin."""
        self._raw_or_none = cast("asyncio.Transport", transport)
        self._link.handshake_begun(self)

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake, or decrypt."""
        if self.stage is _ENDED:
            # OpenSSL is done with it.  Nobody reads it either: see `write_eof`.
            self._protocol.data_received(data)
            return
        if self.stage in _GONE:
            return
        self._incoming.write(data)
        if self.stage is _HANDSHAKING and not self._shake_hands():
            return
        self._decrypt()

    def eof_received(self) -> bool:
        """The client's socket says no more: after a proper end of TLS, or without one.

        Without one something may be missing; HTTP's own framing tells where that matters.
        """
        if self.stage is _HANDSHAKING:
            self._fail("the client left")
        elif self.stage is _ENDED:
            self._protocol.eof_received()
        elif self.stage in _READS:
            self._on_client_end()
        return self.stage is not TlsStage.CLOSED

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._is_raw_full = True
        if self.stage is not _HANDSHAKING:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client has read most of it.

        Acted upon a moment later: asyncio's own transport, when closed in the midst of this call,
        closes twice.
        """
        self._link.loop.call_soon(self._use_room)

    def _use_room(self) -> None:
        if self.stage is TlsStage.CLOSED:
            return
        self._is_raw_full = False
        self._send_backlog()
        if not self._is_raw_full and self.stage is not _HANDSHAKING:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket closes right after this call."""
        self._move(TlsEvent.LOST)
        self._drop_backlog()
        self._protocol.connection_lost(exc)

    # --- what the connection calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send *data*, now or when the client has read what is before it.

        Raises:
            RuntimeError: the handshake is not done, or our half has ended.
        """
        if self.stage is not _OPEN:
            raise RuntimeError(f"write() to a TLS transport that is {self.stage.value}")
        if not data:
            return
        if self._is_raw_full or len(data) > _STEP:
            self._backlog.append(memoryview(data).cast("B"))
            self._backlog_size += len(data)
            self._send_backlog()
        else:
            self._encrypt(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send all of them; small ones in one record."""
        buffers = list(list_of_data)
        if sum(map(len, buffers)) <= _STEP:
            self.write(b"".join(buffers))
        else:
            for data in buffers:
                self.write(data)

    def write_eof(self) -> None:
        """End our half when all is sent, and hear the client still.

        What it sends after that is handed on as it comes, encrypted: it is for throwing away.
        """
        self._move(TlsEvent.END_ASKED)
        self._finish_if_all_sent()

    def can_write_eof(self) -> bool:
        """Say yes."""
        return True

    def close(self) -> None:
        """Close when all is sent."""
        if self.stage is _HANDSHAKING:
            self._move(TlsEvent.CLOSE_ASKED)
            self._raw.close()
        elif self.stage not in _GONE:
            self._move(TlsEvent.CLOSE_ASKED)
            if self._raw.is_reading():
                self._raw.pause_reading()
            self._finish_if_all_sent()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._drop_backlog()
        self._raw.abort()

    def is_closing(self) -> bool:
        """Say whether nothing more can be sent."""
        return self.stage in _GONE or self._raw.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let *protocol* hear what comes."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def is_reading(self) -> bool:
        """Say whether the socket is read."""
        return self._raw.is_reading()

    def pause_reading(self) -> None:
        """Leave further bytes in the kernel."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Count the bytes that the client has yet to take."""
        return self._raw.get_write_buffer_size() + self._backlog_size

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio's
        """Tell what asyncio's transports tell; `ssl_object` is ours."""
        if name == "ssl_object":
            return self._ssl
        return self._raw.get_extra_info(name, default)

    # --- the handshake

    def _shake_hands(self) -> bool:
        """Take the next step; return whether it was the last."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._put(_SPEAK_TLS)
            self._flush()  # the alert that tells the client why
            self._fail(error.reason or str(error))
            return False
        self._flush()
        self._move(TlsEvent.SECURED)
        self._link.handshake_done(self, TlsFacts(self._terms, self._ssl))
        return not self.is_closing()

    def _fail(self, reason: str) -> None:
        why = reason.replace("_", " ").lower()
        logger.debug("handshake failed client=%s reason=%s", self._link.client, why)
        self.close()

    # --- bytes

    @property
    def _raw(self) -> asyncio.Transport:
        assert self._raw_or_none is not None  # noqa: S101 - nothing happens before connection_made
        return self._raw_or_none

    def _put(self, data: bytes) -> None:
        if not self._raw.is_closing():  # uvloop raises then
            self._raw.write(data)

    def _flush(self) -> None:
        """Send what OpenSSL has to say: handshakes, tickets, keys, alerts."""
        if self._outgoing.pending:
            self._put(self._outgoing.read())

    def _decrypt(self) -> None:
        """Hand on what can be read."""
        pieces: list[bytes] = []
        has_ended = False
        try:
            while True:
                piece = self._ssl.read(_RECORD)
                if not piece:
                    has_ended = True
                    break
                pieces.append(piece)
                if not self._incoming.pending and not self._ssl.pending():
                    break  # cheaper than to be told so by an exception
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            logger.debug("broken TLS client=%s reason=%s", self._link.client, error.reason or error)
            self._flush()
            self.abort()
            return
        self._flush()
        if pieces:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if has_ended:
            self._on_client_end()

    def _on_client_end(self) -> None:
        """The client has ended its half; it may do so twice, in TLS and below."""
        if not self._has_client_ended and not self.is_closing():
            self._has_client_ended = True
            if not self._protocol.eof_received():
                self.close()

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        try:
            sent = self._ssl.write(data)
            while sent < len(data):
                sent += self._ssl.write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            logger.debug("broken TLS client=%s reason=%s", self._link.client, error.reason or error)
            self.abort()
            return
        self._put(self._outgoing.read())

    def _send_backlog(self) -> None:
        """Encrypt what waits, as far as the client reads."""
        while self._backlog and not self._is_raw_full and not self._raw.is_closing():
            data = self._backlog.popleft()
            self._backlog_size -= len(data)
            if len(data) > _STEP:
                self._backlog.appendleft(data[_STEP:])
                self._backlog_size += len(data) - _STEP
            self._encrypt(data[:_STEP])
        self._finish_if_all_sent()

    def _drop_backlog(self) -> None:
        self._backlog.clear()
        self._backlog_size = 0

    # --- the end

    def _finish_if_all_sent(self) -> None:
        """End our half, or close, behind the last byte."""
        if self._backlog:
            return
        if self.stage is TlsStage.ENDING:
            self._say_goodbye()
            self._move(TlsEvent.ALL_SENT)
            try:
                self._raw.write_eof()
            except OSError:  # asyncio's own shutdown(2): the client has reset the connection
                self._raw.abort()
        elif self.stage is TlsStage.CLOSING:
            self._say_goodbye()
            self._move(TlsEvent.ALL_SENT)
            # Without waiting for the client's own goodbye, as RFC 8446 §6.1 allows: it would hold
            # room that others wait for.
            self._raw.close()

    def _say_goodbye(self) -> None:
        """Send close_notify, so that the client knows that nothing is missing (RFC 8446 §6.1)."""
        # It wants to read the client's own at once, or has seen something else come instead.
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._ssl.unwrap()
        self._flush()

    def _move(self, event: TlsEvent) -> None:
        self.stage = TLS_MOVES[self.stage, event]

    def __repr__(self) -> str:
        return f"<TlsTransport {self.stage.value} {self._link!r}>"

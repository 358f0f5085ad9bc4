"""A client of exact bytes over a real socket, with a strict reader of responses.

It owns the socket itself, not a stream, so that a test decides when the kernel sees bytes, a
half-close, a reset, and how much of an answer is taken.  Every wait is bounded.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["BrokenResponse", "ConnectionEnded", "RawClient", "RawResponse"]

# Seconds.  Only ever waited for by a test that is going to fail.
DEFAULT_PATIENCE: Final = 20.0
# Bytes read at once.
_CHUNK: Final = 65536
# RFC 9110 §6.4.1: no content whatever the headers say.
_BODILESS: Final = frozenset({204, 304})
_SWITCHING_PROTOCOLS: Final = 101


class BrokenResponse(Exception):  # noqa: N818 - named after what came
    """The server's bytes are no HTTP/1.1 response."""


class ConnectionEnded(Exception):  # noqa: N818 - named after what happened
    """The server closed before the response was complete; `received` is what did come of it."""

    def __init__(self, received: bytes) -> None:
        """Keep what was *received* and belongs to no complete response."""
        super().__init__(f"the server closed after {len(received)} bytes: {received[:200]!r}")
        self.received = received


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """One response.  Header names are in lower case; all text is latin-1."""

    version: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()
    informational: tuple[RawResponse, ...] = ()

    def values(self, name: str) -> list[str]:
        """Return the values of all headers *name*, in order."""
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        """Return the value of the header *name*, joined by commas if repeated, or None."""
        return ", ".join(self.values(name)) if self.values(name) else None


class RawClient:
    """One connection to a server, in the hands of a test.

    All waits end after `patience` seconds with `TimeoutError`.
    """

    def __init__(self, sock: socket.socket, *, patience: float = DEFAULT_PATIENCE) -> None:
        """Take over the connected, non-blocking *sock*."""
        self.socket = sock
        self.patience = patience
        self._unread = bytearray()
        self._is_ended = False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, *, patience: float = DEFAULT_PATIENCE, receive_buffer: int | None = None
    ) -> AsyncIterator[RawClient]:
        """Connect to *url* ("http://host:port" or "unix:/path") and close at the end of the block.

        Args:
            url: where to, as `asgibridge.Server.urls` gives it.
            patience: seconds that each later wait may take, and the connecting.
            receive_buffer: SO_RCVBUF, in bytes; small ones make a slow reader.

        Raises:
            OSError: nobody listens there.
            TimeoutError: the connection was not made in time.
        """
        client = await cls.dial(url, patience=patience, receive_buffer=receive_buffer)
        try:
            yield client
        finally:
            client.close()

    @classmethod
    async def dial(
        cls, url: str, *, patience: float = DEFAULT_PATIENCE, receive_buffer: int | None = None
    ) -> RawClient:
        """Connect like `connect`, but leave it to the caller to close.

        Raises:
            OSError: nobody listens there.
            TimeoutError: the connection was not made in time.
        """
        family, address = _place(url)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)  # noqa: FBT003 - the socket module's way
            if receive_buffer is not None:
                # Before connecting: later the window has already been offered.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            async with asyncio.timeout(patience):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return cls(sock, patience=patience)

    async def write(self, data: bytes) -> None:
        """Hand *data* to the kernel, all of it.

        Raises:
            OSError: the server has closed or reset the connection.
            TimeoutError: the server does not read.
        """
        async with asyncio.timeout(self.patience):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def request(self, data: bytes, *, method: str = "GET") -> RawResponse:
        """Write the request *data* and read its response.

        Raises:
            BrokenResponse, ConnectionEnded, OSError, TimeoutError: as `write`, `read_response`.
        """
        await self.write(data)
        return await self.read_response(method=method)

    async def read_response(self, *, method: str = "GET") -> RawResponse:
        """Read one final response, with the informational ones before it.

        Args:
            method: of the request it answers: HEAD has no body.

        Raises:
            BrokenResponse: the bytes are no response.
            ConnectionEnded: the server closed before the end of it.
            OSError: the connection was reset.
            TimeoutError: nothing came for `patience` seconds.
        """
        informational = []
        while True:
            head = await self.read_head()
            if head.status >= 200 or head.status == _SWITCHING_PROTOCOLS:
                break
            informational.append(head)
        body, trailers = await self._read_body(head, method)
        return RawResponse(
            version=head.version,
            status=head.status,
            reason=head.reason,
            headers=head.headers,
            body=body,
            trailers=trailers,
            informational=tuple(informational),
        )

    async def read_head(self) -> RawResponse:
        """Read one response head, informational or final, and no further.

        Raises:
            BrokenResponse, ConnectionEnded, OSError, TimeoutError: as `read_response`.
        """
        line = await self._read_line()
        version, _, rest = line.partition(" ")
        status, space, reason = rest.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not space or len(status) != len("200"):
            raise BrokenResponse(f"no status line: {line!r}")
        if not (status.isascii() and status.isdigit()):
            raise BrokenResponse(f"no status: {line!r}")
        return RawResponse(
            version=version.removeprefix("HTTP/"),
            status=int(status),
            reason=reason,
            headers=await self._read_fields(),
        )

    async def read_exactly(self, size: int) -> bytes:
        """Read *size* bytes.

        Raises:
            ConnectionEnded, OSError, TimeoutError: as `read_response`.
        """
        while len(self._unread) < size:
            await self._receive_more()
        return self._take(size)

    async def read_some(self) -> bytes:
        """Read what is there or comes next; nothing at the end.

        Raises:
            OSError: the connection was reset.
            TimeoutError: nothing came for `patience` seconds.
        """
        if not self._unread and not self._is_ended:
            await self._receive()
        return self._take(len(self._unread))

    async def read_until_eof(self) -> bytes:
        """Read all that comes until the server closes.

        Raises:
            OSError: the connection was reset.
            TimeoutError: nothing came for `patience` seconds.
        """
        while not self._is_ended:
            await self._receive()
        return self._take(len(self._unread))

    def half_close(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close at once with a TCP RST, unread and unsent bytes thrown away."""
        # Linger on, for 0 seconds: socket(7).
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close; twice is fine."""
        self.socket.close()

    async def _read_body(
        self, head: RawResponse, method: str
    ) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        # RFC 9112 §6.3, in its order.
        if method == "HEAD" or head.status in _BODILESS or head.status == _SWITCHING_PROTOCOLS:
            return b"", ()
        codings, lengths = head.values("transfer-encoding"), head.values("content-length")
        if (codings and lengths) or len(lengths) > 1:
            raise BrokenResponse(f"framing is not clear: {head.headers}")
        if codings:
            if codings != ["chunked"]:
                raise BrokenResponse(f"unknown transfer coding: {codings}")
            return await self._read_chunks()
        if lengths:
            if not (lengths[0].isascii() and lengths[0].isdigit()):
                raise BrokenResponse(f"Content-Length is no number: {lengths[0]!r}")
            return await self.read_exactly(int(lengths[0])), ()
        return await self.read_until_eof(), ()

    async def _read_chunks(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        body = bytearray()
        while True:
            line = await self._read_line()
            if not line or line.strip("0123456789abcdefABCDEF"):
                raise BrokenResponse(f"no chunk size: {line!r}")
            size = int(line, 16)
            if size == 0:
                return bytes(body), await self._read_fields()
            body += await self.read_exactly(size)
            if await self.read_exactly(2) != b"\r\n":
                raise BrokenResponse(f"no CRLF after a chunk of {size} bytes")

    async def _read_fields(self) -> tuple[tuple[str, str], ...]:
        fields = []
        while line := await self._read_line():
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BrokenResponse(f"no header: {line!r}")
            fields.append((name.lower(), value.strip(" \t")))
        return tuple(fields)

    async def _read_line(self) -> str:
        while (end := self._unread.find(b"\n")) < 0:
            await self._receive_more()
        line = self._take(end + 1)
        if not line.endswith(b"\r\n") or line.count(b"\r") != 1:
            raise BrokenResponse(f"a line with bare CR or LF: {line!r}")
        return line[:-2].decode("latin-1")

    def _take(self, size: int) -> bytes:
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    async def _receive_more(self) -> None:
        if not self._is_ended:
            await self._receive()
        if self._is_ended:
            raise ConnectionEnded(bytes(self._unread))

    async def _receive(self) -> None:
        async with asyncio.timeout(self.patience):
            data = await asyncio.get_running_loop().sock_recv(self.socket, _CHUNK)
        self._unread += data
        self._is_ended = not data


def _place(url: str) -> tuple[socket.AddressFamily, tuple[str, int] | str]:
    if url.startswith("unix:"):
        return socket.AF_UNIX, url.removeprefix("unix:")
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url!r} names no host and port; use http://host:port or unix:/path")
    # Addresses only: a look-up by name would be a wait that nobody bounds.
    family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
    return family, (parts.hostname, parts.port)

"""A WebSocket client of exact bytes: a test decides about every bit of every frame.

Written from RFC 6455 alone, so that it shares no mistake with the server or the package it uses.
"""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from support.clients import ConnectionEnded, RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.clients import RawResponse

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "FrameClient",
    "close_payload",
    "frame",
    "handshake",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3
_MASK: Final = b"\x37\xfa\x21\x3d"


def handshake(path: str = "/", *lines: str, without: str = "") -> bytes:
    """Render a handshake with further header *lines*, and *without* the header of that name."""
    fields = [
        "Host: a",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
    ]
    kept = [field for field in fields if not without or not field.startswith(f"{without}:")]
    return "\r\n".join((f"GET {path} HTTP/1.1", *kept, *lines, "", "")).encode("latin-1")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    is_masked: bool = True,
    size: int | None = None,
) -> bytes:
    """Render a frame as a client sends it; *size* lies about the size of its *payload*."""
    told = len(payload) if size is None else size
    mask_bit = 0x80 if is_masked else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if told < 126:
        head = struct.pack("!BB", first, mask_bit | told)
    elif told < 65536:
        head = struct.pack("!BBH", first, mask_bit | 126, told)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, told)
    if not is_masked:
        return head + payload
    key = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    return head + _MASK + bytes(a ^ b for a, b in zip(payload, key, strict=True))


def close_payload(code: int, reason: str = "") -> bytes:
    """Render what a close frame says."""
    return struct.pack("!H", code) + reason.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int | None:
        """The code of a close frame; None if it says none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


class FrameClient:
    """An accepted WebSocket in the hands of a test.

    Attributes:
        raw: the connection under it.
        response: what the server answered to the handshake.
    """

    def __init__(self, raw: RawClient, response: RawResponse) -> None:
        """Speak frames over *raw* from now on."""
        self.raw = raw
        self.response = response

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, path: str = "/", *lines: str, receive_buffer: int | None = None
    ) -> AsyncIterator[FrameClient]:
        """Connect to *url*, shake hands, and close at the end of the block.

        Raises:
            AssertionError: the server did not accept.
        """
        async with RawClient.connect(url, receive_buffer=receive_buffer) as raw:
            response = await raw.request(handshake(path, *lines))
            assert response.status == 101, response
            assert response.header("sec-websocket-accept") == ACCEPT
            yield cls(raw, response)

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send one frame."""
        await self.raw.write(frame(opcode, payload, fin=fin))

    async def read(self) -> Frame:
        """Read one frame.

        Raises:
            ConnectionEnded: the server closed before the end of one.
            AssertionError: it is masked, or its length is not the shortest.
        """
        first, second = await self.raw.read_exactly(2)
        assert second < 0x80, "a server masks no frames"
        size = second
        if second == 126:
            (size,) = struct.unpack("!H", await self.raw.read_exactly(2))
            assert size > 125
        elif second == 127:
            (size,) = struct.unpack("!Q", await self.raw.read_exactly(8))
            assert size > 65535
        payload = await self.raw.read_exactly(size)
        return Frame(opcode=first & 0xF, payload=payload, fin=first >= 0x80, rsv=first >> 4 & 0x7)

    async def read_close(self) -> int | None:
        """Read the close frame that comes next, and the end of the connection; return its code."""
        got = await self.read()
        assert got.opcode == CLOSE, got
        assert await self.is_ended()
        return got.code

    async def is_ended(self) -> bool:
        """Say whether the server closes, or has reset the connection, without another byte."""
        try:
            return await self.raw.read_until_eof() == b""
        except (ConnectionResetError, ConnectionEnded):
            return True

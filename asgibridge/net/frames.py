"""The plain frames of WebSocket messages, which nearly all are: whole, masked, without extensions.

The `websockets` package reads and writes every frame correctly, at a price.  A frame that is a
whole message and uses no extension needs nothing of what that package keeps in mind, so it is read
and written with what stands here; the tests hold both to the same results.  Pure.
"""

from __future__ import annotations

import struct
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - installed without a compiler
    from websockets.utils import apply_mask

__all__ = ["INCOMPLETE", "MAX_JOINED", "measure", "render", "render_head", "unmask"]

# FIN and the opcode (RFC 6455 §5.2).
PLAIN_TEXT: Final = 0x81
PLAIN_BINARY: Final = 0x82
PLAIN: Final = frozenset({PLAIN_TEXT, PLAIN_BINARY})
MASKED: Final = 0x80

INCOMPLETE: Final = (0, 0)
_MEDIUM: Final = 126  # in place of the length: two bytes follow
_LONG: Final = 127  # eight
_MAX_MEDIUM: Final = 0xFFFF
_MASK_SIZE: Final = 4
# Head and payload leave in one buffer up to here; beyond, copying costs more than a second iovec.
MAX_JOINED: Final = 65536
# Payloads are copied before they are unmasked up to here; beyond, a view costs less than a copy.
_MAX_COPIED: Final = 8192
_SHORT_HEADS: Final = {
    first: [bytes((first, size)) for size in range(_MEDIUM)] for first in (PLAIN_TEXT, PLAIN_BINARY)
}
_medium_head: Final = struct.Struct("!BBH").pack
_long_head: Final = struct.Struct("!BBQ").pack


def measure(buffer: bytes | bytearray, start: int, stop: int) -> tuple[int, int]:
    """Find where the payload of the frame at *start* begins and ends.

    Returns:
        `INCOMPLETE` while its length has not come; the end may lie behind *stop*.
    """
    payload = start + 2
    if payload > stop:
        return INCOMPLETE
    second = buffer[start + 1]
    length = second & ~MASKED
    if length >= _MEDIUM:
        payload += 2 if length == _MEDIUM else 8
        if payload > stop:
            return INCOMPLETE
        length = int.from_bytes(buffer[start + 2 : payload], "big")
    if second & MASKED:
        payload += _MASK_SIZE
    return payload, payload + length


def unmask(buffer: bytes | bytearray, payload: int, end: int) -> bytes:
    """Return what lies between *payload* and *end*, behind its mask, without it."""
    mask = buffer[payload - _MASK_SIZE : payload]
    if end - payload > _MAX_COPIED:
        with memoryview(buffer) as view, view[payload:end] as masked:
            return apply_mask(masked, mask)
    return apply_mask(buffer[payload:end], mask)


def render_head(first: int, size: int) -> bytes:
    """Render the head of an unmasked frame of *size* bytes that begins with the byte *first*."""
    if size < _MEDIUM:
        return _SHORT_HEADS[first][size]
    if size <= _MAX_MEDIUM:
        return _medium_head(first, _MEDIUM, size)
    return _long_head(first, _LONG, size)


# The last message and its frame: one that is sent to many is rendered once.  The loops of several
# threads may write over each other's, and write the same.
_last: list[tuple[str | bytes, list[bytes], int]] = [(b"", [b"\x82\x00"], 0)]


def render(message: str | bytes) -> tuple[list[bytes], int]:
    """Render *message* as one frame, in one buffer or two; return it with the payload's size."""
    known, buffers, size = _last[0]
    if message is known:
        return buffers, size
    if isinstance(message, str):
        first, data = PLAIN_TEXT, message.encode()
    else:
        first, data = PLAIN_BINARY, message
    size = len(data)
    head = render_head(first, size)
    if size > MAX_JOINED:
        return [head, data], size
    buffers = [head + data]
    _last[0] = (message, buffers, size)
    return buffers, size

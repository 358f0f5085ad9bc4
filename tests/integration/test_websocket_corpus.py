"""A corpus of good and bad frames over real sockets, in the manner of the Autobahn test suite.

Each case is a stream of bytes behind the handshake and what must come back.  Each is sent whole,
byte by byte, and cut at every place, over a connection of its own, many of them at once.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import pytest
from apps.websocket_cases import echo
from support.serving import serving
from support.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameClient,
    close_payload,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.websockets import Frame

    from asgibridge import Server

MAX_SIZE: Final = 1000


Pieces: TypeAlias = "Callable[[bytes], list[list[bytes]]]"


class Case(NamedTuple):
    """What a client sends, and what it gets: messages and pongs, then perhaps the end."""

    name: str
    sent: bytes
    answers: tuple[tuple[int, bytes], ...] = ()
    code: int | None = None
    """Of the close frame that must follow; None if the WebSocket goes on."""


def said(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, close_payload(code, reason))


def fragments(opcode: int, *pieces: bytes, between: bytes = b"") -> bytes:
    """Render a message in *pieces*, with *between* between each two."""
    last = len(pieces) - 1
    return between.join(
        frame(CONTINUATION if number else opcode, piece, fin=number == last)
        for number, piece in enumerate(pieces)
    )


GREEK: Final = "κόσμε".encode()
EMOJI: Final = "\U0001f600".encode()

GOOD: Final = [
    Case("empty text", frame(TEXT), ((TEXT, b""),)),
    Case("empty bytes", frame(BINARY), ((BINARY, b""),)),
    *(
        Case(f"{size} bytes", frame(BINARY, bytes(size)), ((BINARY, bytes(size)),))
        for size in (1, 125, 126, 127, 128, 300, MAX_SIZE)
    ),
    Case("utf-8", frame(TEXT, GREEK + EMOJI), ((TEXT, GREEK + EMOJI),)),
    Case("bytes that are no text", frame(BINARY, b"\xff\xfe"), ((BINARY, b"\xff\xfe"),)),
    Case("ping", frame(PING, b"a") + frame(PING, bytes(125)), ((PONG, b"a"), (PONG, bytes(125)))),
    Case("unasked pong", frame(PONG, b"a") + frame(TEXT, b"b"), ((TEXT, b"b"),)),
    Case("two fragments", fragments(TEXT, b"he", b"llo"), ((TEXT, b"hello"),)),
    Case("empty fragments", fragments(TEXT, b"", b"", b"a", b""), ((TEXT, b"a"),)),
    Case(
        "pings between fragments",
        fragments(TEXT, b"a", b"b", b"c", between=frame(PING, b"p")),
        ((PONG, b"p"), (PONG, b"p"), (TEXT, b"abc")),
    ),
    Case(
        "text split in characters",
        fragments(TEXT, *(bytes([byte]) for byte in GREEK + EMOJI)),
        ((TEXT, GREEK + EMOJI),),
    ),
    Case(
        "length longer than needed",
        b"\x82\xfe\x00\x01\x00\x00\x00\x00x" + b"\x82\xff" + bytes(7) + b"\x01\x00\x00\x00\x00y",
        ((BINARY, b"x"), (BINARY, b"y")),
    ),
]

ENDS: Final = [
    Case("close without a code", frame(CLOSE), (), -1),
    *(
        Case(f"close {code}", said(code, "why"), (), code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
    ),
    *(Case(f"close {code}", said(code), (), code) for code in (3000, 3999, 4000, 4999)),
    Case("longest reason", said(1000, "x" * 123), (), 1000),
    Case("frames behind a close", said(1000) + frame(TEXT, b"a") + frame(PING), (), 1000),
]

BAD: Final = [
    *(
        Case(f"opcode {opcode:#x}", frame(TEXT, b"a") + frame(opcode, b"b"), (), 1002)
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
    ),
    *(
        Case(f"reserved bits {rsv:03b} of {opcode}", frame(opcode, b"a", rsv=rsv), (), 1002)
        for rsv in range(1, 8)
        for opcode in (TEXT, BINARY, PING, CLOSE)
    ),
    Case("reserved bit in a continuation", fragments(TEXT, b"a") + frame(0, rsv=4), (), 1002),
    *(
        Case(f"unmasked {opcode}", frame(opcode, b"ab", is_masked=False), (), 1002)
        for opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
    ),
    *(
        Case(f"fragmented {opcode}", frame(opcode, b"ab", fin=False), (), 1002)
        for opcode in (CLOSE, PING, PONG)
    ),
    *(
        Case(f"{opcode} of 126 bytes", frame(opcode, b"\x03\xe8" + b"x" * 124), (), 1002)
        for opcode in (CLOSE, PING, PONG)
    ),
    Case("continuation of nothing", frame(CONTINUATION, b"a"), (), 1002),
    Case("unfinished continuation of nothing", frame(CONTINUATION, fin=False), (), 1002),
    Case("continuation of a whole", frame(TEXT) + frame(CONTINUATION), (), 1002),
    Case("text inside of a text", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), (), 1002),
    Case("bytes inside of a text", frame(TEXT, b"a", fin=False) + frame(BINARY), (), 1002),
    Case("close inside of a text", frame(TEXT, b"a", fin=False) + said(1000), (), 1002),
    Case("close of one byte", frame(CLOSE, b"\x03"), (), 1002),
    *(
        Case(f"close {code}", said(code), (), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    Case("close whose reason is no text", frame(CLOSE, b"\x03\xe8\xff"), (), 1007),
    *(
        Case(f"text {text.hex()}", frame(TEXT, text), (), 1007)
        for text in (
            b"\xff",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            GREEK[:-1],
            b"ok\x80",
        )
    ),
    Case("text cut in a character", fragments(TEXT, GREEK[:3], b"a"), (), 1007),
    Case("text ends in a character", fragments(TEXT, EMOJI[:2], EMOJI[2:3]), (), 1007),
    Case("too large", frame(BINARY, bytes(MAX_SIZE + 1)), (), 1009),
    Case("too large in its head", frame(BINARY, size=2**62), (), 1009),
    Case("too large in pieces", fragments(TEXT, bytes(600), bytes(401)), (), 1009),
]


async def check(server: Server, case: Case, pieces: list[bytes]) -> None:
    """Send *pieces*, and compare what comes; then show that the server is well."""
    async with FrameClient.connect(server.urls[0]) as client:
        for piece in pieces:
            try:
                await client.raw.write(piece)
            except OSError:
                assert case.code is not None  # it has heard enough
                break
            await asyncio.sleep(0)
        got: list[Frame] = [await client.read() for _ in case.answers]
        assert [(each.opcode, each.payload) for each in got] == list(case.answers)
        if case.code is None:
            await client.send(PING, b"alive")
            assert (await client.read()).payload == b"alive"
            return
        last = await client.read()
        while last.opcode != CLOSE:
            last = await client.read()  # the echo of what came before the mistake
        assert last.code == (None if case.code == -1 else case.code)
        assert await client.is_ended()


async def mistakes(server: Server, cases: list[Case], pieces: Pieces) -> list[str]:
    """Check *cases* cut into *pieces*, many at once; return what is wrong with which."""
    found = []
    turn = asyncio.Semaphore(50)

    async def one(case: Case, cut: list[bytes]) -> None:
        async with turn:
            try:
                await check(server, case, cut)
            except Exception as error:  # noqa: BLE001 - each is told with its case
                found.append(f"{case.name}, cut to {[len(piece) for piece in cut]}: {error!r}")

    async with asyncio.TaskGroup() as group:
        for case in cases:
            for cut in pieces(case.sent):
                group.create_task(one(case, cut))
    return found


def whole(sent: bytes) -> list[list[bytes]]:
    return [[sent]]


def byte_by_byte(sent: bytes) -> list[list[bytes]]:
    return [[bytes([byte]) for byte in sent]] if len(sent) < MAX_SIZE else []


def in_two(sent: bytes) -> list[list[bytes]]:
    """Cut at every place; in a long payload one place is like another."""
    places = range(1, len(sent)) if len(sent) <= 60 else [*range(1, 12), len(sent) - 1]
    return [[sent[:place], sent[place:]] for place in places]


@pytest.mark.parametrize("pieces", [whole, byte_by_byte, in_two])
@pytest.mark.parametrize("cases", [GOOD, ENDS, BAD], ids=["good", "ends", "bad"])
async def test_frames_are_answered_as_the_rfc_says(cases: list[Case], pieces: Pieces) -> None:
    """[ASGI-4] RFC 6455 §5 and §7.4, RFC 3629."""
    async with serving(echo, ws_max_size=MAX_SIZE) as server:
        assert await mistakes(server, cases, pieces) == []


@pytest.mark.parametrize("garbage", [b"\x00" * 64, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n" * 4])
async def test_garbage_is_a_protocol_error(garbage: bytes) -> None:
    async with serving(echo) as server, FrameClient.connect(server.urls[0]) as client:
        await client.raw.write(garbage)
        assert await client.read_close() == 1002


async def test_compressed_garbage_and_bombs_are_refused() -> None:
    """RFC 7692: what does not decompress is 1002, what becomes too large 1009."""

    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    squeeze = zlib.compressobj(9, wbits=-15)
    bomb = squeeze.compress(bytes(100 * MAX_SIZE)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < MAX_SIZE
    async with serving(echo, ws_max_size=MAX_SIZE) as server:
        for payload, code in ((b"\xff\xff\xff\xff", 1002), (bomb[:-4], 1009)):
            async with FrameClient.connect(server.urls[0], "/", offer) as client:
                await client.raw.write(frame(BINARY, payload, rsv=4))
                assert await client.read_close() == code

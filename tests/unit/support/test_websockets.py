"""The client of exact frames says what RFC 6455 shows in its examples (§5.7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.websockets import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    PONG,
    TEXT,
    Frame,
    FrameClient,
    close_payload,
    frame,
    handshake,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWER = f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (frame(TEXT, b"Hello", is_masked=False), "81 05 48 65 6c 6c 6f"),
        (frame(TEXT, b"Hello"), "81 85 37 fa 21 3d 7f 9f 4d 51 58"),
        (frame(TEXT, b"Hel", fin=False, is_masked=False), "01 03 48 65 6c"),
        (frame(CONTINUATION, b"lo", is_masked=False), "80 02 6c 6f"),
        (frame(PONG, b"Hello"), "8a 85 37 fa 21 3d 7f 9f 4d 51 58"),
        (frame(BINARY, bytes(256), is_masked=False)[:4], "82 7e 01 00"),
        (frame(BINARY, bytes(65536), is_masked=False)[:10], "82 7f 00 00 00 00 00 01 00 00"),
        (frame(TEXT, rsv=4, is_masked=False), "c1 00"),
        (frame(TEXT, size=2**32, is_masked=False), "81 7f 00 00 00 01 00 00 00 00"),
    ],
)
def test_frames_are_those_of_the_rfc(made: bytes, expected: str) -> None:
    assert made == bytes.fromhex(expected)


def test_handshake_can_leave_a_header_out() -> None:
    assert b"Upgrade: websocket\r\n" in handshake("/chat", "Origin: http://a")
    assert b"Upgrade: websocket\r\n" not in handshake(without="Upgrade")
    assert b"Connection: Upgrade\r\n" in handshake(without="Upgrade")


async def answers(*written: bytes) -> AsyncIterator[FrameClient]:
    """Connect to a server that says these things whatever it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.writelines(written)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with FrameClient.connect(f"http://127.0.0.1:{port}") as client:
            yield client


async def test_frames_are_read_one_by_one() -> None:
    sizes = (0, 125, 126, 65535, 65536)
    sent = [frame(BINARY, bytes(size), is_masked=False) for size in sizes]
    last = frame(CLOSE, close_payload(1001, "bye"), is_masked=False)
    async for client in answers(ANSWER, *sent, last):
        for size in sizes:
            assert await client.read() == Frame(opcode=BINARY, payload=bytes(size))
        assert await client.read_close() == 1001


async def test_a_close_frame_may_say_nothing() -> None:
    async for client in answers(ANSWER, frame(CLOSE, is_masked=False)):
        assert await client.read_close() is None


@pytest.mark.parametrize(
    "wrong", [frame(TEXT, b"masked"), b"\x82\x7e\x00\x05hello", b"\x82\x7f" + bytes(8)]
)
async def test_frames_that_no_server_may_send_are_refused(wrong: bytes) -> None:
    async for client in answers(ANSWER, wrong):
        with pytest.raises(AssertionError):
            await client.read()


async def test_a_refusal_is_no_websocket() -> None:
    with pytest.raises(AssertionError):
        async for _ in answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"):
            pass

"""The reading half of a WebSocket, on a transport that the test turns by hand."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from support.connections import WebSocketRig
from support.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    close_payload,
    frame,
)

from asgibridge.http.lifecycle import WebSocketStage
from asgibridge.net.messages import READ_HIGH_WATER
from asgibridge.net.wiring import WebSocketSettings

SMALL = WebSocketSettings(max_size=1000, max_queue=4)


def test_messages_come_in_order_and_in_kind() -> None:
    with WebSocketRig() as rig:
        rig.accept()
        rig.receive(frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT, "drü".encode()))
        assert rig.messages == ["one", b"two", "drü"]
        assert rig.websocket.take() is None


def test_frames_are_read_however_they_are_split() -> None:
    whole = b"".join(
        (
            frame(TEXT, b"plain"),
            frame(TEXT, b"frag", fin=False),
            frame(PING, b"between"),
            frame(CONTINUATION, b"mented"),
            frame(BINARY, bytes(300)),
        )
    )
    for split in range(1, len(whole)):
        with WebSocketRig() as rig:
            rig.accept()
            rig.receive(whole[:split])
            rig.receive(whole[split:])
            assert rig.messages == ["plain", "fragmented", bytes(300)]
            assert rig.written == b"\x8a\x07between"
    with WebSocketRig() as rig:
        rig.accept()
        for byte in whole:
            rig.receive(bytes([byte]))
        assert rig.messages == ["plain", "fragmented", bytes(300)]


def test_frames_that_came_with_the_handshake_wait_for_the_acceptance() -> None:
    with WebSocketRig(early=frame(TEXT, b"eager")) as rig:
        assert rig.messages == []
        rig.accept()
        assert rig.messages == ["eager"]


def test_full_queue_stops_the_reading_until_it_is_empty() -> None:
    """[ASGI-4] The bound of messages holds exactly, however many come at once."""
    with WebSocketRig(settings=SMALL) as rig:
        rig.accept()
        rig.receive(b"".join(frame(TEXT, b"%d" % number) for number in range(10)))
        assert not rig.transport.is_reading()
        taken = []
        for number in range(10):
            assert len(rig.websocket._inbox) <= SMALL.max_queue
            taken.append(rig.websocket.take())
            assert rig.transport.is_reading() is (number >= 7)
        assert taken == [str(number) for number in range(10)]


def test_much_unread_stops_the_reading_too() -> None:
    """[ASGI-4] Whatever is in the queue: a message more than the high-water mark at most."""
    with WebSocketRig() as rig:
        rig.accept()
        size = READ_HIGH_WATER // 2
        rig.receive(frame(BINARY, bytes(size)) * 2)
        assert rig.transport.is_reading()
        rig.receive(frame(BINARY, bytes(size)) * 2)
        assert not rig.transport.is_reading()
        assert len(rig.websocket._inbox) == 3
        assert len(rig.messages) == 4
        assert rig.transport.is_reading()


def test_compressed_messages_are_held_to_the_same_bounds() -> None:
    """[ASGI-4] What one read brings may be a thousand times as large when it is decompressed."""
    squeeze = zlib.compressobj(wbits=-12)
    payload = squeeze.compress(bytes(60000)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    one = frame(BINARY, payload[:-4], rsv=4)
    fresh = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
    with WebSocketRig(fresh) as rig:
        rig.accept()
        rig.receive(one * 20)
        assert len(rig.websocket._inbox) == 2
        assert not rig.transport.is_reading()
        assert len(rig.messages) == 20


def test_a_message_of_the_largest_size_passes_and_one_more_byte_does_not() -> None:
    """[ASGI-4] Whole, in fragments, and at once from the head on."""
    limit = SMALL.max_size
    with WebSocketRig(settings=SMALL) as rig:
        rig.accept()
        rig.receive(frame(BINARY, bytes(limit)))
        rig.receive(frame(BINARY, bytes(600), fin=False) + frame(CONTINUATION, bytes(limit - 600)))
        assert [len(message) for message in rig.messages] == [limit, limit]
    for excess in (
        frame(BINARY, bytes(limit + 1))[:8],
        frame(BINARY, bytes(600), fin=False) + frame(CONTINUATION, bytes(limit - 599))[:8],
    ):
        with WebSocketRig(settings=SMALL) as rig:
            rig.accept()
            rig.receive(excess)
            assert rig.websocket.ended is not None
            assert rig.websocket.ended[0] == 1009
            assert rig.written[2:4] == close_payload(1009)


def test_empty_fragments_cost_no_memory() -> None:
    """A bound on bytes alone would not hold them."""
    with WebSocketRig() as rig:
        rig.accept()
        rig.receive(frame(BINARY, fin=False))
        for _ in range(100):
            rig.receive(frame(CONTINUATION, fin=False) * 100)
        assert rig.websocket._message == bytearray()
        rig.receive(frame(CONTINUATION, b"end"))
        assert rig.messages == [b"end"]


@pytest.mark.parametrize("is_fragmented", [True, False])
def test_text_that_is_none_fails_with_1007(*, is_fragmented: bool) -> None:
    with WebSocketRig() as rig:
        rig.accept()
        if is_fragmented:
            rig.receive(frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"))
        else:
            rig.receive(frame(TEXT, b"\xc3\x28"))
        assert rig.messages == []
        assert rig.websocket.ended is not None
        assert rig.websocket.ended[0] == 1007
        assert rig.websocket.stage is WebSocketStage.CLOSED
        assert rig.transport.calls == ["write_eof"]  # it lingers


def test_text_split_inside_of_a_character_is_read() -> None:
    encoded = "€".encode()
    with WebSocketRig() as rig:
        rig.accept()
        rig.receive(frame(TEXT, encoded[:1], fin=False) + frame(CONTINUATION, encoded[1:]))
        assert rig.messages == ["€"]


def test_pings_of_a_client_that_does_not_read_are_answered_only_so_far() -> None:
    """[ASGI-4] Its pongs would fill the memory."""
    with WebSocketRig() as rig:
        rig.accept()
        rig.websocket.send(bytes(100_000))
        assert rig.connection.is_write_paused
        rig.receive(frame(PING, b"a") * 5 + frame(TEXT, b"behind"))
        assert not rig.transport.is_reading()
        assert len(rig.transport.buffered) < 100_020
        rig.transport.client_reads()
        assert rig.transport.is_reading()
        assert rig.messages == ["behind"]
        assert rig.written.endswith(b"\x8a\x01a" * 5)


async def test_a_reader_waits_for_a_message_or_the_end() -> None:
    with WebSocketRig() as rig:
        rig.accept()
        waiting = [asyncio.ensure_future(wait(rig)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        await asyncio.sleep(0)
        rig.receive(frame(TEXT, b"here"))
        await asyncio.wait_for(waiting[0], 5)
        await asyncio.wait_for(wait(rig), 5)  # it is still there
        assert rig.messages == ["here"]
        last = asyncio.ensure_future(wait(rig))
        await asyncio.sleep(0)
        rig.lose()
        await asyncio.wait_for(last, 5)
        assert rig.websocket.ended == (1006, "")


async def wait(rig: WebSocketRig) -> None:
    await rig.websocket.wait_message()


async def test_waits_that_are_given_up_leave_nothing_behind() -> None:
    with WebSocketRig() as rig:
        rig.accept()
        for _ in range(50):
            task = asyncio.ensure_future(wait(rig))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
        assert len(rig.websocket._readers) <= 1


def test_what_was_sent_before_the_goodbye_is_still_taken() -> None:
    with WebSocketRig() as rig:
        rig.accept()
        rig.receive(frame(TEXT, b"last") + frame(CLOSE, close_payload(1000, "bye")))
        assert rig.websocket.ended == (1000, "bye")
        assert rig.messages == ["last"]
        assert rig.written == b"\x88\x05" + close_payload(1000, "bye")
        assert rig.transport.calls == ["close"]

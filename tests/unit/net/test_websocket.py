"""Handshake, sending, pings and the end of a WebSocket, on a transport turned by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.connections import WebSocketRig
from support.websockets import BINARY, CLOSE, PONG, TEXT, close_payload, frame

from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.lifecycle import WebSocketStage
from asgibridge.net.frames import MAX_JOINED
from asgibridge.net.gate import Standing
from asgibridge.net.websocket import CLOSE_TIME
from asgibridge.net.wiring import Timeouts, WebSocketSettings

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET = WebSocketSettings(ping_interval=None)
PINGING = WebSocketSettings(ping_interval=20.0, ping_timeout=5.0)
PING_FRAME = b"\x89\x00"


def goodbye(code: int, reason: str = "") -> bytes:
    """Render the close frame of a server."""
    return frame(CLOSE, close_payload(code, reason), is_masked=False)


# --- the handshake


def test_acceptance_switches_the_protocol_and_counts_as_in_flight() -> None:
    """[ASGI-4] [GATE-1] [GATE-2]."""
    with WebSocketRig("Sec-WebSocket-Protocol: chat, talk", settings=QUIET) as rig:
        rig.websocket.accept("talk", [(b"x-a", b"1")])
        head = rig.written.decode()
        assert "\r\nSec-WebSocket-Protocol: talk\r\n" in head
        assert "\r\nx-a: 1\r\n" in head
        assert rig.transport.protocol is rig.websocket
        rig.loop.advance(1000.0)
        assert (rig.gate.open, rig.gate.in_flight) == (1, 1)


def test_a_subprotocol_that_was_not_offered_is_refused() -> None:
    with WebSocketRig("Sec-WebSocket-Protocol: chat") as rig:
        with pytest.raises(ResponseError, match="did not offer"):
            rig.websocket.accept("talk", [])
        rig.websocket.accept("chat", [])


def test_an_application_that_does_not_make_up_its_mind_is_answered_for() -> None:
    with WebSocketRig(settings=WebSocketSettings(handshake_timeout=3.0)) as rig:
        rig.loop.advance(2.9)
        assert rig.statuses == []
        rig.loop.advance(0.2)
        assert rig.statuses == [504]
        with pytest.raises(ClientDisconnected):
            rig.websocket.accept(None, [])
    with WebSocketRig(settings=WebSocketSettings(handshake_timeout=None)) as rig:
        rig.loop.advance(10_000.0)
        rig.accept()


def test_a_client_that_leaves_before_the_acceptance_is_told_of() -> None:
    for leave in (WebSocketRig.lose, lambda rig: rig.transport.protocol.eof_received()):
        with WebSocketRig() as rig:
            leave(rig)
            assert rig.websocket.ended == (1006, "")
            with pytest.raises(ClientDisconnected):
                rig.websocket.accept(None, [])


def test_acceptance_while_the_server_stops_is_followed_by_a_goodbye() -> None:
    with WebSocketRig() as rig:
        rig.wiring.is_draining = rig.wiring.closes_idle = True
        rig.connection.drain()
        rig.websocket.accept(None, [])
        assert rig.written.endswith(goodbye(1001))


# --- sending


def test_messages_are_sent_as_one_frame_each() -> None:
    with WebSocketRig() as rig:
        rig.accept()
        for message in ("text", b"bytes", bytearray(b"array"), memoryview(b"view"), ""):
            assert rig.websocket.send(message) is False  # type: ignore[arg-type]
        assert rig.written == (
            b"\x81\x04text" + b"\x82\x05bytes" + b"\x82\x05array" + b"\x82\x04view" + b"\x81\x00"
        )
        large = bytes(MAX_JOINED + 1)
        rig.websocket.send(large)
        assert rig.written == frame(BINARY, large, is_masked=False)
        assert rig.exchange.response.body_bytes == 18 + len(large)


def test_sending_tells_of_a_client_that_does_not_read() -> None:
    """[ASGI-4]."""
    with WebSocketRig() as rig:
        rig.accept()
        assert rig.websocket.send(bytes(70_000)) is True
        assert rig.exchange.must_wait()
        rig.transport.client_reads()
        assert rig.websocket.send(b"more") is False


def test_a_client_that_never_reads_is_cut() -> None:
    with WebSocketRig(settings=QUIET, timeouts=Timeouts(write=3.0)) as rig:
        rig.accept()
        rig.websocket.send(bytes(70_000))
        rig.loop.advance(4.0)
        assert rig.transport.calls == ["abort"]
        assert rig.websocket.ended == (1006, "")
        assert rig.exchange.is_gone


def test_sending_at_the_wrong_time_raises() -> None:
    """[ASGI-4] An `OSError` where it has ended, another where it has not begun."""
    with WebSocketRig() as rig:
        with pytest.raises(ResponseError):
            rig.websocket.send("too early")
        rig.accept()
        rig.websocket.close(1000, "")
        with pytest.raises(OSError, match="closed"):
            rig.websocket.send("too late")
        with pytest.raises(OSError, match="closed"):
            rig.websocket.close(1000, "")
    with WebSocketRig() as rig:
        rig.accept()
        rig.transport.abort()  # by the loop, which tells of it later
        with pytest.raises(OSError, match="closed"):
            rig.websocket.send("nobody")


def test_compressed_messages_go_through_the_extension() -> None:
    with WebSocketRig("Sec-WebSocket-Extensions: permessage-deflate") as rig:
        rig.accept()
        rig.websocket.send("a" * 1000)
        rig.websocket.send(b"b" * 1000)
        written = rig.written
        assert (written[0], len(written) < 100) == (0xC1, True)
        assert rig.exchange.response.body_bytes == 2000


# --- pings


def test_silent_client_is_pinged_and_given_up() -> None:
    """[ASGI-4] It gets the reason, should it still be there."""
    with WebSocketRig(settings=PINGING) as rig:
        rig.accept()
        rig.loop.advance(19.9)
        assert rig.written == b""
        rig.loop.advance(0.2)
        assert rig.written == PING_FRAME
        rig.loop.advance(5.1)
        assert rig.written == goodbye(1011, "keepalive ping timeout")
        assert rig.websocket.ended == (1011, "keepalive ping timeout")
        assert rig.transport.calls == ["write_eof"]
        rig.loop.advance(3.0)
        assert rig.transport.calls == ["write_eof", "abort"]


@pytest.mark.parametrize("sign", [frame(PONG), frame(TEXT, b"busy"), frame(TEXT, b"part")[:3]])
def test_any_byte_is_a_sign_of_life(sign: bytes) -> None:
    with WebSocketRig(settings=PINGING) as rig:
        rig.accept()
        for _ in range(3):
            rig.loop.advance(20.1)
            assert rig.written == PING_FRAME
            rig.receive(sign[:1])
            sign = sign[1:] or sign
    with WebSocketRig(settings=QUIET) as rig:
        rig.accept()
        rig.loop.advance(10_000.0)
        assert rig.written == b""


def test_a_client_that_has_to_wait_for_the_application_is_not_given_up() -> None:
    """Its pong is behind messages that nobody takes."""
    with WebSocketRig(settings=WebSocketSettings(max_queue=1, ping_timeout=5.0)) as rig:
        rig.accept()
        rig.receive(frame(TEXT, b"one") + frame(TEXT, b"two"))
        rig.loop.advance(100.0)
        assert rig.websocket.stage is WebSocketStage.OPEN
        assert rig.messages == ["one", "two"]


# --- the end


def test_the_application_says_goodbye_and_the_client_answers() -> None:
    with WebSocketRig() as rig:
        rig.accept()
        rig.receive(frame(TEXT, b"not taken"))
        rig.websocket.close(3000, "done")
        assert rig.messages == []
        assert rig.written == goodbye(3000, "done")
        rig.receive(frame(TEXT, b"still talking"))
        assert rig.messages == []
        rig.receive(frame(CLOSE, close_payload(3000)))
        assert rig.transport.calls == ["close"]
        assert rig.websocket.ended == (3000, "done")
        rig.lose()
        assert (rig.gate.open, rig.wiring.connections) == (0, set())
        assert (rig.wiring.counters.requests, rig.wiring.counters.cut) == (1, 0)


def test_a_goodbye_that_is_not_answered_is_bounded() -> None:
    with WebSocketRig(settings=QUIET) as rig:
        rig.accept()
        rig.websocket.close(1000, "")
        rig.loop.advance(CLOSE_TIME - 0.1)
        assert rig.transport.calls == []
        rig.loop.advance(0.2)
        assert rig.transport.calls == ["close", "abort"]


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_client_that_takes_the_goodbye_for_the_last_word_is_no_failure(*, is_lost: bool) -> None:
    with WebSocketRig() as rig:
        rig.accept()
        rig.websocket.close(1000, "")
        if not is_lost:
            rig.transport.protocol.eof_received()
        rig.lose()
        assert rig.websocket.ended == (1000, "")
        assert (rig.wiring.counters.requests, rig.wiring.counters.cut) == (1, 0)


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_client_that_leaves_without_a_word_is_gone(*, is_lost: bool) -> None:
    with WebSocketRig() as rig:
        rig.accept()
        if not is_lost:
            assert rig.transport.protocol.eof_received() is False
        rig.lose()
        assert rig.websocket.ended == (1006, "")
        assert (rig.wiring.counters.requests, rig.wiring.counters.cut) == (1, 1)
        assert (rig.gate.open, rig.gate.in_flight, rig.wiring.connections) == (0, 0, set())
        rig.loop.advance(100.0)
        assert rig.loop.timers() == []


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (999, ""), (5000, ""), (1000, "x" * 124)])
def test_a_goodbye_that_no_frame_can_say_is_refused(code: int, reason: str) -> None:
    with WebSocketRig() as rig:
        rig.accept()
        with pytest.raises(ResponseError):
            rig.websocket.close(code, reason)
        assert rig.websocket.stage is WebSocketStage.OPEN
        rig.websocket.close(1000, "x" * 123)


@pytest.mark.parametrize("code", [1001, 1012])
def test_the_server_goes_away_with_its_code(code: int) -> None:
    """[ASGI-4] What the client has said before is still heard, what it says then is not."""
    with WebSocketRig(settings=WebSocketSettings(max_queue=1)) as rig:
        rig.wiring.going_away = code
        rig.accept()
        rig.receive(frame(TEXT, b"before") + frame(TEXT, b"behind"))
        rig.connection.drain()
        assert rig.written == goodbye(code)
        assert rig.websocket.ended == (code, "")
        rig.connection.drain()  # once more is nothing more
        assert rig.messages == ["before"]
        rig.receive(frame(CLOSE, close_payload(code)))
        assert rig.transport.calls == ["close"]


def test_the_gate_is_left_once_however_it_ends() -> None:
    """[GATE-1] Lost at each of its stages."""
    steps: list[Callable[[WebSocketRig], object]] = [
        lambda rig: rig.accept(),
        lambda rig: rig.receive(frame(TEXT, b"a")),
        lambda rig: rig.websocket.close(1000, ""),
        lambda rig: rig.receive(frame(CLOSE, close_payload(1000))),
    ]
    for count in range(len(steps) + 1):
        with WebSocketRig() as rig:
            for step in steps[:count]:
                step(rig)
            rig.lose()
            assert rig.connection.standing is Standing.OUTSIDE
            assert (rig.gate.open, rig.gate.in_flight, rig.wiring.connections) == (0, 0, set())
            assert rig.websocket.ended is not None
            rig.loop.advance(1000.0)
            assert rig.loop.timers() == []

"""Whatever a client sends, and however it is cut into pieces: what the package alone would say.

The server reads plain frames without the package.  Here any sequence of frames, good and bad, is
given to both, and messages, answers and the end must be the same.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from support.connections import WebSocketRig
from support.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame,
)
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from asgibridge.net.wiring import WebSocketSettings

MAX_SIZE = 300

payloads = st.one_of(
    st.binary(max_size=8),
    st.text(max_size=8).map(str.encode),
    st.sampled_from([125, 126, MAX_SIZE - 8, MAX_SIZE, MAX_SIZE + 1]).map(bytes),
)
good = st.one_of(
    st.builds(frame, st.sampled_from([TEXT, BINARY]), payloads),
    st.builds(frame, st.sampled_from([TEXT, BINARY]), payloads, fin=st.just(value=False)),
    st.builds(frame, st.just(CONTINUATION), payloads, fin=st.booleans()),
    st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125)),
)
codes = st.sampled_from([999, 1000, 1001, 1004, 1005, 1006, 1014, 1016, 2999, 3000, 4999, 5000])
closes = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=1),
    st.builds(close_payload, codes, st.text(max_size=5)),
    st.builds(lambda reason: b"\x03\xe8" + reason, st.binary(max_size=5)),
).map(lambda payload: frame(CLOSE, payload))
bad = st.builds(
    frame,
    st.integers(min_value=0, max_value=15),
    payloads,
    fin=st.booleans(),
    rsv=st.integers(min_value=0, max_value=7),
    is_masked=st.booleans(),
)
streams = st.lists(st.one_of(good, good, good, closes, bad, st.binary(max_size=6)), max_size=8).map(
    b"".join
)


@dataclass(slots=True)
class Outcome:
    messages: list[str | bytes] = field(default_factory=list)
    written: bytes = b""
    is_open: bool = True


def of_the_package(stream: bytes) -> Outcome:
    """Give *stream* to the package, frame by frame, as its own servers use it."""
    protocol = ServerProtocol(state=State.OPEN, max_size=MAX_SIZE)
    outcome = Outcome()
    message = b""
    opcode = Opcode.BINARY
    for byte in stream:
        protocol.receive_data(bytes([byte]))
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                opcode, message = event.opcode, b""
            elif event.opcode is not Opcode.CONT:
                continue
            message += bytes(event.data)
            if event.fin:
                try:
                    outcome.messages.append(message.decode() if opcode is Opcode.TEXT else message)
                except UnicodeDecodeError as error:
                    protocol.fail(1007, f"{error.reason} at position {error.start}")
        if protocol.eof_sent:
            break
    outcome.written = b"".join(protocol.data_to_send())
    outcome.is_open = protocol.state is State.OPEN
    return outcome


def of_the_server(pieces: list[bytes]) -> Outcome:
    """Give *pieces* to a WebSocket, whose application keeps up."""
    outcome = Outcome()
    with WebSocketRig(settings=WebSocketSettings(max_size=MAX_SIZE, max_queue=3)) as rig:
        rig.accept()
        for piece in pieces:
            if rig.transport.protocol is not rig.websocket:
                break
            rig.receive(piece)
            outcome.messages += rig.messages
        outcome.is_open = rig.websocket.ended is None
        outcome.written = rig.written
        rig.lose()
        assert rig.gate.open == 0
    return outcome


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(stream=streams, places=st.lists(st.integers(min_value=0, max_value=2000), max_size=6))
@settings(max_examples=300, deadline=None)
def test_the_server_says_what_the_package_says(stream: bytes, places: list[int]) -> None:
    """[ASGI-4]."""
    expected = of_the_package(stream)
    assert of_the_server(cut(stream, places)) == expected
    assert of_the_server([bytes([byte]) for byte in stream]) == expected

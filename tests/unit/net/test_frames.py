"""Plain frames are measured and rendered as the package does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.websockets import BINARY, TEXT, frame
from websockets.frames import Frame, Opcode

from asgibridge.net.frames import (
    INCOMPLETE,
    MAX_JOINED,
    PLAIN,
    measure,
    render,
    render_head,
    unmask,
)

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_heads_are_those_of_the_package(opcode: Opcode, size: int) -> None:
    payload = bytes(size)
    expected = Frame(opcode, payload).serialize(mask=False)
    assert render_head(0x80 | opcode, size) + payload == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_masked", [True, False])
def test_frame_is_measured_wherever_it_begins(size: int, *, is_masked: bool) -> None:
    made = frame(BINARY, bytes(size), is_masked=is_masked)
    for before in (b"", b"before"):
        buffer = before + made + b"behind"
        payload, end = measure(buffer, len(before), len(buffer))
        assert end == len(before) + len(made)
        assert end - payload == size


@pytest.mark.parametrize("size", SIZES)
def test_measure_waits_for_the_length_only(size: int) -> None:
    made = frame(TEXT, bytes(size))
    head = len(made) - size - 4
    for stop in range(head):
        assert measure(made[:stop], 0, stop) == INCOMPLETE
    for stop in range(head, head + 5):
        assert measure(made[:stop], 0, stop)[1] == len(made)


@given(payload=st.binary(max_size=300))
def test_mask_is_taken_off(payload: bytes) -> None:
    made = frame(BINARY, payload)
    start, end = measure(made, 0, len(made))
    assert made[0] in PLAIN
    assert unmask(made, start, end) == payload


@pytest.mark.parametrize("size", [8191, 8192, 8193, 100_000])
def test_mask_is_taken_off_large_payloads_without_holding_the_buffer(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    buffer = bytearray(b"before" + frame(BINARY, payload[:size]) + b"behind")
    start, end = measure(buffer, 6, len(buffer))
    assert unmask(buffer, start, end) == payload[:size]
    del buffer[:end]
    assert buffer == b"behind"


def test_message_that_is_sent_to_many_is_rendered_once() -> None:
    text = "to everybody"
    first, size = render(text)
    again, _ = render(text)
    assert again[0] is first[0]
    assert (b"".join(first), size) == (frame(TEXT, text.encode(), is_masked=False), 12)
    equal = str(text.encode(), "utf-8")
    assert render(equal)[0] == first  # another object of the same text


def test_large_messages_are_neither_joined_nor_kept() -> None:
    large = bytes(MAX_JOINED + 1)
    for expected in (2, 2):
        buffers, size = render(large)
        assert (len(buffers), size) == (expected, len(large))
        assert buffers[1] is large
    assert len(render(bytes(MAX_JOINED))[0]) == 1


def test_bytes_and_text_are_told_apart() -> None:
    assert [render(message)[0][0][0] for message in ("", b"", "a", b"a")] == [129, 130, 129, 130]

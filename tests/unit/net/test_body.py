"""A body between the loop and a thread: in memory, then in a file."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING

import pytest

from asgibridge.net.body import BodyBuffer

if TYPE_CHECKING:
    from pathlib import Path

MAX_MEMORY = 10


@pytest.fixture
def buffer() -> BodyBuffer:
    return BodyBuffer(MAX_MEMORY)


def read_all(buffer: BodyBuffer) -> bytes:
    with buffer.open() as body:
        return body.read()


def test_pieces_come_out_as_one_body_from_its_start(buffer: BodyBuffer) -> None:
    buffer.add([b"ab", b"c"])
    buffer.add([])
    buffer.add([b"d"])
    assert buffer.size == 4
    assert read_all(buffer) == b"abcd"


@pytest.mark.parametrize(
    ("size", "is_in_memory"),
    [(0, True), (MAX_MEMORY - 1, True), (MAX_MEMORY, True), (MAX_MEMORY + 1, False)],
)
def test_memory_is_used_up_to_the_limit_and_no_further(
    buffer: BodyBuffer, size: int, *, is_in_memory: bool
) -> None:
    buffer.add([b"x" * size])
    with buffer.open() as body:
        assert isinstance(body, io.BytesIO) == is_in_memory
        assert body.read() == b"x" * size


def test_what_was_in_memory_comes_first_in_the_file(buffer: BodyBuffer) -> None:
    buffer.add([b"0123456789"])
    buffer.add([b"ab"])
    buffer.add([b"c" * 100])
    assert buffer.size == 112
    assert read_all(buffer) == b"0123456789ab" + b"c" * 100


def test_a_body_that_is_thrown_away_gives_its_file_back(buffer: BodyBuffer) -> None:
    buffer.add([b"x" * (MAX_MEMORY + 1)])
    body = buffer.open()
    buffer.close()
    assert body.closed


def test_a_file_that_cannot_be_made_is_an_os_error(
    buffer: BodyBuffer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    with pytest.raises(FileNotFoundError):
        buffer.add([b"x" * (MAX_MEMORY + 1)])

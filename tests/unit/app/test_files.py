"""`wsgi.file_wrapper`: which files the kernel may send, and which have to be read."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from asgibridge.app.files import FileWrapper

if TYPE_CHECKING:
    from pathlib import Path


def test_plain_file_is_a_span_from_its_position_on() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.seek(4)
        assert FileWrapper(file).span() == (file.fileno(), 4, 6)


@pytest.mark.parametrize("buffering", [-1, 0])
def test_file_opened_by_name_is_a_span(tmp_path: Path, buffering: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    with path.open("rb", buffering=buffering) as file:
        assert FileWrapper(file).span() == (file.fileno(), 0, 5)
    with tempfile.NamedTemporaryFile() as named:
        named.write(b"hello")
        named.seek(0)
        assert FileWrapper(named).span() == (named.fileno(), 0, 5)


def test_position_behind_the_end_leaves_nothing() -> None:
    with tempfile.TemporaryFile() as file:
        file.seek(10)
        assert FileWrapper(file).span() == (file.fileno(), 10, 0)


def test_other_contents_than_the_descriptor_holds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(b"hello"))
    with gzip.open(path) as file:
        assert FileWrapper(file).span() is None
        assert b"".join(FileWrapper(file)) == b"hello"
    with path.open(encoding="latin-1") as text:
        assert FileWrapper(text).span() is None


def test_what_is_no_regular_file_is_read() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader:
        os.write(write, b"hello")
        os.close(write)
        assert FileWrapper(reader).span() is None
        assert b"".join(FileWrapper(reader)) == b"hello"
    assert FileWrapper(io.BytesIO(b"hello")).span() is None
    assert FileWrapper(object()).span() is None


def test_closed_file_is_no_span() -> None:
    with tempfile.TemporaryFile() as file:
        pass
    assert FileWrapper(file).span() is None


def test_file_is_read_in_blocks_and_closed_if_it_can_be() -> None:
    file = io.BytesIO(b"0123456789")
    wrapper = FileWrapper(file, 4)
    assert list(wrapper) == [b"0123", b"4567", b"89"]
    wrapper.close()
    assert file.closed

    class OnlyRead:
        def read(self, _size: int) -> bytes:
            return b""

    only: Any = FileWrapper(OnlyRead())
    assert list(only) == []
    only.close()

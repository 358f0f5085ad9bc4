"""A piece of a file behind a head: in order, whole, or cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.connections import Rig

if TYPE_CHECKING:
    from pathlib import Path

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class WritableRig(Rig):
    """A rig whose loop lets a test call the writer of the file by hand."""

    def send(self, path: Path, offset: int, count: int) -> None:
        loop = self.loop
        self.writers: list[object] = []

        def add_writer(_file: object, callback: object) -> None:
            self.writers.append(callback)

        def remove_writer(_file: object) -> bool:
            self.writers.clear()
            return True

        loop.add_writer = add_writer  # type: ignore[attr-defined]
        loop.remove_writer = remove_writer  # type: ignore[attr-defined]
        self.connection.data_received(GET)
        (exchange,) = self.handler.exchanges
        head = exchange.response.start_file(200, b"HTTP/1.1 200 OK\r\n", [], count)
        with path.open("rb") as file:
            exchange.post_file([head], file.fileno(), offset, count)
        loop.settle()

    def write_file(self) -> None:
        for callback in list(self.writers):
            callback()  # type: ignore[operator]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 10)
    return path


def test_file_follows_its_head(path: Path) -> None:
    with WritableRig() as rig:
        rig.send(path, 5, 90)
        rig.write_file()
        assert rig.connection.exchange is not None  # the head has not left yet
        rig.transport.client_reads()
        rig.write_file()
        assert rig.far.recv(1000) == (b"0123456789" * 10)[5:95]
        assert rig.gate.has_idle
        assert rig.writers == []


def test_file_goes_through_the_transport_under_tls(path: Path) -> None:
    """On the socket itself it would be in the clear."""
    with WritableRig() as rig:
        rig.connection.tls = object()  # type: ignore[assignment]
        rig.send(path, 5, 90)
        rig.transport.client_reads()
        rig.write_file()
        rig.transport.client_reads()
        assert rig.transport.sent.endswith(b"\r\n\r\n" + (b"0123456789" * 10)[5:95])
        rig.far.setblocking(False)  # noqa: FBT003 - the socket module's way
        with pytest.raises(BlockingIOError):
            rig.far.recv(1)
        assert rig.writers == []


def test_file_that_is_too_short_is_cut(path: Path) -> None:
    with WritableRig() as rig:
        rig.send(path, 0, 200)
        rig.transport.client_reads()
        rig.write_file()
        rig.write_file()
        assert rig.transport.calls == ["abort"]
        assert rig.wiring.counters.cut == 1


def test_nothing_of_a_file_follows_a_head_that_was_thrown_away(path: Path) -> None:
    """The client would take the file for the head."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    with WritableRig() as rig:
        rig.send(path, 0, 100)
        (writer,) = rig.writers
        rig.transport.abort()
        writer()  # type: ignore[operator]
        rig.connection.cut("the server stopped")
        rig.far.setblocking(False)  # noqa: FBT003 - the socket module's way
        with pytest.raises(BlockingIOError):
            rig.far.recv(1)
        assert rig.writers == []
        rig.lose()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a count

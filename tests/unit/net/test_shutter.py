"""Nobody else gets into the queue of a listening socket; who is in it can be accepted."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from asgibridge.net.shutter import shut

if TYPE_CHECKING:
    from pathlib import Path


def accepted(listener: socket.socket) -> int:
    """Accept all who wait; return how many."""
    listener.setblocking(False)  # noqa: FBT003 - the socket module's way
    count = 0
    with contextlib.suppress(BlockingIOError, OSError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_over_tcp_the_next_client_is_kept_out_and_those_before_are_not() -> None:
    """[STOP-3]."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listener.getsockname()
        early = [stack.enter_context(socket.create_connection(address, 5)) for _ in range(5)]
        shut(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, 0.2)
        assert accepted(listener) == len(early)


def test_on_a_unix_socket_the_next_client_is_refused(tmp_path: Path) -> None:
    """[STOP-3]."""
    path = str(tmp_path / "site.sock")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(16)
        for _ in range(3):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        shut(listener)
        late = stack.enter_context(socket.socket(socket.AF_UNIX))
        with pytest.raises(ConnectionRefusedError):
            late.connect(path)
        assert accepted(listener) == 3


def test_who_was_in_the_queue_can_be_served_over_the_accepted_socket() -> None:
    """The filter is inherited, and lets all but the first segment of a handshake pass."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), 5) as client,
    ):
        shut(listener)
        served, _ = listener.accept()
        with served:
            client.sendall(b"x" * 1000)
            assert served.recv(1000, socket.MSG_WAITALL) == b"x" * 1000
            served.sendall(b"y" * 1000)
            assert client.recv(1000, socket.MSG_WAITALL) == b"y" * 1000

"""WebSockets of the installed command: what clients hear when it stops, restarts, or runs alone."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.commands import running_command
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect, unix_connect

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

TESTS: Final = Path(__file__).parent.parent
APP: Final = ("--app-dir", str(TESTS), "apps.websocket_cases:hello_or_echo")
# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 20.0

loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def echoed(client: ClientConnection, message: str) -> bool:
    client.send(message)
    return client.recv(PATIENCE) == message


def goodbye(client: ClientConnection) -> int:
    """Wait for the close frame of the server; return its code."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


@loops
def test_a_stop_is_1001(loop: str) -> None:
    """[ASGI-4] [STOP-1]."""
    with running_command(*APP, "--loop", loop) as command:
        with connect(command.url.replace("http:", "ws:")) as client:
            assert echoed(client, "hello")
            command.signal(signal.SIGTERM)
            assert goodbye(client) == 1001
        assert command.wait(PATIENCE) == 0


def test_a_restart_is_1012_and_the_next_worker_is_there_at_once() -> None:
    """[ASGI-4] [PROC-3] Who connects again without waiting is served."""
    with running_command(*APP, "--workers", "2") as command:
        url = command.url.replace("http:", "ws:")
        with connect(url) as first, connect(url) as second:
            assert echoed(first, "hello")
            assert echoed(second, "hello")
            command.signal(signal.SIGHUP)
            assert (goodbye(first), goodbye(second)) == (1012, 1012)
        with connect(url) as again:
            assert echoed(again, "hello again")
            command.signal(signal.SIGTERM)
            assert goodbye(again) == 1001
        assert command.wait(PATIENCE) == 0


@loops
def test_a_unix_socket_carries_them_too(loop: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with (
        running_command(*APP, "--loop", loop, "--uds", str(path)),
        unix_connect(str(path), "ws://localhost/") as client,
    ):
        assert echoed(client, "x" * 100_000)

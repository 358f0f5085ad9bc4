"""Clients in loops while the command is told to stop: no accepted one is let down.  [STOP-3].

See `support.visitors` for what counts as let down.
"""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from support.commands import running_command
from support.visitors import REQUEST, Tally, load, read_answer, visit

if TYPE_CHECKING:
    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"
loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def address_of(command: RunningCommand) -> tuple[str, int]:
    parts = urlsplit(command.url)
    return str(parts.hostname), int(parts.port or 0)


def dial(command: RunningCommand, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(address_of(command), timeout=20))


@loops
@pytest.mark.parametrize("app", ["stopping_wsgi", "stopping_asgi"])
@pytest.mark.parametrize(
    ("per_connection", "options"),
    [
        pytest.param(1, (), id="new connections"),
        pytest.param(1_000_000, (), id="kept connections"),
        pytest.param(7, ("--max-in-flight", "2"), id="both, with a narrow gate"),
        pytest.param(1, ("--max-in-flight", "1"), id="most of them waiting in the kernel's queue"),
        pytest.param(1_000_000, ("--worker-connections", "3"), id="no room but by closing"),
    ],
)
def test_a_stop_under_load_lets_nobody_down(
    app: str, per_connection: int, options: tuple[str, ...], loop: str
) -> None:
    """[STOP-3]."""
    with running_command(
        *("--app-dir", str(APPS), "--loop", loop, "--threads", "4", *options, f"{app}:app")
    ) as command:
        address = address_of(command)
        tally = Tally()
        clients = load(12, lambda: visit(address, b"", per_connection, tally))
        assert tally.enough.wait(20)
        command.signal(signal.SIGTERM)
        assert command.wait(20) == 0
        for client in clients:
            client.join(20)
            assert not client.is_alive()
    assert tally.let_down == []


@loops
def test_those_who_wait_in_the_queue_at_the_signal_are_served(loop: str) -> None:
    """[STOP-3] One at a time, as the gate has it."""
    with (
        running_command(
            *("--app-dir", str(APPS), "--loop", loop, "--max-in-flight", "1", "stopping_wsgi:app")
        ) as command,
        ExitStack() as stack,
    ):
        clients = [dial(command, stack) for _ in range(10)]
        for client in clients:
            client.sendall(REQUEST % b"slow?0.05")
        command.wait_for_log("in /slow")
        command.signal(signal.SIGTERM)
        heads = [read_answer(client) for client in clients]
        assert [b"connection: close" in head for head in heads] == [True] * 10
        assert command.wait(20) == 0


@loops
def test_requests_that_came_while_idle_are_served(loop: str) -> None:
    """[STOP-1] A connection with unread bytes is not idle: here the loop is busy at the signal."""
    with (
        running_command(*("--app-dir", str(APPS), "--loop", loop, "stopping_asgi:app")) as command,
        ExitStack() as stack,
    ):
        kept = [dial(command, stack) for _ in range(10)]
        for client in kept:
            client.sendall(REQUEST % b"")
            read_answer(client)
        busy = dial(command, stack)
        busy.sendall(REQUEST % b"blocks-a-moment")
        command.wait_for_log("in /blocks-a-moment")
        command.signal(signal.SIGTERM)
        for client in kept:
            client.sendall(REQUEST % b"")
        for client in [busy, *kept]:
            read_answer(client)
        assert command.wait(20) == 0

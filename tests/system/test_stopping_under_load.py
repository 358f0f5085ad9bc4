"""Clients in loops while the command is told to stop: no accepted one is let down.  [STOP-3].

What counts as let down is what an HTTP client could not put right by itself.  After its connection
was made, a request that it sent has to be answered whole.  There is one exception, the one of RFC
9112 §9.3.1: on a connection that has answered before and did not say `Connection: close`, the
server may close before any byte of the next answer; the client then sends it again elsewhere.
"""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from support.answers import REQUEST, AnswerCut, read_answer
from support.commands import running_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"

loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@dataclass
class Tally:
    """What the clients saw.  Thread: any; list.append is enough of a lock."""

    answers: list[bytes] = field(default_factory=list)
    closed_while_idle: list[str] = field(default_factory=list)
    let_down: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def answered(self, head: bytes) -> None:
        self.answers.append(head)
        if len(self.answers) >= 200:
            self.enough.set()


def address_of(command: RunningCommand) -> tuple[str, int]:
    parts = urlsplit(command.url)
    return str(parts.hostname), int(parts.port or 0)


def dial(command: RunningCommand, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(address_of(command), timeout=20))


def visit(address: tuple[str, int], path: bytes, per_connection: int, tally: Tally) -> bool:
    """Make one connection and up to *per_connection* requests; return whether it was accepted."""
    try:
        sock = socket.create_connection(address, timeout=20)
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    with sock:
        for number in range(per_connection):
            try:
                sock.sendall(REQUEST % path)
                head = read_answer(sock)
            except (AnswerCut, ConnectionError) as error:
                nothing_came = not isinstance(error, AnswerCut) or str(error).startswith("b'' ")
                fate = tally.closed_while_idle if number and nothing_came else tally.let_down
                fate.append(f"request {number}: {error}")
                return True
            tally.answered(head)
            if b"connection: close" in head:
                return True
    return True


def load(count: int, behave: Callable[[], bool]) -> list[threading.Thread]:
    """Let *count* clients *behave* until they are not accepted any more."""

    def loop() -> None:
        while behave():
            pass

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


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

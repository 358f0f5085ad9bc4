"""Clients in loops, who tell those whom a server let down from those who only have to dial again.

What counts as let down is what an HTTP client could not put right by itself.  After its connection
was made, a request that it sent has to be answered whole.  There is one exception, the one of RFC
9112 §9.3.1: on a connection that has answered before and did not say `Connection: close`, the
server may close before any byte of the next answer; the client then sends it again elsewhere.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REQUEST", "AnswerCut", "Tally", "load", "read_answer", "visit"]

REQUEST: Final = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


class AnswerCut(Exception):  # noqa: N818 - named after what happened
    """The connection ended in the middle of an answer, or before it."""


@dataclass
class Tally:
    """What the clients saw.  Thread: any; list.append is enough of a lock.

    Attributes:
        enough: set when 200 requests have been answered, at first or since `expect_more`.
    """

    answers: list[bytes] = field(default_factory=list)
    closed_while_idle: list[str] = field(default_factory=list)
    let_down: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    _goal: int = 200

    def answered(self, head: bytes) -> None:
        self.answers.append(head)
        if len(self.answers) >= self._goal:
            self.enough.set()

    def expect_more(self) -> None:
        """Have `enough` wait for another 200."""
        self._goal = len(self.answers) + 200
        self.enough.clear()


def read_answer(sock: socket.socket) -> bytes:
    """Read one whole answer and return its head.

    Raises:
        AnswerCut: it ends too early; the message is what came of it.
    """
    data = b""
    while not data.endswith(b"\r\n\r\nhello"):
        try:
            piece = sock.recv(65536)
        except ConnectionError as error:
            raise AnswerCut(f"{data!r} then {error!r}") from error
        if not piece:
            raise AnswerCut(f"{data!r} then the end")
        data += piece
    return data.lower()


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

"""Plain clients for tests of the installed command: one request, or many in loops.

What counts as let down is what an HTTP client could not put right by itself: see `Visitors`.
"""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Answer", "Visitors", "ask", "dial", "everybody"]

# Seconds that a client waits for an answer: only a test that fails ever does.
PATIENCE: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response."""

    status: int
    text: str
    closes: bool


def dial(url: str) -> socket.socket:
    """Connect a client that sends its own bytes."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def ask(url: str, path: str = "/", *, timeout: float = PATIENCE) -> Answer:
    """Make one request over a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        return _exchange(connection, path)
    finally:
        connection.close()


def everybody(url: str, count: int) -> set[str]:
    """Ask over new connections until *count* different answers have come, or too many in all."""
    seen: set[str] = set()
    for _ in range(400):
        seen.add(ask(url).text)
        if len(seen) >= count:
            break
    return seen


def _exchange(connection: http.client.HTTPConnection, path: str) -> Answer:
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    closes = (response.getheader("Connection") or "").lower() == "close"
    return Answer(status=response.status, text=text, closes=closes)


@dataclass
class Visitors:
    """Clients in loops, half of them over new connections, half over kept ones.

    A context manager: they come when it is entered, and have gone when it is left.

    Every request has to be answered whole, with 200.  A client that is told `Connection: close`
    makes a new connection; nobody else has to.

    Attributes:
        url: whom they visit.
        count: of each kind.
        anew: whether the first kind comes.
        stay: whether the second does.
        path: what they ask for.
        pids: what has been answered, each text once.
        answers: how many.
        let_down: one line for each request that was not answered as it should be.
    """

    url: str
    count: int = 2
    anew: bool = True
    stay: bool = True
    path: str = "/"
    pids: set[str] = field(default_factory=set)
    answers: int = 0
    let_down: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare; nobody comes before the block is entered."""
        self._is_over = threading.Event()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for is_wanted, behave in ((self.anew, self._come_anew), (self.stay, self._stay)):
            for _ in range(self.count if is_wanted else 0):
                thread = threading.Thread(target=self._loop, args=(behave,), daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Have them finish their requests and go."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client still waits for its answer"

    def wait_for(self, answers: int, timeout: float = PATIENCE) -> None:
        """Wait until that many more *answers* have come, or somebody is let down."""
        with self._changed:
            aim = self.answers + answers
            assert self._changed.wait_for(lambda: self.let_down or self.answers >= aim, timeout)

    def _loop(self, behave: Callable[[], None]) -> None:
        while not self._is_over.is_set() and not self.let_down:
            behave()

    def _come_anew(self) -> None:
        with ExitStack() as stack:
            self._visit(self._connect(stack))

    def _stay(self) -> None:
        with ExitStack() as stack:
            connection = self._connect(stack)
            while self._visit(connection) and not self._is_over.is_set():
                pass

    def _connect(self, stack: ExitStack) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        connection.auto_open = False
        stack.callback(connection.close)
        try:
            connection.connect()
        except OSError as error:
            self._note(f"no connection: {error!r}")
        return connection

    def _visit(self, connection: http.client.HTTPConnection) -> bool:
        """Make one request; say whether another may follow on the connection."""
        try:
            answer = _exchange(connection, self.path)
        except (OSError, http.client.HTTPException) as error:
            self._note(f"no answer: {error!r}")
            return False
        if answer.status != 200:
            self._note(f"{answer.status} {answer.text}")
        with self._changed:
            self.pids.add(answer.text)
            self.answers += 1
            self._changed.notify_all()
        return not answer.closes

    def _note(self, what: str) -> None:
        with self._changed:
            self.let_down.append(what)
            self._changed.notify_all()

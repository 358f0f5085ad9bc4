"""One HTTP/1.1 client on a raw socket that tells exactly how a request failed.

What a library hides matters here: whether the connection was used before, and whether a byte of
the answer had come.  RFC 9112, section 9.3.1, lets a client repeat a request when a connection that
it used before ends without a byte; that is done once and counted.
"""

from __future__ import annotations

import enum
import socket
import time
from dataclasses import dataclass
from typing import Final

__all__ = ["Answer", "Broken", "Cause", "Client", "Result", "parse"]

# Seconds for a connection and for an answer: a busy machine is no error.
TIMEOUT: Final = 10.0


class Cause(enum.StrEnum):
    """How a request failed."""

    REFUSED = "refused"
    NOT_CONNECTED = "not connected"
    CLOSED = "closed before a byte"
    RESET = "reset before a byte"
    CUT = "cut in the answer"
    STATUS = "status 500 or above"
    WRONG = "wrong answer"
    TIMEOUT = "no answer in time"


UNANSWERED: Final = frozenset({Cause.CLOSED, Cause.RESET})


class Broken(Exception):  # noqa: N818  (a fact, like the names in asgibridge.errors)
    """A request got no good answer."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    worker: str
    """What the application calls its process; empty when something else answered."""
    keeps_alive: bool


@dataclass(slots=True, kw_only=True)
class Result:
    """One request from the wish to its end, a repetition included; times of CLOCK_MONOTONIC."""

    started: float
    ended: float
    worker: str = ""
    failed: Cause | None = None
    repeated: Cause | None = None
    """Why it was sent a second time, on a connection of its own; None: it was not."""
    repeated_after: float = 0.0
    """Seconds from the first sending to the end of that connection: a race takes next to none."""


def parse(received: bytes) -> Answer | None:
    """Read an answer with a Content-Length; None while it is not complete.

    Raises:
        Broken: These bytes are no such answer.
    """
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
    }
    try:
        version, status, *_ = first.split(b" ", 2)
        expected = int(headers[b"content-length"])
        answer = Answer(
            status=int(status),
            worker=headers.get(b"x-worker", b"").decode("latin-1"),
            keeps_alive=version == b"HTTP/1.1"
            and headers.get(b"connection", b"").lower() != b"close",
        )
    except (KeyError, ValueError) as error:
        raise Broken(Cause.WRONG) from error
    if len(body) > expected:
        raise Broken(Cause.WRONG)
    return answer if len(body) == expected else None


class Client:
    """Sends one request after the other, as a browser or a proxy would.

    Blocking, for a thread of its own: that costs a fraction of what an event loop does, and the
    clients share the machine with the server.
    """

    def __init__(self, port: int, *, is_kept: bool) -> None:
        """Say where to; *is_kept*: use a connection for as long as the server lets us."""
        self._port = port
        self._is_kept = is_kept
        self._socket: socket.socket | None = None
        self.closed_idle = 0
        """Kept connections that were found closed before a request was sent: no harm."""

    def request(self, path: str) -> Result:
        """Ask for *path*; never raises for what the server does."""
        started = time.monotonic()
        result = Result(started=started, ended=started)
        try:
            answer = self._ask(_request(path, is_kept=self._is_kept), result)
            result.worker = answer.worker
            result.failed = _judge(answer)
        except Broken as broken:
            result.failed = broken.cause
        result.ended = time.monotonic()
        return result

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: bytes, result: Result) -> Answer:
        """Send *request*, and once more if a connection that was used before ends unanswered.

        Raises:
            Broken: There was no answer, or not all of it.
        """
        kept = self._kept()
        if kept is not None:
            sent = time.monotonic()
            try:
                return self._exchange(kept, request)
            except Broken as broken:
                if broken.cause not in UNANSWERED:
                    raise
                result.repeated = broken.cause
                result.repeated_after = time.monotonic() - sent
        return self._exchange(self._connected(), request)

    def _kept(self) -> socket.socket | None:
        """Return the connection that we have, if it still stands."""
        if self._socket is None:
            return None
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._socket.settimeout(TIMEOUT)
            return self._socket
        except OSError:
            pass  # reset
        # Ended, or answered without being asked.
        self.closed_idle += 1
        self.close()
        return None

    def _connected(self) -> socket.socket:
        """Return a fresh connection.

        Raises:
            Broken: There is none to be had.
        """
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
        except ConnectionRefusedError as error:
            raise Broken(Cause.REFUSED) from error
        except OSError as error:  # a timeout is one as well
            raise Broken(Cause.NOT_CONNECTED) from error
        return self._socket

    def _exchange(self, connection: socket.socket, request: bytes) -> Answer:
        """Send *request* and wait for the whole answer; keep the connection if both sides want.

        Raises:
            Broken: There was none, or not all of it, in time.
        """
        try:
            answer = _receive(connection, request)
        except Broken:
            self.close()
            raise
        if not (self._is_kept and answer.keeps_alive):
            self.close()
        return answer


def _receive(connection: socket.socket, request: bytes) -> Answer:
    received = b""
    try:
        connection.sendall(request)
        while (answer := parse(received)) is None:
            data = connection.recv(65536)
            if not data:
                raise Broken(Cause.CUT if received else Cause.CLOSED)
            received += data
    except TimeoutError as error:
        raise Broken(Cause.TIMEOUT) from error
    except OSError as error:
        raise Broken(Cause.CUT if received else Cause.RESET) from error
    return answer


def _request(path: str, *, is_kept: bool) -> bytes:
    """Build the bytes of a GET."""
    close = "" if is_kept else "Connection: close\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{close}\r\n".encode()


def _judge(answer: Answer) -> Cause | None:
    """Say what is wrong with a complete *answer*."""
    if answer.status >= 500:
        return Cause.STATUS
    return None if answer.status == 200 else Cause.WRONG

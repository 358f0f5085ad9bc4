"""What a supervisor and a worker say to each other: one message a line, over a socket pair.

Orders go down, reports come up.  The end of the stream is a message too: the other one is dead.
Signals are not used for this: they come from anybody, and say nothing but a number.
"""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Asked",
    "Channel",
    "Due",
    "Dump",
    "Failed",
    "Message",
    "Ready",
    "Reopen",
    "Stop",
    "Unlistened",
]

# Bytes.  A traceback of a deep recursion is longer than the pair's buffer: cut, it still tells.
_MAX_TEXT: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Order: drain and exit.

    Attributes:
        grace: seconds at most.
        is_quick: cut what is in flight now.
        is_retiring: other workers go on; leave to them whoever waits in the kernel's queues.
    """

    kind: ClassVar[str] = "stop"
    grace: float
    is_quick: bool
    is_retiring: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """Order: log what is in flight, and the stacks of all threads and tasks."""

    kind: ClassVar[str] = "dump"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen:
    """Order: reopen log files."""

    kind: ClassVar[str] = "reopen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Report: the application is started and the listeners are watched."""

    kind: ClassVar[str] = "ready"
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Report: the start failed; the process exits next.

    Attributes:
        message: what went wrong, and the next step.
        trace: the traceback of the application's own exception; "" if there is none.
    """

    kind: ClassVar[str] = "failed"
    message: str
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Report: this worker should be replaced, for *reason*."""

    kind: ClassVar[str] = "due"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Report: somebody else has sent this worker SIGTERM."""

    kind: ClassVar[str] = "asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlistened:
    """Report: everybody who was queued has been taken, and the listeners are closed here."""

    kind: ClassVar[str] = "unlistened"


Message: TypeAlias = Stop | Dump | Reopen | Ready | Failed | Due | Asked | Unlistened

_KINDS: Final = {
    message.kind: message for message in (Stop, Dump, Reopen, Ready, Failed, Due, Asked, Unlistened)
}


class Channel:
    """One end of the pair.  Sending: any thread; receiving: one thread."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over *sock*."""
        self._socket = sock
        self._received = b""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends: the supervisor's, which never blocks, and the worker's."""
        above, below = socket.socketpair()
        above.setblocking(False)  # noqa: FBT003 - the name of the method says it
        below.settimeout(None)
        return cls(above), cls(below)

    def fileno(self) -> int:
        """Tell the descriptor, for a poll; -1 when closed."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send *message*; to nobody, if the other end is gone or does not read."""
        fields = {
            name: value[:_MAX_TEXT] if isinstance(value, str) else value
            for name, value in asdict(message).items()
        }
        line = json.dumps([message.kind, fields]).encode("ascii") + b"\n"
        with contextlib.suppress(OSError):
            self._socket.sendall(line)

    def receive(self) -> Iterator[Message]:
        """Yield what has come, waiting for it if this end waits at all.

        Raises:
            EOFError: the other end is gone, and everything it said has been yielded.
        """
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            kind, fields = json.loads(line)
            yield _KINDS[kind](**fields)
        if not data:
            raise EOFError

    def close(self) -> None:
        """Close this end; the other one hears of it."""
        self._socket.close()

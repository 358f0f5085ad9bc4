"""Fakes at ports: a loop that a test turns by hand, listeners, clients and transports in memory."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from asgibridge.net.gate import Standing
from asgibridge.net.sockets import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.net.gate import Gate

__all__ = ["FakeHandle", "FakeLoop", "FakeMember", "FakeSocket", "FakeTransport", "fake_listener"]


class FakeHandle:
    """Something that a `FakeLoop` will call, unless it is cancelled."""

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Call *callback* with *args* at *when*."""
        self.when = when
        self.is_cancelled = False
        self._callback = callback
        self._args = args

    def cancel(self) -> None:
        """Do not call."""
        self.is_cancelled = True

    def run(self) -> None:
        """Call."""
        self._callback(*self._args)


class FakeLoop:
    """An event loop without a thread of control: a test moves its time and picks what runs next.

    Readers are level-triggered: a watched descriptor is due as long as something waits in it.

    Attributes:
        now: what `time` returns.
        early: seconds by which timers may be called too early, as libuv does.
    """

    def __init__(self, *, now: float = 100.0, early: float = 0.0) -> None:
        """Stand at *now*."""
        self.now = now
        self.early = early
        self.is_closed = False
        self._lock = threading.Lock()  # `call_soon_threadsafe` is what it says
        self._handles: list[FakeHandle] = []
        self._readers: dict[Any, FakeHandle] = {}

    # --- what the code under test calls

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: object) -> FakeHandle:
        return self.call_at(self.now, callback, *args)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> FakeHandle:
        if self.is_closed:
            raise RuntimeError("Event loop is closed")
        return self.call_soon(callback, *args)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object
    ) -> FakeHandle:
        return self.call_at(self.now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> FakeHandle:
        handle = FakeHandle(when, callback, args)
        with self._lock:
            self._handles.append(handle)
        return handle

    def add_reader(self, file: Any, callback: Callable[..., object], *args: object) -> None:  # noqa: ANN401
        self._readers[file] = FakeHandle(0.0, callback, args)

    def remove_reader(self, file: Any) -> bool:  # noqa: ANN401
        return self._readers.pop(file, None) is not None

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    # --- what the test calls

    def as_loop(self) -> asyncio.AbstractEventLoop:
        """Return itself, typed as what it stands for."""
        return cast("asyncio.AbstractEventLoop", self)

    @property
    def watched(self) -> set[Any]:
        """The files with a reader."""
        return set(self._readers)

    def timers(self) -> list[FakeHandle]:
        """List what is to be called, now or later."""
        with self._lock:
            self._handles = [handle for handle in self._handles if not handle.is_cancelled]
            return list(self._handles)

    def due(self) -> list[FakeHandle]:
        """List what a real loop could call now, in the order of its making."""
        timers = [handle for handle in self.timers() if handle.when <= self.now + self.early]
        return timers + [
            handle for file, handle in self._readers.items() if file.has_something_to_read()
        ]

    def run_one(self, position: int = 0) -> None:
        """Call one of those that are due, counted around."""
        due = self.due()
        handle = due[position % len(due)]
        with self._lock:
            if handle in self._handles:
                self._handles.remove(handle)
        handle.run()

    def settle(self) -> None:
        """Call what is due until nothing is."""
        for _ in range(10_000):
            if not self.due():
                return
            self.run_one()
        raise AssertionError("the loop spins: something is due for ever")

    def advance(self, seconds: float) -> None:
        """Let time go by, from timer to timer, calling what becomes due."""
        until = self.now + seconds
        self.settle()
        while timers := [handle.when for handle in self.timers() if handle.when <= until]:
            self.now = max(self.now, min(timers))
            self.settle()
        self.now = until
        self.settle()


class FakeSocket:
    """A listening socket whose clients are bytes in a pipe, so that poll(2) sees them.

    Attributes:
        errors: raised by the next calls of `accept`, each with its client left waiting.
        accepted: the number of clients taken.
    """

    family = socket.AF_UNIX

    def __init__(self) -> None:
        """Listen, with nobody waiting."""
        self.errors: deque[OSError] = deque()
        self.accepted = 0
        self.waiting = 0
        self.is_closed = False
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)

    def arrive(self) -> None:
        """A client joins the queue."""
        os.write(self._writing, b"c")
        self.waiting += 1

    def vanish(self) -> None:
        """A client leaves the queue, or another process takes it."""
        with suppress(BlockingIOError):
            os.read(self._reading, 1)
            self.waiting -= 1

    def has_something_to_read(self) -> bool:
        return self.waiting > 0

    def accept(self) -> tuple[object, object]:
        if self.errors and self.waiting:
            raise self.errors.popleft()
        os.read(self._reading, 1)
        self.waiting -= 1
        self.accepted += 1
        return object(), ("192.0.2.1", 1)

    def fileno(self) -> int:
        return self._reading

    def listen(self, backlog: int) -> None:
        """Take any backlog."""

    def close(self) -> None:
        """Close; twice is fine."""
        if not self.is_closed:
            self.is_closed = True
            os.close(self._reading)
            os.close(self._writing)


def fake_listener(sock: FakeSocket) -> Listener:
    """Make a listener of *sock*, typed as what it stands for."""
    listener = object.__new__(Listener)
    listener.socket = cast("socket.socket", sock)
    return listener


class FakeMember:
    """A connection as gate and acceptor see it; its socket closes right after it has left.

    Attributes:
        has_input: whether something has just come in, so that it may not be evicted.
        is_evicted: whether it was closed for others.
    """

    def __init__(self, gate: Gate, loop: FakeLoop) -> None:
        """Stand outside."""
        self.standing = Standing.OUTSIDE
        self.has_input = False
        self.is_evicted = False
        self.is_socket_open = True
        self._gate = gate
        self._loop = loop

    def try_evict(self) -> bool:
        if self.has_input or self.is_evicted:
            return False
        self.is_evicted = True
        self._loop.call_soon(self.lose)
        return True

    def lose(self) -> None:
        """Do what a transport does: tell the protocol, then close the socket."""
        if self.is_socket_open:
            self._gate.leave(self)
            self.is_socket_open = False


class FakeTransport(asyncio.Transport):
    """Keeps what is written until the test lets the client read it.

    Attributes:
        sent: what the client has read.
        buffered: what it has not.
        calls: the names of the calls that end something, in order.
    """

    def __init__(self, *, high_water: int = 65536) -> None:
        """Be open, and read."""
        super().__init__()
        self.sent = b""
        self.buffered = b""
        self.calls: list[str] = []
        self.protocol: Any = None
        self.shutdown_error: OSError | None = None
        self._high_water = high_water
        self._is_closing = False
        self._is_reading = True
        self._is_paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def client_reads(self, size: int | None = None) -> None:
        """Let the client take *size* bytes of what is buffered, or all."""
        size = len(self.buffered) if size is None else size
        self.sent += self.buffered[:size]
        self.buffered = self.buffered[size:]
        if self._is_paused and len(self.buffered) <= self._high_water // 4:
            self._is_paused = False
            self.protocol.resume_writing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._is_closing, "write() to a transport that is closing"
        assert "write_eof" not in self.calls, "write() after write_eof()"
        self.buffered += bytes(data)
        if len(self.buffered) > self._high_water and not self._is_paused:
            self._is_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:  # noqa: ANN401 - the port's own type
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return len(self.buffered)

    def write_eof(self) -> None:
        if self.shutdown_error is not None:
            raise self.shutdown_error
        self.calls.append("write_eof")

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.calls.append("close")

    def abort(self) -> None:
        self._is_closing = True
        self.buffered = b""
        self.calls.append("abort")

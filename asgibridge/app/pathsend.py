"""`http.response.pathsend`: a file as the body of an ASGI response, named by its path.  [ASGI-2]

The kernel sends it where it can; elsewhere a pool thread reads it, piece by piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from asgibridge.app.files import MAX_FILE_READ
from asgibridge.errors import ClientDisconnected, ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgibridge.app.threads import ThreadPool
    from asgibridge.interfaces import Exchange

    Start = tuple[int, bytes, Iterable[Any]]

__all__ = ["FileReading", "send_path"]

# Bytes that a thread reads at a time.
_PIECE: Final = 262144


class FileReading:
    """Reads a piece of a file: work for a pool thread.

    It has a descriptor of its own: whoever waits may be cancelled, and close theirs, meanwhile.

    Attributes:
        done: the bytes, or what reading raised.
    """

    def __init__(self, fd: int, offset: int, count: int) -> None:
        """Prepare to read *count* bytes of *fd* from *offset* for the running loop."""
        self._loop = asyncio.get_running_loop()
        self._fd = os.dup(fd)
        self._place = count, offset
        self.done: asyncio.Future[bytes] = self._loop.create_future()

    def run(self) -> None:
        """Read, and tell the loop.  Thread: pool."""
        data: bytes | None = None
        error: OSError | None = None
        try:
            data = os.pread(self._fd, *self._place)
        except OSError as caught:
            error = caught
        finally:
            os.close(self._fd)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._tell, data, error)

    def _tell(self, data: bytes | None, error: OSError | None) -> None:
        if self.done.cancelled():
            return
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(data or b"")


async def send_path(
    exchange: Exchange, path: str, start: Start, threads: Callable[[], ThreadPool[Any]]
) -> None:
    """Answer *exchange* with status, line and headers of *start* and the file at *path*.

    Starlette has looked at the file in a thread right before, so opening it here waits for no disk.

    Args:
        exchange: whose head has not been rendered.
        path: of a regular file.
        start: status code, status line, headers.
        threads: gives the pool that reads where the kernel cannot send.

    Raises:
        OSError: the file cannot be opened or read.
        ResponseError: it is no regular file, or shorter than the response declares.
        ClientDisconnected: the client is gone.
    """
    # Without O_NONBLOCK opening a FIFO would wait for somebody who writes to it.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ResponseError(f"{path!r} is no regular file")
        response = exchange.response
        if not exchange.is_body_complete:
            exchange.give_up_body()
        head = response.start_file(*start, status.st_size)
        count = response.body_bytes
        if count <= MAX_FILE_READ:
            exchange.finish([head, _read_whole(fd, count)])
        elif exchange.may_send_file:
            exchange.send_file([head], os.dup(fd), 0, count)
        else:
            exchange.write([head])
            await _send_in_pieces(exchange, fd, count, threads())
    finally:
        os.close(fd)


def _read_whole(fd: int, count: int) -> bytes:
    data = os.pread(fd, count, 0) if count else b""
    _check(data, count)
    return data


async def _send_in_pieces(exchange: Exchange, fd: int, count: int, pool: ThreadPool[Any]) -> None:
    offset = 0
    while offset < count:
        size = min(_PIECE, count - offset)
        reading = FileReading(fd, offset, size)
        pool.submit((reading,))
        data = await reading.done
        _check(data, size)
        offset += size
        if exchange.is_gone:
            raise ClientDisconnected("the client is gone")
        if offset == count:
            exchange.finish([data])
            return
        exchange.write([data])
        if exchange.must_wait():
            await exchange.wait_writable()


def _check(data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise ResponseError(f"the file ended {expected - len(data)} bytes too early")

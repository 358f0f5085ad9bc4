"""Send a piece of a file from the kernel's cache, on the loop, without a thread."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

    from asgibridge.net.connection import Connection

__all__ = ["FileSender"]

# Bytes per call: enough to fill a socket buffer, little enough that a cold disk holds up the loop
# for one read-ahead only.
_STEP: Final = 262144


class FileSender:
    """Sends `left` bytes of a file behind what the transport has buffered.  Loop thread only.

    The loop forbids watching a descriptor that a transport owns, so a duplicate is watched: the
    same open socket under another number.

    Attributes:
        is_copying: the file is read and given to the transport, which encrypts it.
        left: bytes not yet handed to the kernel.
    """

    __slots__ = ("_connection", "_fd", "_offset", "_socket", "is_copying", "left")

    def __init__(
        self, connection: Connection, sock: socket.socket, fd: int, offset: int, count: int
    ) -> None:
        """Prepare to send *count* bytes of *fd* from *offset*; *fd* is closed in the end."""
        self._connection = connection
        self._socket = sock.dup()
        self._fd = fd
        self._offset = offset
        self.is_copying = False
        self.left = count

    def start(self) -> None:
        """Begin when the transport has nothing left to send."""
        self._connection.expect_progress()
        self._connection.loop.add_writer(self._socket, self._on_writable)

    def close(self) -> None:
        """Give the descriptors back; a second call does nothing."""
        if self._fd >= 0:
            self._connection.loop.remove_writer(self._socket)
            self._socket.close()
            os.close(self._fd)
            self._fd = -1

    def _on_writable(self) -> None:
        transport = self._connection.transport
        if transport.is_closing() or transport.get_write_buffer_size():
            # The head goes first; level-triggered, so we are called again.  Nothing follows a head
            # that will never be sent whole.
            return
        try:
            sent = self._send_some(min(self.left, _STEP))
        except BlockingIOError:
            return
        except OSError:
            self._finish(is_whole=False)
            return
        if sent:
            self._offset += sent
            self.left -= sent
            self._connection.expect_progress()
        if not sent or not self.left:
            self._finish(is_whole=not self.left)

    def _send_some(self, count: int) -> int:
        if not self.is_copying:
            return os.sendfile(self._socket.fileno(), self._fd, self._offset, count)
        data = os.pread(self._fd, count, self._offset)
        self._connection.write([data])
        return len(data)

    def _finish(self, *, is_whole: bool) -> None:
        self.close()
        self._connection.on_file_sent(is_whole=is_whole)

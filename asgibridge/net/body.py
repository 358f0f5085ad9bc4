"""A request body, read by the loop and kept for a pool thread: in memory, then in a file."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BodyBuffer"]


class BodyBuffer:
    """Collects a body: up to `max_memory` bytes in memory, beyond that in a temporary file.

    Attributes:
        size: bytes collected.
    """

    __slots__ = ("_claim", "_file", "_max_memory", "size")

    def __init__(self, max_memory: int) -> None:
        """Start empty."""
        self._claim = threading.Lock()
        self._max_memory = max_memory
        self._file: BinaryIO = io.BytesIO()
        self.size = 0

    def add(self, pieces: Sequence[bytes]) -> None:
        """Append *pieces*.

        They are joined at once: a client that sends one byte a chunk must not cost an object each.

        Raises:
            OSError: the temporary file can't be made or written (disk full).
        """
        data = b"".join(pieces)
        self.size += len(data)
        if self.size > self._max_memory and isinstance(self._file, io.BytesIO):
            spilled = tempfile.TemporaryFile(prefix="asgibridge-body-")  # noqa: SIM115 - close()
            spilled.write(self._file.getbuffer())
            self._file = spilled
        self._file.write(data)
        # Now, where a full disk can be answered with 507, not when a thread rewinds the file.
        self._file.flush()

    def try_claim(self) -> bool:
        """Take the right to `open` or `close`; return False if it has gone.  Thread: any.

        A thread comes to read the body when the loop, whose client has left, throws it away.
        """
        return self._claim.acquire(blocking=False)

    def open(self) -> BinaryIO:
        """Return the body as a file at its start.  The caller closes it."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Throw the body away."""
        with contextlib.suppress(OSError):  # what could not be written before cannot be now
            self._file.close()

"""`wsgi.file_wrapper` (PEP 3333): a file that the server may send without reading it."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_FILE_READ", "FileWrapper"]

# Files up to here are read and sent like any body: cheaper than setting up sendfile(2).
MAX_FILE_READ: Final = 65536


class FileWrapper:
    """Wraps a file-like object as a response body.

    Attributes:
        file: what was wrapped.
    """

    def __init__(self, file: Any, block_size: int = 65536) -> None:  # noqa: ANN401 - file-like
        """Wrap *file*; *block_size* is how much is read at a time if it must be read."""
        self.file = file
        self._block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self._block_size), b"")

    def close(self) -> None:
        """Close the file if it can be closed."""
        close = getattr(self.file, "close", None)
        if close is not None:
            close()

    def span(self) -> tuple[int, int, int] | None:
        """Return descriptor, offset and number of bytes left, or None if it is no regular file.

        An object with a `fileno` but with contents of its own, such as a compressed file or one
        opened for text, reads other things than its descriptor holds: only plain files count.
        """
        if type(getattr(self.file, "raw", self.file)) is not io.FileIO:
            return None
        try:
            fd = self.file.fileno()
            offset = self.file.tell()
            status = os.fstat(fd)
        except (AttributeError, OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return fd, offset, max(0, status.st_size - offset)

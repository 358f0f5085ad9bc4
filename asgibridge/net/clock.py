"""The headers that every response carries, built once a second."""

from __future__ import annotations

import time
from email.utils import formatdate

__all__ = ["HeaderClock"]


class HeaderClock:
    """Renders `Server` and `Date`.

    Used from the loop and from pool threads.  Two threads may rebuild the lines in the same
    second; they write the same bytes, and each replaces one reference, so nothing is torn.
    """

    __slots__ = ("_built", "_server")

    def __init__(self, *, server_header: bool) -> None:
        """Prepare the lines; *server_header* says whether `Server` is one of them."""
        self._server = b"Server: asgibridge\r\n" if server_header else b""
        self._built: tuple[int, bytes, bytes] = (-1, b"", b"")

    def _current(self) -> tuple[int, bytes, bytes]:
        now = int(time.time())
        built = self._built
        if built[0] != now:
            date = b"Date: %b\r\n" % formatdate(now, usegmt=True).encode("ascii")
            self._built = built = (now, self._server + date, date)
        return built

    def lines(self) -> bytes:
        """Return all default header lines, each with its CRLF."""
        built = self._built
        if built[0] != int(time.time()):
            built = self._current()
        return built[1]

    def lines_without(self, names: set[bytes]) -> bytes:
        """Return the default header lines whose lower-case names are not in *names*."""
        date = b"" if b"date" in names else self._current()[2]
        server = b"" if b"server" in names else self._server
        return server + date

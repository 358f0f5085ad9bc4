"""The access log: when records are written, and where to.

Nothing is formatted or written while a client waits: the server makes one `AccessRecord` and
`AccessLog.write` appends it; `AccessLog.flush` makes and writes the lines, in batches.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final, TextIO

from asgibridge.ops.atoms import AccessRecord, compile_format

__all__ = [
    "ACCESS_LOGGER",
    "GENERAL_LOGGER",
    "AccessLog",
    "AccessRecord",
    "LineHandler",
    "compile_format",
]

GENERAL_LOGGER: Final = "asgibridge"
ACCESS_LOGGER: Final = "asgibridge.access"

# Records: 50 ms' worth at 20,000 requests a second; so many are written in 3 ms (JSON: 8 ms).
MAX_WAITING: Final = 1000


class _Trouble:
    """Tells the general log when access lines begin to get lost, and when that ends."""

    def __init__(self) -> None:
        self._lost = 0

    def lost(self, lines: int, error: BaseException) -> None:
        began = self._lost == 0
        self._lost += lines
        if began:
            logging.getLogger(GENERAL_LOGGER).error("access log cannot be written error=%r", error)

    def over(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            logging.getLogger(GENERAL_LOGGER).warning("access log is written again lost=%d", lost)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, many at a time.  A stream that fails is spoken of once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._trouble = _Trouble()

    def write_lines(self, lines: list[str]) -> None:
        """Write *lines* with one call.  Thread: any.  Never raises for a failing stream."""
        text = "\n".join(lines) + "\n"
        self.acquire()
        try:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:  # Only literal text of the format can be non-ASCII.
                self.stream.write(text.encode("ascii", "backslashreplace").decode())
            self.stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed.
            self._trouble.lost(len(lines), error)
        else:
            self._trouble.over()
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, for the loggers and formatters that need it whole."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a formatter may be the user's code
            self._trouble.lost(1, error)
        else:
            self.write_lines([line])


class AccessLog:
    """Collects access records and writes them in batches.

    Free of the GIL: `deque.append` and `deque.popleft` lock the deque by themselves, on every build
    of CPython.  `_is_flush_owed` needs no lock because of the order: `write` appends, then reads
    it; `flush` clears it, then pops until nothing is left.  So either the flush finds the record,
    or its writer finds the flag cleared and asks for another flush.  The worst of a race between
    two writers is one flush too many.

    Attributes:
        max_waiting: How many records may wait; the writer of the last one writes them all.
            Twice as many are in memory at most: waiting, and being written.
    """

    def __init__(
        self, fmt: str, logger: logging.Logger | None = None, *, max_waiting: int = MAX_WAITING
    ) -> None:
        """Compile *fmt*; lines go to the handlers of *logger* (default: `asgibridge.access`).

        Raises:
            SettingsError: *fmt* is wrong.
        """
        self.max_waiting = max_waiting
        self._line = compile_format(fmt)
        self._logger = logger or logging.getLogger(ACCESS_LOGGER)
        self._waiting: deque[AccessRecord] = deque()
        self._is_flush_owed = False
        self._writing = threading.Lock()  # One flush at a time: keeps lines in order.
        self._trouble = _Trouble()

    def write(self, record: AccessRecord) -> bool:
        """Take *record*.  Return True when the caller should arrange a `flush` soon (0.5 s).

        Thread: any.  True comes once, until that flush has been called.
        """
        waiting = self._waiting
        waiting.append(record)
        if len(waiting) >= self.max_waiting:
            self._drain()  # The flush that is owed stays owed: its timer is running.
        if self._is_flush_owed:
            return False
        self._is_flush_owed = True
        return True

    def flush(self) -> None:
        """Write everything that waits.  Thread: any.  Call it once more when all is over."""
        self._is_flush_owed = False
        self._drain()

    def _drain(self) -> None:
        with self._writing:
            pop = self._waiting.popleft
            batch: list[AccessRecord] = []
            try:
                while True:  # Ends: a pop takes far less time than the request behind an append.
                    batch.append(pop())
            except IndexError:
                pass
            if batch and self._logger.isEnabledFor(logging.INFO):
                self._hand_over(batch)

    def _hand_over(self, batch: list[AccessRecord]) -> None:
        """Give *batch* to the logger's handlers: ours all lines at once, others one by one."""
        handler = self._sole_handler()
        if handler is not None:
            handler.write_lines([self._line(record) for record in batch])
            return
        for record in batch:
            try:
                self._logger.handle(self._log_record(record))
            except Exception as error:  # noqa: BLE001 - filters and handlers are the user's code
                self._trouble.lost(1, error)
            else:
                self._trouble.over()

    def _sole_handler(self) -> LineHandler | None:
        """Return our handler if nobody else looks at the records, so that lines can be joined."""
        logger = self._logger
        if len(logger.handlers) != 1 or logger.filters or (logger.propagate and logger.parent):
            return None
        handler = logger.handlers[0]
        if type(handler) is not LineHandler or handler.filters or handler.formatter:
            return None
        return handler if handler.level <= logging.INFO else None

    def _log_record(self, record: AccessRecord) -> logging.LogRecord:
        """Dress *record* for logging: when and where it happened, not when it is written."""
        line = logging.LogRecord(
            self._logger.name, logging.INFO, "", 0, self._line(record), None, None
        )
        line.created = record.started + record.duration
        line.msecs = line.created % 1 * 1000
        line.thread = record.thread_id or line.thread
        line.threadName = record.thread_name or line.threadName
        line.access = record  # For formatters and filters that want the values.
        return line

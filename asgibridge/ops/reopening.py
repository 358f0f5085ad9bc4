"""Reopen log files after a tool such as logrotate has moved them away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reopen_log_files"]

logger = logging.getLogger("asgibridge")


def reopen_log_files() -> int:
    """Have every file handler of every logger write to a new file of its name; count them.

    A handler whose file cannot be opened keeps the old one, and the log tells.
    """
    count = 0
    for handler in _file_handlers():
        handler.acquire()
        try:
            new = handler._open()  # noqa: SLF001 - what `FileHandler` lets subclasses override
            old, handler.stream = handler.stream, new
            if old is not None:  # not yet opened: `delay`
                old.close()
            count += 1
        except OSError as error:
            logger.error("cannot reopen %s: %s", handler.baseFilename, error.strerror)  # noqa: TRY400
        finally:
            handler.release()
    logger.info("log files reopened count=%d", count)
    return count


def _file_handlers() -> Iterator[logging.FileHandler]:
    loggers: list[object] = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    seen: set[logging.Handler] = set()
    for each in loggers:
        for handler in each.handlers if isinstance(each, logging.Logger) else ():
            if isinstance(handler, logging.FileHandler) and handler not in seen:
                seen.add(handler)
                yield handler

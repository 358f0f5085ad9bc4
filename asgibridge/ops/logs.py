"""Logs for operators: which loggers, which handlers, which shape.

`configure` is called once, by whoever runs the server as a program.  Embedded in another program
nothing is configured, and records go wherever that program sends them.
"""

from __future__ import annotations

import difflib
import json
import logging
import logging.config
import os
import re
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO

from asgibridge.errors import SettingsError
from asgibridge.ops.access import ACCESS_LOGGER, GENERAL_LOGGER, LineHandler
from asgibridge.ops.atoms import JSON_ALIAS, compile_format, well_formed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JsonFormatter", "TextFormatter", "configure"]

_LEVELS: Final = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}

# ANSI "select graphic rendition".  By level, so that user-defined levels get the one below them.
_COLORS: Final = (
    (logging.CRITICAL, "\x1b[1;31m"),
    (logging.ERROR, "\x1b[31m"),
    (logging.WARNING, "\x1b[33m"),
    (logging.INFO, "\x1b[32m"),
    (logging.NOTSET, "\x1b[36m"),
)
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"

# What would move a terminal's cursor, or end a line for some reader of the file: C0 but tab and
# line feed, DEL, C1, and Unicode's two separators; and surrogates, which no stream can encode.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _GeneralHandler(logging.StreamHandler[TextIO]):
    """A stream handler that `configure` can tell from anybody else's."""


def configure(  # noqa: PLR0913 - the settings of logging
    level: str = "info",
    *,
    fmt: Literal["text", "json"] = "text",
    access: bool = False,
    access_format: str = "combined",
    config_file: str | None = None,
    colors: bool | None = None,
    shows_pid: bool = False,
) -> None:
    """Set up the loggers `asgibridge` (to stderr) and `asgibridge.access` (to stdout).

    The root logger and all others stay as they are, and so do handlers that others have put on
    these two.  Calling it again replaces what the last call did.

    Args:
        level: Name of the least level of the general log.
        fmt: "text", or "json" for one object a line, in both logs.
        access: Whether access records are wanted; they do not depend on *level*.
        access_format: As `compile_format` takes it.
        config_file: A JSON or TOML file in the form of `logging.config.dictConfig`.  It is applied
            instead of *level*, *fmt* and *colors*.  Loggers it does not name stay enabled.
        colors: Whether text is coloured; None: if stderr is a terminal and NO_COLOR is not set.
        shows_pid: Whether lines of text tell which process wrote them; JSON always does.

    Raises:
        SettingsError: *level*, *fmt*, *access_format* or *config_file* is wrong.
    """
    compile_format(access_format)
    if config_file is not None:
        _apply_file(config_file)
        return
    number = _level_number(level)
    use_colors = _are_colors_wanted() if colors is None else colors
    formatter = _formatter(fmt, use_colors=use_colors, shows_pid=shows_pid)
    _forget()
    general = _new_logger(GENERAL_LOGGER, number)
    if sys.stderr is not None:  # None in a process without standard streams.
        handler = _GeneralHandler(sys.stderr)
        handler.setFormatter(formatter)
        general.addHandler(handler)
    access_logger = _new_logger(ACCESS_LOGGER, logging.INFO)
    if access and sys.stdout is not None:
        lines = LineHandler(sys.stdout)
        if fmt == "json" and access_format != JSON_ALIAS:
            lines.setFormatter(JsonFormatter())  # So that stdout is JSON from end to end.
        access_logger.addHandler(lines)


def _formatter(fmt: str, *, use_colors: bool, shows_pid: bool) -> logging.Formatter:
    if fmt == "json":
        return JsonFormatter()
    if fmt == "text":
        return TextFormatter(use_colors=use_colors, shows_pid=shows_pid)
    raise SettingsError([f"log_format: {fmt!r} is no format; use text or json"])


def _level_number(level: str) -> int:
    number = _LEVELS.get(level.lower())
    if number is not None:
        return number
    near = difflib.get_close_matches(level.lower(), _LEVELS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"use {', '.join(_LEVELS)}"
    raise SettingsError([f"log_level: {level!r} is no level; {hint}"])


def _new_logger(name: str, level: int) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.propagate = False
    logger.disabled = False
    return logger


def _forget() -> None:
    """Undo an earlier `configure`."""
    for name in (GENERAL_LOGGER, ACCESS_LOGGER):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, _GeneralHandler | LineHandler):
                logger.removeHandler(handler)
                handler.close()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def _are_colors_wanted() -> bool:
    """Follow no-color.org: any value but an empty one turns colours off."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stderr is not None and sys.stderr.isatty()


def _apply_file(config_file: str) -> None:
    """Hand *config_file* to `dictConfig`.

    Raises:
        SettingsError: It cannot be read, or says something that cannot be done.
    """
    settings = _read(config_file)
    # Two defaults differ from the standard library's: the version may be left out, and
    # loggers which exist already, the application's among them, are not silenced.
    settings = {"version": 1, "disable_existing_loggers": False, **settings}
    _forget()
    try:
        logging.config.dictConfig(settings)
    except Exception as error:  # It imports and calls what the user named: anything may be raised.
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise SettingsError(
            [f"log_config: {config_file}: {error}{cause}; see logging.config.dictConfig"]
        ) from error


def _read(config_file: str) -> dict[str, object]:
    path = Path(config_file)
    readers: dict[str, Callable[[str], object]] = {".json": json.loads, ".toml": tomllib.loads}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SettingsError(
            [f"log_config: {config_file}: name it .json or .toml, to tell its form"]
        )
    try:
        settings = reader(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(
            [f"log_config: cannot read {config_file}: {error.strerror}; check path and permissions"]
        ) from error
    except (
        ValueError
    ) as error:  # Both readers' errors are kinds of it, and so is UnicodeDecodeError.
        form = path.suffix[1:].upper()
        raise SettingsError(
            [f"log_config: {config_file} is not {form}: {error}; correct the file"]
        ) from error
    if not isinstance(settings, dict):
        raise SettingsError(
            [f"log_config: {config_file} holds no object; it needs the form of dictConfig"]
        )
    return settings


# --- formatters ----------------------------------------------------------------------------------


def _text_of(value: object) -> str:
    """Return `str(value)`, or what can be said of a value that does not let itself be printed."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - the __str__ of anything: user code
        return f"<{type(value).__name__}: its str() raised {type(error).__name__}>"


def _message_of(record: logging.LogRecord) -> str:
    """Return the message; with arguments that do not fit it, the two side by side."""
    if not record.args:
        return _text_of(record.msg)
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the __str__ or __format__ of anything: user code
        arguments = record.args.values() if isinstance(record.args, dict) else record.args
        return " ".join([_text_of(record.msg), *map(_text_of, arguments)])


def _seconds_of(record: logging.LogRecord) -> float:
    """Return when *record* was made; now, for a time that no calendar has."""
    try:
        datetime.fromtimestamp(record.created, UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        return time.time()
    return record.created


def _exception_of(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """Return the traceback as text.  Not kept in *record*: another handler formats for itself."""
    if record.exc_info:
        try:
            return formatter.formatException(record.exc_info)
        except Exception:  # noqa: BLE001 - the __str__ of an exception: user code
            return _text_of(record.exc_info[1])
    return record.exc_text or None


class TextFormatter(logging.Formatter):
    r"""Renders `2026-11-23 04:39:01.123+0100 INFO     message`, in local time.

    With `[4711]` before the message, if several processes write to one place.

    Only records begin at the first column: further lines are indented, and control characters
    written as `\xHH`.  So nothing that a client sent can pass for a record or steer a terminal.
    """

    def __init__(self, *, use_colors: bool = False, shows_pid: bool = False) -> None:
        super().__init__()
        self._use_colors = use_colors
        self._shows_pid = shows_pid

    def format(self, record: logging.LogRecord) -> str:
        """Render *record*.  Never raises."""
        parts = [_message_of(record), _exception_of(self, record), record.stack_info]
        text = "\n".join(part for part in parts if part)
        if not (text.isascii() and text.isprintable()):
            text = _UNSAFE.sub(_visible, text).replace("\n", "\n    ")
        seconds = _seconds_of(record)
        milliseconds = f"{int(seconds % 1 * 1000):03d}"
        moment = time.strftime(f"%Y-%m-%d %H:%M:%S.{milliseconds}%z", time.localtime(seconds))
        if self._shows_pid:
            text = f"[{record.process}] {text}"
        if not self._use_colors:
            return f"{moment} {record.levelname:<8} {text}"
        number = record.levelno or logging.NOTSET  # None in a record made from nothing.
        color = next(color for level, color in _COLORS if number >= level)
        return f"{_DIM}{moment}{_PLAIN} {color}{record.levelname:<8}{_PLAIN} {text}"


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - two digits


class JsonFormatter(logging.Formatter):
    """Renders one JSON object a line: time (ISO 8601, UTC), level, logger, message, pid, thread.

    With `exception` and `stack` as text where there are any.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render *record*.  Never raises, whatever the record holds."""
        moment = datetime.fromtimestamp(_seconds_of(record), UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _text_of(record.levelname).lower(),
            "logger": record.name,
            "message": well_formed(_message_of(record)),
            "pid": record.process,
            "thread": record.threadName,
        }
        exception = _exception_of(self, record)
        if exception:
            fields["exception"] = well_formed(exception)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields, default=_text_of)

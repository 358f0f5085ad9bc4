"""Hand our log records to the logger of the program that runs us: gunicorn's.

Its loggers have handlers, formats and files of their own; nothing of ours is set up beside them.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from asgibridge.http.request import split_target
from asgibridge.ops.access import ACCESS_LOGGER, GENERAL_LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgibridge.ops.atoms import AccessRecord

__all__ = ["ForeignAccess", "LoggedRequest", "LoggedResponse", "forward_access", "forward_general"]

Headers: TypeAlias = "list[tuple[str, str]]"


class ForeignAccess(Protocol):
    """The `access` of a logger class that somebody wrote for gunicorn."""

    def __call__(
        self,
        resp: LoggedResponse,
        req: LoggedRequest,
        environ: dict[str, Any],
        request_time: timedelta,
        /,
    ) -> object:
        """Log one request."""


def forward_general(target: logging.Logger) -> None:
    """Send the records of `asgibridge` to *target*, from its level on.

    Unless somebody has given `asgibridge` handlers of its own: they wanted something else.
    """
    _forward(GENERAL_LOGGER, target, target.getEffectiveLevel())


def forward_access(target: logging.Logger, access: ForeignAccess | None = None) -> None:
    """Send access records to *target*, each as a line, or to *access*, each in parts.

    Unless somebody has given `asgibridge.access` handlers of its own.
    """
    if access is None:
        _forward(ACCESS_LOGGER, target, logging.INFO)
    else:
        _attach(ACCESS_LOGGER, _CallHandler(access), logging.INFO)


def _forward(name: str, target: logging.Logger, level: int) -> None:
    _attach(name, _Forwarder(target), level)


def _attach(name: str, handler: logging.Handler, level: int) -> None:
    logger = logging.getLogger(name)
    ours = [each for each in logger.handlers if isinstance(each, _Ours)]
    for each in ours:
        logger.removeHandler(each)
    if logger.handlers:
        return
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    logger.disabled = False


class _Ours(logging.Handler):
    """What `_attach` may replace."""


class _Forwarder(_Ours):
    def __init__(self, target: logging.Logger) -> None:
        super().__init__()
        self._target = target

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of a handler: those of the target have theirs.
        self._target.handle(record)
        return True


class _CallHandler(_Ours):
    def __init__(self, access: ForeignAccess) -> None:
        super().__init__()
        self._access = access

    def emit(self, record: logging.LogRecord) -> None:
        """Take apart what `AccessLog` has put into *record*."""
        known: AccessRecord = record.access  # type: ignore[attr-defined]
        self._access(
            LoggedResponse(known),
            LoggedRequest(known),
            _environ_of(known),
            timedelta(seconds=known.duration),
        )


class LoggedResponse:
    """A response with the names that gunicorn's logger looks for."""

    def __init__(self, record: AccessRecord) -> None:
        self.status = str(record.status)
        self.status_code = record.status
        self.sent = record.body_bytes
        self.headers = _as_text(record.response_headers)


class LoggedRequest:
    """A request with the names that gunicorn's logger looks for."""

    def __init__(self, record: AccessRecord) -> None:
        target = _text(record.target)
        path, query = split_target(target.encode("latin-1"))
        self.method = record.method
        self.uri = target
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.headers = [(name.upper(), value) for name, value in _as_text(record.request_headers)]


def _environ_of(record: AccessRecord) -> dict[str, Any]:
    """Say what a WSGI environ would have said, as far as loggers ask for it."""
    request = LoggedRequest(record)
    environ: dict[str, Any] = {
        "REMOTE_ADDR": record.client or "",
        "REQUEST_METHOD": request.method,
        "RAW_URI": request.uri,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "SERVER_PROTOCOL": f"HTTP/{record.http_version}",
    }
    for name, value in request.headers:
        environ[f"HTTP_{name.replace('-', '_')}"] = value
    return environ


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _as_text(headers: Iterable[tuple[Any, Any]]) -> Headers:
    return [(_text(name), _text(value)) for name, value in headers]

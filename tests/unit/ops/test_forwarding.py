"""Records of ours reach the loggers of the program that runs us, and nobody else's handlers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from asgibridge.ops.access import AccessLog, AccessRecord
from asgibridge.ops.forwarding import forward_access, forward_general

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from asgibridge.ops.forwarding import LoggedRequest, LoggedResponse


class Listing(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def target() -> Iterator[logging.Logger]:
    """A foreign logger with a `Listing`; ours are as before in the end."""
    logger = logging.getLogger("foreign.error")
    logger.addHandler(Listing())
    logger.setLevel(logging.WARNING)
    ours = [logging.getLogger(name) for name in ("asgibridge", "asgibridge.access")]
    before = [(each.level, each.propagate, each.disabled, list(each.handlers)) for each in ours]
    yield logger
    logger.handlers.clear()
    for each, (level, propagate, disabled, handlers) in zip(ours, before, strict=True):
        each.setLevel(level)
        each.propagate = propagate
        each.disabled = disabled
        each.handlers[:] = handlers


def listed(logger: logging.Logger) -> list[str]:
    handler = logger.handlers[0]
    assert isinstance(handler, Listing)
    return handler.messages


def record() -> AccessRecord:
    return AccessRecord(
        "127.0.0.1",
        "GET",
        b"/a%20b?c=d",
        "1.1",
        200,
        5,
        1_700_000_000.0,
        0.25,
        request_headers=[(b"x-colour", b"red")],
        response_headers=[(b"Content-Type", b"text/plain")],
    )


def test_the_target_decides_the_level(target: logging.Logger) -> None:
    forward_general(target)
    logger = logging.getLogger("asgibridge")
    logger.info("quiet")
    logger.warning("heard %s", "well")
    logging.getLogger("asgibridge.something").error("below")
    assert listed(target) == ["heard well", "below"]


def test_forwarding_twice_forwards_once(target: logging.Logger) -> None:
    forward_general(target)
    forward_general(target)
    logging.getLogger("asgibridge").error("once")
    assert listed(target) == ["once"]


def test_handlers_that_somebody_has_set_up_are_respected(target: logging.Logger) -> None:
    own = Listing()
    logging.getLogger("asgibridge").addHandler(own)
    logging.getLogger("asgibridge").setLevel(logging.INFO)
    forward_general(target)
    logging.getLogger("asgibridge").error("mine")
    assert (own.messages, listed(target)) == (["mine"], [])


def test_access_records_arrive_as_lines(target: logging.Logger) -> None:
    forward_access(target)
    log = AccessLog("%(m)s %(U)s %(s)s %({x-colour}i)s")
    log.write(record())
    log.flush()
    assert listed(target) == ["GET /a%20b 200 red"]


def test_access_records_are_taken_apart_for_who_wants_that(target: logging.Logger) -> None:
    seen: list[dict[str, Any]] = []

    def access(
        resp: LoggedResponse, req: LoggedRequest, environ: dict[str, Any], request_time: timedelta
    ) -> None:
        seen.append({**vars(resp), **vars(req), **environ, "time": request_time.total_seconds()})

    forward_access(target, access)
    log = AccessLog("%(m)s")
    log.write(record())
    log.flush()
    assert listed(target) == []
    assert seen == [
        {
            "status": "200",
            "status_code": 200,
            "sent": 5,
            "headers": [("X-COLOUR", "red")],  # of the request: both have that name
            "method": "GET",
            "uri": "/a%20b?c=d",
            "path": "/a%20b",
            "query": "c=d",
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": "GET",
            "RAW_URI": "/a%20b?c=d",
            "PATH_INFO": "/a%20b",
            "QUERY_STRING": "c=d",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_X_COLOUR": "red",
            "time": 0.25,
        }
    ]

"""The headers of every response, built once a second."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from asgibridge.net.clock import HeaderClock


@pytest.fixture
def clock() -> HeaderClock:
    return HeaderClock(server_header=True)


def date_of(lines: bytes) -> float:
    found = re.search(rb"^Date: (.+)\r$", lines, re.MULTILINE)
    assert found is not None
    return parsedate_to_datetime(found[1].decode("ascii")).timestamp()


def test_lines_name_the_server_and_the_second(clock: HeaderClock) -> None:
    before = int(time.time())
    lines = clock.lines()
    after = int(time.time())
    assert before <= date_of(lines) <= after
    assert lines.startswith(b"Server: asgibridge\r\n")
    assert lines.endswith(b" GMT\r\n")


def test_server_is_left_out_when_it_is_not_wanted() -> None:
    lines = HeaderClock(server_header=False).lines()
    assert b"Server" not in lines
    assert lines.startswith(b"Date: ")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({b"server"}, [b"Date"]),
        ({b"date"}, [b"Server"]),
        ({b"date", b"server"}, []),
        ({b"content-type"}, [b"Server", b"Date"]),
    ],
)
def test_what_the_application_says_itself_is_not_said_twice(
    clock: HeaderClock, given: set[bytes], left: list[bytes]
) -> None:
    lines = clock.lines_without(given)
    assert [line.partition(b":")[0] for line in lines.splitlines()] == left


def test_a_second_that_is_over_is_not_shown_again(clock: HeaderClock) -> None:
    stale = (1, b"Server: asgibridge\r\nDate: long ago\r\n", b"Date: long ago\r\n")
    clock._built = stale
    assert date_of(clock.lines()) > 1
    clock._built = stale
    assert date_of(clock.lines_without({b"server"})) > 1


def test_within_a_second_the_lines_are_built_once(clock: HeaderClock) -> None:
    pairs = ((clock.lines(), clock.lines()) for _ in range(3))
    # At most one of three pairs can straddle a second.
    assert any(first is second for first, second in pairs)

"""Loops by their names, and what they log."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest
import uvloop

from asgibridge.errors import StartError
from asgibridge.process.loops import log_loop_trouble, loop_factory


def test_loops_by_name() -> None:
    assert loop_factory("uvloop") is uvloop.new_event_loop
    assert loop_factory("auto") is uvloop.new_event_loop
    assert loop_factory("asyncio") is asyncio.new_event_loop


def test_without_uvloop_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is asyncio.new_event_loop
    with pytest.raises(StartError, match="pip install uvloop"):
        loop_factory("uvloop")


async def test_what_the_loop_catches_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failed = ZeroDivisionError("division by zero")
    context = {"message": "Exception in callback", "exception": failed, "handle": "<the handle>"}
    with caplog.at_level(logging.ERROR, "asgibridge"):
        log_loop_trouble(asyncio.get_running_loop(), context)
        log_loop_trouble(asyncio.get_running_loop(), {})
    first, second = caplog.records
    assert first.getMessage() == "Exception in callback: '<the handle>'"
    assert first.exc_info is not None
    assert first.exc_info[1] is failed
    assert second.getMessage() == "error in the loop"

"""What the life of a process decides by itself; how processes end is in tests/system."""

from __future__ import annotations

import asyncio
import logging

import pytest

from asgibridge.process.life import _log_loop_trouble


async def test_what_the_loop_catches_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failed = ZeroDivisionError("division by zero")
    context = {"message": "Exception in callback", "exception": failed, "handle": "<the handle>"}
    with caplog.at_level(logging.ERROR, "asgibridge"):
        _log_loop_trouble(asyncio.get_running_loop(), context)
        _log_loop_trouble(asyncio.get_running_loop(), {})
    first, second = caplog.records
    assert first.getMessage() == "Exception in callback: '<the handle>'"
    assert first.exc_info is not None
    assert first.exc_info[1] is failed
    assert second.getMessage() == "error in the loop"

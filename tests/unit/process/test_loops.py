"""Loops by their names."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from asgibridge.errors import StartError
from asgibridge.process.loops import loop_factory


def test_loops_by_name() -> None:
    assert loop_factory("uvloop") is uvloop.new_event_loop
    assert loop_factory("auto") is uvloop.new_event_loop
    assert loop_factory("asyncio") is asyncio.new_event_loop


def test_without_uvloop_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is asyncio.new_event_loop
    with pytest.raises(StartError, match="pip install uvloop"):
        loop_factory("uvloop")

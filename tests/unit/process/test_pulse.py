"""Beats while the loop turns; a loop that is stuck is shown, once."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from asgibridge.process import pulse as module
from asgibridge.process.pulse import LoopMonitor, Pulse

if TYPE_CHECKING:
    import pytest


async def test_it_beats_at_once_and_again() -> None:
    beats: list[float] = []
    is_third = asyncio.Event()

    def on_beat(now: float) -> None:
        beats.append(now)
        if len(beats) == 3:
            is_third.set()

    pulse = Pulse(asyncio.get_running_loop(), on_beat, every=0.01)
    assert len(beats) == 1
    await is_third.wait()
    pulse.stop()
    assert beats == sorted(beats)
    assert pulse.last == beats[-1]


async def test_a_report_that_fails_does_not_stop_the_heart() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    beats: list[float] = []
    is_third = asyncio.Event()

    def on_beat(now: float) -> None:
        beats.append(now)
        if len(beats) == 3:
            is_third.set()
        if len(beats) > 1:
            raise ZeroDivisionError

    pulse = Pulse(loop, on_beat, every=0.01)
    await is_third.wait()
    pulse.stop()


class Heard(logging.Handler):
    """Tells a waiting test of records."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.changed:
            self.said.append(record.getMessage())
            self.changed.notify_all()

    def wait_for(self, text: str) -> str:
        with self.changed:
            found = self.changed.wait_for(lambda: [s for s in self.said if text in s], 10)
        assert found, self.said
        return found[0]


async def test_a_stuck_loop_is_shown_and_so_is_its_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """[PROC-4]."""
    monkeypatch.setattr(module, "STUCK", 0.5)
    heard = Heard()
    logger = logging.getLogger("asgibridge")
    logger.addHandler(heard)
    beaten = asyncio.Event()
    pulse = Pulse(asyncio.get_running_loop(), lambda _: beaten.set(), every=0.01)
    monitor = LoopMonitor(pulse, threading.get_ident())
    try:
        text = heard.wait_for("the loop is blocked")  # this very wait blocks it
        assert "in test_a_stuck_loop_is_shown_and_so_is_its_return" in text
        beaten.clear()
        await beaten.wait()
        await asyncio.to_thread(heard.wait_for, "the loop turns again")
        assert len([each for each in heard.said if "blocked for" in each]) == 1
    finally:
        monitor.stop()
        pulse.stop()
        logger.removeHandler(heard)

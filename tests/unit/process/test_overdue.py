"""Overdue requests are told of, each once; the server is told when no thread is left."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from support.fakes_exchange import FakeExchange

from asgibridge.app.environ import EnvironBuilder
from asgibridge.app.threads import ThreadPool
from asgibridge.app.timeouts import WsgiTimeouts
from asgibridge.app.wsgi import WsgiCall, WsgiHandler
from asgibridge.net.deadlines import Deadlines
from asgibridge.net.gate import Full, Gate
from asgibridge.process.overdue import OverdueReporter

if TYPE_CHECKING:
    import pytest


async def test_last_thread_that_is_overdue_exhausts_the_pool_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """[WSGI-7] With the stack of each; a call that comes back makes room again."""
    loop = asyncio.get_running_loop()
    pool: ThreadPool[WsgiCall] = ThreadPool(2)
    handler = WsgiHandler(
        None,
        pool,
        EnvironBuilder(root_path="", multithread=True, multiprocess=False),
        loop.call_soon,
        timeouts=WsgiTimeouts(request=60.0),
        deadlines=Deadlines(loop),
    )
    assert handler.timekeeper is not None
    exhausted: list[int] = []
    gate = Gate(worker_connections=9, max_in_flight=2)
    reporter = OverdueReporter(loop, gate, handler, pool, lambda: exhausted.append(handler.overdue))
    handler.timekeeper.on_returned = reporter.on_returned
    calls = [WsgiCall(handler, FakeExchange(target=b"/%d" % number)) for number in range(4)]
    overdue = handler.timekeeper.overdue

    for call in calls:
        call.thread_ident = threading.get_ident()
    overdue.add(calls[0])
    reporter.on_overdue(calls[0])
    assert gate.held == 1
    handler.timekeeper.end(calls[0])
    await asyncio.sleep(0)
    assert gate.held == 0
    overdue.add(calls[1])
    reporter.on_overdue(calls[1])
    assert exhausted == []
    for call in calls[2:]:
        overdue.add(call)
        reporter.on_overdue(call)
    assert exhausted == [2]
    assert gate.full() is Full.MAX_IN_FLIGHT
    for number in range(4):
        assert f"request overdue method=GET target=/{number} client=" in caplog.text
    assert "test_last_thread_that_is_overdue" in caplog.text

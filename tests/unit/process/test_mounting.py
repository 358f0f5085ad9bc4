"""Threads of an ASGI process are started for the first who needs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgibridge import Config
from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.loader import load
from asgibridge.process.assembly import Assembly, assemble

if TYPE_CHECKING:
    import pytest


def assembled(**settings: object) -> Assembly:
    config = Config(app="asgibridge.demo:asgi", interface="asgi", **settings)  # type: ignore[arg-type]
    loaded = load(config.app, interface="asgi")
    return assemble(config, loaded, {}, asyncio.get_running_loop(), lambda: None)


async def test_pool_is_started_once_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """[WSGI-8] As large as `threads` says; the log has it."""
    caplog.set_level("INFO")
    parts = assembled(threads=3)
    assert isinstance(parts.handler, AsgiHandler)
    assert parts.handler.mounts is not None
    assert (parts.pool, parts.overdue) == (None, 0)
    mounts = parts.handler.mounts()
    pool = parts.pool
    assert pool is not None
    assert (pool.size, pool.statistics().threads) == (3, 3)
    assert parts.handler.mounts() is mounts
    assert parts.handler.threads() is pool
    assert caplog.text.count("started threads=3") == 1
    assert parts.overdue == 0
    pool.stop()
    assert await asyncio.to_thread(pool.join, 1e6)


async def test_timeouts_and_the_access_log_reach_the_bridge() -> None:
    """[WSGI-6] [WSGI-7] [WSGI-8]."""
    parts = assembled(threads=1, queue_timeout=1.0, access_log=True)
    assert isinstance(parts.handler, AsgiHandler)
    assert parts.handler.mounts is not None
    bridge = parts.handler.mounts()._bridge
    assert bridge.timekeeper is not None
    assert bridge.on_overdue is not None
    assert bridge.keeps_times
    assert parts.pool is not None
    parts.pool.stop()

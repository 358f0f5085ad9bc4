"""The parts follow from the settings."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from asgibridge import Config
from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.loader import load
from asgibridge.app.wsgi import WsgiHandler
from asgibridge.process.assembly import Assembly, assemble
from asgibridge.process.capacity import default_threads, usable_cpus

Interface = Literal["asgi", "wsgi"]


def assembled(interface: Interface, **settings: Any) -> Assembly:  # noqa: ANN401 - Config's
    """Assemble the demo; nothing is started or opened."""
    config = Config(app=f"asgibridge.demo:{interface}", interface=interface, **settings)
    loaded = load(config.app, factory=False, app_dir=".", interface=interface)
    return assemble(config, loaded, {}, asyncio.get_running_loop(), lambda: None)


async def test_wsgi_gets_threads_and_as_many_in_flight() -> None:
    """[GATE-2]."""
    parts = assembled("wsgi", threads=3)
    assert isinstance(parts.handler, WsgiHandler)
    assert parts.pool is not None
    assert (parts.pool.size, parts.wiring.gate.max_in_flight) == (3, 3)


async def test_threads_default_to_what_the_machine_has() -> None:
    parts = assembled("wsgi")
    assert parts.pool is not None
    assert parts.pool.size == default_threads(usable_cpus())


async def test_asgi_gets_no_threads_and_no_limit_in_flight() -> None:
    """[GATE-2]."""
    parts = assembled("asgi", threads=3)
    assert isinstance(parts.handler, AsgiHandler)
    assert (parts.pool, parts.wiring.gate.max_in_flight) == (None, None)


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
async def test_a_limit_that_was_set_holds_for_both(interface: Interface) -> None:
    parts = assembled(interface, max_in_flight=7, worker_connections=70)
    gate = parts.wiring.gate
    assert (gate.max_in_flight, gate.worker_connections) == (7, 70)


async def test_requests_are_recorded_only_if_somebody_wants_it() -> None:
    silent, recorded = assembled("asgi"), assembled("asgi", access_log=True)
    assert (silent.recorder, silent.wiring.on_ended, silent.wiring.on_refused) == (None,) * 3
    assert recorded.recorder is not None
    assert recorded.wiring.on_ended == recorded.recorder.on_ended


@pytest.mark.parametrize("timeouts", [{"request_timeout": 1.0}, {"queue_timeout": 1.0}])
async def test_a_thread_sends_by_itself_only_if_the_loop_never_answers_for_it(
    timeouts: dict[str, float],
) -> None:
    """[WSGI-6], [WSGI-7]."""
    assert assembled("wsgi").wiring.may_send_directly is True
    assert assembled("wsgi", **timeouts).wiring.may_send_directly is False

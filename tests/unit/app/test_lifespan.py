"""The lifespan on its own: stages, messages, and what is left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from asgibridge.app.lifespan import Lifespan, LifespanMode, LifespanStage
from asgibridge.errors import IllegalMove, LifespanFailed

if TYPE_CHECKING:
    from apps.asgi_cases import Receive, Scope, Send

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 10.0


async def complete(_scope: Scope, receive: Receive, send: Send) -> None:
    for word in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{word}"
        await send({"type": f"lifespan.{word}.complete"})


async def test_stages_follow_the_application() -> None:
    """[ASGI-1]."""
    lifespan = Lifespan(complete, LifespanMode.ON)
    stages = [lifespan.stage]
    await lifespan.start(PATIENCE)
    stages.append(lifespan.stage)
    assert await lifespan.stop(PATIENCE)
    stages.append(lifespan.stage)
    assert stages == [LifespanStage.BEFORE, LifespanStage.RUNNING, LifespanStage.OVER]
    assert await lifespan.stop(PATIENCE), "a second stop does nothing"


async def test_off_runs_nothing() -> None:
    """[ASGI-1]."""
    lifespan = Lifespan(None, LifespanMode.OFF)
    await lifespan.start(PATIENCE)
    assert lifespan.stage is LifespanStage.UNSUPPORTED
    assert await lifespan.stop(PATIENCE)


async def test_returning_at_once_means_no_lifespan_to_auto_only() -> None:
    """[ASGI-1]."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    auto = Lifespan(app, LifespanMode.AUTO)
    await auto.start(PATIENCE)
    assert auto.stage is LifespanStage.UNSUPPORTED
    with pytest.raises(LifespanFailed, match="without completing"):
        await Lifespan(app, LifespanMode.ON).start(PATIENCE)


async def test_failure_carries_the_words_of_the_application() -> None:
    """[ASGI-1]."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no such boiler"})

    with pytest.raises(LifespanFailed, match="no such boiler"):
        await Lifespan(app, LifespanMode.AUTO).start(PATIENCE)


@pytest.mark.parametrize("end", ["timeout", "cancel"])
async def test_start_that_is_given_up_leaves_no_task(end: str) -> None:
    """[ASGI-1]."""
    gone = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    lifespan = Lifespan(app, LifespanMode.ON)
    starting = asyncio.create_task(lifespan.start(0.01 if end == "timeout" else PATIENCE))
    if end == "cancel":
        for _ in range(3):
            await asyncio.sleep(0)
        starting.cancel()
    with pytest.raises((LifespanFailed, asyncio.CancelledError)):
        await starting
    await asyncio.wait_for(gone.wait(), PATIENCE)


@pytest.mark.parametrize(
    "kind", ["lifespan.shutdown.complete", "lifespan.song", "lifespan.startup.complete"]
)
async def test_message_out_of_turn_is_refused(kind: str) -> None:
    raised: list[BaseException] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await send({"type": kind})
        except IllegalMove as error:
            raised.append(error)
        await receive()

    lifespan = Lifespan(app, LifespanMode.ON)
    await lifespan.start(PATIENCE)
    assert await lifespan.stop(PATIENCE)
    assert len(raised) == 1


async def test_state_is_what_the_application_left() -> None:
    """[ASGI-1]."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["greeting"] = "hello"
        await complete(scope, receive, send)

    lifespan = Lifespan(app, LifespanMode.ON)
    await lifespan.start(PATIENCE)
    assert lifespan.state == {"greeting": "hello"}
    await lifespan.stop(PATIENCE)

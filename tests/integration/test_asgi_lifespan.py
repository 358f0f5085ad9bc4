"""The lifespan of an ASGI application: `on`, `off` and `auto`, on both loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import httpx
import pytest
from apps import asgi_cases

from asgibridge import Config, Server
from asgibridge.errors import LifespanFailed

if TYPE_CHECKING:
    from typing import Any

Lifespan = Literal["auto", "on", "off"]


async def answer_of(server: Server) -> Any:  # noqa: ANN401 - JSON
    async with httpx.AsyncClient(base_url=server.urls[0]) as client:
        return (await client.get("/")).json()


@pytest.mark.parametrize("lifespan", ["on", "auto"])
async def test_startup_comes_first_and_shutdown_last(lifespan: Lifespan) -> None:
    """[ASGI-1]."""
    app = asgi_cases.WithLifespan()
    async with Server(Config(app=app, port=0, lifespan=lifespan)) as server:
        assert app.events == ["startup"]
        await answer_of(server)
    assert app.events == ["startup", "request", "shutdown"]


async def test_off_never_calls_the_application() -> None:
    """[ASGI-1]."""
    app = asgi_cases.WithLifespan()
    async with Server(Config(app=app, port=0, lifespan="off")) as server:
        assert (await answer_of(server))["greeting"] is None
    assert app.events == ["request"]


async def test_state_of_the_lifespan_reaches_every_request() -> None:
    """[ASGI-1]."""
    app = asgi_cases.WithLifespan()
    async with Server(Config(app=app, port=0)) as server:
        assert (await answer_of(server))["greeting"] == "hello from the lifespan"


async def test_state_is_copied_for_each_request_and_its_values_are_shared() -> None:
    """[ASGI-1]: a shallow copy, so that a pool of connections is one, and a request's key its own.

    One connection and then another: the copy is of the request, not of the connection.
    """
    app = asgi_cases.WithLifespan()
    async with Server(Config(app=app, port=0)) as server:
        async with httpx.AsyncClient(base_url=server.urls[0]) as client:
            answers = [(await client.get("/")).json() for _ in range(2)]
        answers.append(await answer_of(server))
    assert [answer["mine"] for answer in answers] == [None, None, None]
    assert [answer["shared"] for answer in answers] == [1, 2, 3]


@pytest.mark.parametrize("lifespan", ["on", "auto"])
@pytest.mark.parametrize("startup", ["failed", "raise"])
async def test_startup_that_fails_stops_the_start(startup: str, lifespan: Lifespan) -> None:
    """[ASGI-1]: after the first `receive()` even `auto` takes a failure for one."""
    app = asgi_cases.WithLifespan(startup)
    with pytest.raises(LifespanFailed):
        async with Server(Config(app=app, port=0, lifespan=lifespan)):
            pass  # never entered
    assert app.events == ["startup"]


async def test_failed_startup_says_what_the_application_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = asgi_cases.WithLifespan("failed")
    with pytest.raises(LifespanFailed) as failure:
        async with Server(Config(app=app, port=0)):
            pass  # never entered
    assert "no such boiler" in f"{failure.value} {caplog.text}"


async def test_auto_serves_an_application_without_lifespan() -> None:
    """[ASGI-1]: it fails before its first `receive()`, so it has none."""
    app = asgi_cases.Witness()
    async with (
        Server(Config(app=app, port=0, lifespan="auto")) as server,
        httpx.AsyncClient(base_url=server.urls[0]) as client,
    ):
        assert (await client.get("/receives")).text == "hello"


async def test_on_refuses_an_application_without_lifespan() -> None:
    """[ASGI-1]."""
    app = asgi_cases.Witness()
    with pytest.raises(LifespanFailed):
        async with Server(Config(app=app, port=0, lifespan="on")):
            pass  # never entered


async def test_auto_serves_an_application_that_ignores_the_lifespan() -> None:
    """It answers messages for HTTP to the lifespan: an error before the first `receive()`."""
    async with (
        Server(Config(app=asgi_cases.hello, port=0, lifespan="auto")) as server,
        httpx.AsyncClient(base_url=server.urls[0]) as client,
    ):
        assert (await client.get("/")).text == "hello"

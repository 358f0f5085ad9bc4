"""Serve an application in the running loop, for tests over real sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from asgibridge import Config, Server
from support.clients import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from asgibridge.interfaces import Application

__all__ = ["Receive", "Scope", "Send", "StartResponse", "clients_of", "serving"]

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
StartResponse: TypeAlias = Callable[..., Any]


@asynccontextmanager
async def serving(app: Application, **settings: object) -> AsyncIterator[Server]:
    """Serve *app* on a free port (or where `bind` says) and stop soon, whatever it holds."""
    config = Config(app=app, bind=("127.0.0.1:0",), lifespan="off", graceful_timeout=0.5)
    # Checked by the settings themselves.
    async with Server(replace(config, **settings)) as server:  # type: ignore[arg-type]
        yield server


@asynccontextmanager
async def clients_of(urls: Iterable[str]) -> AsyncIterator[list[RawClient]]:
    """Dial each of *urls* and hold the connections until the end of the block."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RawClient.connect(url)) for url in urls]

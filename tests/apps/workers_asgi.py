"""An ASGI application that tells which process answers, and blocks it when it is asked to.

Its sleeps are stuck or slow work, for tests of just that; see `stopping_asgi`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

FOREVER = 3600.0
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    answer = str(os.getpid()).encode()
    match scope["path"]:
        case "/blocks":
            say(f"in /blocks pid={os.getpid()}")
            time.sleep(float(scope["query_string"] or FOREVER))  # noqa: ASYNC251 - that is the point
        case "/slow":
            say(f"in /slow pid={os.getpid()}")
            await asyncio.sleep(float(scope["query_string"] or b"0.5"))
        case _:
            pass  # Any other path is answered at once.
    length = str(len(answer)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": answer})


async def live(receive: Receive, send: Send) -> None:
    """Tell in the log that the application was shut down, as it ought to be."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say(f"shutting down pid={os.getpid()}")
    await send({"type": "lifespan.shutdown.complete"})

"""An application that takes every file descriptor its process may have, for a while."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import suppress
from typing import Any

# Enough for the server's own check at the start, few enough to run out of quickly.
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
# Seconds: several times as long as the server waits between two attempts to accept.
HOLDING_TIME = 0.45


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    """Answer; on /hog, only after having held all descriptors."""
    del receive
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/hog":
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-stage", b"holding")]}
        )
        taken = []
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        await send({"type": "http.response.body", "body": b"holding", "more_body": True})
        await asyncio.sleep(HOLDING_TIME)
        for fd in taken:
            os.close(fd)
        await send({"type": "http.response.body", "body": b"released"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

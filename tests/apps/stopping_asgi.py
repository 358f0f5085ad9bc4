"""An ASGI application that does what keeps servers from stopping.  Each path says when it is there.

The environment variable STUCK says what else to be stuck in: `startup` or `shutdown`.

It sleeps because that is what the tests are about: for ever where it has to be stuck until its
process is ended, for some tenths of a second where its work has to outlast the signal to stop.  No
test waits by sleeping: it waits for what is said here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

FOREVER = 3600.0
executor = concurrent.futures.ThreadPoolExecutor()
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


async def app(  # noqa: C901, PLR0912 - a list of misdeeds
    scope: dict[str, Any], receive: Receive, send: Send
) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    match scope["path"]:
        case "/blocks-a-moment":
            say("in /blocks-a-moment")
            time.sleep(0.5)  # noqa: ASYNC251 - that is the point
        case "/blocks":
            say("in /blocks")
            time.sleep(FOREVER)  # noqa: ASYNC251 - that is the point
        case "/blocks-in-c":
            # Said when it is certainly there: a moment earlier Python would still hear a signal.
            threading.Timer(0.3, say, ("in /blocks-in-c",)).start()
            block_in_c()
        case "/ignores":
            say("in /ignores")
            await ignore_cancellation()
        case "/waits":
            say("in /waits")
            await asyncio.sleep(FOREVER)
        case "/slow":
            say("in /slow")
            await asyncio.sleep(float(scope["query_string"] or b"0.5"))
        case "/stream":
            await stream(receive, send)
            return
        case "/large":
            say("in /large")
            await start(send)
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        case "/background":
            await start(send, (b"content-length", b"5"))
            await send({"type": "http.response.body", "body": b"hello"})
            await asyncio.sleep(0.3)
            say("background work done")
            return
        case "/thread":
            threading.Thread(target=time.sleep, args=(FOREVER,), name="left-behind").start()
        case "/executor":
            executor.submit(time.sleep, FOREVER)
        case "/callback":
            asyncio.get_running_loop().call_soon(fail_in_a_callback)
        case _:
            pass  # Any other path is answered at once.
    await start(send, (b"content-length", b"5"))
    await send({"type": "http.response.body", "body": b"hello"})


async def start(send: Send, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def stream(receive: Receive, send: Send) -> None:
    """Send an event and wait for the client to leave, as event streams do."""
    await start(send, (b"content-type", b"text/event-stream"))
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    say("in /stream")
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    say("told to leave")


async def ignore_cancellation() -> None:
    while True:
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            say("cancellation ignored")


def fail_in_a_callback() -> None:
    raise RuntimeError("raised in a callback")


def block_in_c() -> None:
    """Lock a mutex twice: as a driver that waits for ever, it lets the GIL go and hears nothing."""
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


async def live(receive: Receive, send: Send) -> None:
    stuck = os.environ.get("STUCK")
    await receive()
    if stuck == "startup":
        say("in startup")
        await asyncio.sleep(FOREVER)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if stuck == "shutdown":
        await stay_for_ever()
    say("shutting down")
    await send({"type": "lifespan.shutdown.complete"})


async def stay_for_ever() -> None:
    await asyncio.sleep(FOREVER)

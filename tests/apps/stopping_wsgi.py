"""A WSGI application that does what keeps servers from stopping.

Each path says when it is there.

Its sleeps are stuck or slow work, for tests of just that; see `stopping_asgi`.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOREVER = 3600.0
executor = concurrent.futures.ThreadPoolExecutor()


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def stuck_in_a_thread() -> None:
    time.sleep(FOREVER)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    body = [b"hello"]
    match path:
        case "/stuck":
            say("in /stuck")
            stuck_in_a_thread()
        case "/thread":
            threading.Thread(target=stuck_in_a_thread, name="left-behind", daemon=False).start()
        case "/executor":
            executor.submit(stuck_in_a_thread)
        case "/large":
            say("in /large")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return (b"x" * 65536 for _ in range(10_000))
        case "/slow":
            say("in /slow")
            time.sleep(float(environ["QUERY_STRING"] or "0.5"))
        case "/drips":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return drip()
        case "/closes-slowly":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return ClosesSlowly()
        case _:
            pass  # Any other path is answered at once.
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return body


def drip() -> Iterator[bytes]:
    yield b"hel"
    say("in /drips")
    time.sleep(0.5)
    yield b"lo"


class ClosesSlowly:
    """Works on behind a response that the client has."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"hel", b"lo"])

    def close(self) -> None:
        say("closing")
        time.sleep(0.3)
        say("closed")

"""WSGI: works as the path says, and tells which process answered.

`/` answers at once, `/wait/MS` after so many milliseconds, `/leak/MS` the same and never gives its
memory back, `/stuck` holds one thread of the process for good.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

BODY = b"Hello, world!\n"
LEAKED_BYTES = 250_000
# Longer than any run; the process ends before it.
STUCK_SECONDS = 3600
leaked: list[bytes] = []
stuck: list[bool] = []


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do what the path asks for."""
    _, work, milliseconds = f"{environ['PATH_INFO']}/".split("/")[:3]
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Worker", str(os.getpid()))]
    if work == "stuck" and not stuck:
        stuck.append(True)
        start_response("200 OK", headers)
        return _sleeping()
    if work == "leak":
        # Not zeros: untouched pages would not be resident.
        leaked.append(b"x" * LEAKED_BYTES)
    if milliseconds:
        time.sleep(int(milliseconds) / 1000)
    start_response("200 OK", [*headers, ("Content-Length", str(len(BODY)))])
    return [BODY]


def _sleeping() -> Iterator[bytes]:
    """Send the head and a first byte, so that the client knows whom it holds; then sleep."""
    yield b"."
    time.sleep(STUCK_SECONDS)

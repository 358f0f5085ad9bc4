"""WSGI: answers 14 bytes after a wait of 10 ms, as an application that asks a database does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

BODY = b"Hello, world!\n"
WAIT_SECONDS = 0.010


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Hold the thread, then answer."""
    del environ
    time.sleep(WAIT_SECONDS)
    start_response(
        "200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "14")]
    )
    return [BODY]

"""WSGI: answers 14 bytes, whatever is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

BODY = b"Hello, world!\n"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer at once."""
    del environ
    start_response(
        "200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "14")]
    )
    return [BODY]

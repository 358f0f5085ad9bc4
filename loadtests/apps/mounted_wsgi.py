"""WSGI inside ASGI: Starlette with a mounted application that answers 14 bytes.

Under asgibridge its own middleware calls the pool; under others it is a2wsgi's that is mounted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

from starlette.applications import Starlette
from starlette.routing import Mount


def _bridge() -> str:
    """Name the package whose middleware is mounted; peers may live where asgibridge is not."""
    return "asgibridge" if importlib.util.find_spec("asgibridge") else "a2wsgi"


hello = importlib.import_module("hello_wsgi").app
middleware = importlib.import_module(_bridge()).WSGIMiddleware
threads = int(os.environ["LOADTESTS_THREADS"])
app = Starlette(routes=[Mount("/", middleware(hello, workers=threads))])

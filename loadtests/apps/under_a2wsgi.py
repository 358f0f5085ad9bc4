"""Wrap a WSGI application in a2wsgi's middleware: how people run WSGI under uvicorn."""

from __future__ import annotations

import importlib
import os

from a2wsgi import WSGIMiddleware


def make() -> WSGIMiddleware:
    """Wrap what LOADTESTS_APP names (`module:attribute`) with LOADTESTS_THREADS threads."""
    module, _, attribute = os.environ["LOADTESTS_APP"].partition(":")
    app = getattr(importlib.import_module(module), attribute)
    return WSGIMiddleware(app, workers=int(os.environ["LOADTESTS_THREADS"]))

"""An application server for ASGI and WSGI behind an exact gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgibridge.app.mount import WSGIMiddleware
    from asgibridge.composition import run
    from asgibridge.config.settings import Config
    from asgibridge.process.server import Server

__all__ = ["Config", "Server", "WSGIMiddleware", "__version__", "run"]

__version__ = "0.1.0"

_HOMES = {
    "Config": "asgibridge.config.settings",
    "Server": "asgibridge.process.server",
    "WSGIMiddleware": "asgibridge.app.mount",
    "run": "asgibridge.composition",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import the public names when they are first used.

    `asgibridge --version` and shell completion need none of them, and should answer at once.
    """
    if name in _HOMES:
        from importlib import import_module  # noqa: PLC0415 - as told above

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

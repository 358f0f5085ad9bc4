"""Which event loop to run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgibridge.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["loop_factory"]


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop *name*: auto, uvloop or asyncio.

    Raises:
        StartError: uvloop was asked for and is not installed.
    """
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - absent on some platforms, and costly where unwanted
        except ImportError as error:
            if name == "uvloop":
                raise StartError(
                    "uvloop is not installed; run `pip install uvloop` or choose another loop"
                ) from error
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop

"""Wait for a fact that no event tells of, such as a count of the server's, and not for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["until"]

# Seconds between two looks.
_PAUSE: Final = 0.002


async def until(is_so: Callable[[], object], *, patience: float = 20.0) -> None:
    """Wait until *is_so* returns something true.

    Raises:
        TimeoutError: it did not within *patience* seconds.
    """
    async with asyncio.timeout(patience):
        while not is_so():  # noqa: ASYNC110 - counts tell nobody when they change
            await asyncio.sleep(_PAUSE)

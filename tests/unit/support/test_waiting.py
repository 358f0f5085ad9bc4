"""Waiting ends when the fact is there, or when patience is at its end."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import until


async def test_wait_ends_when_it_is_so() -> None:
    facts: list[str] = []
    asyncio.get_running_loop().call_later(0.01, facts.append, "so")
    await until(lambda: facts)
    assert facts == ["so"]


async def test_patience_ends() -> None:
    with pytest.raises(TimeoutError):
        await until(lambda: False, patience=0.01)

"""Which kind of process the settings ask for; what becomes of it is in tests/system."""

from __future__ import annotations

import threading

import pytest

import asgibridge
from asgibridge.errors import StartError


async def app(scope: object, receive: object, send: object) -> None:
    """Never called."""


def test_only_the_main_thread_can_serve() -> None:
    raised: list[BaseException] = []

    def serve() -> None:
        try:
            asgibridge.run(app, port=0)
        except StartError as error:
            raised.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert "only the main thread hears signals" in str(raised[0])


def test_workers_are_not_forked_beside_other_threads() -> None:
    """A child would have their locks, and not them."""
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait, name="somebody-else")
    thread.start()
    try:
        with pytest.raises(StartError, match=r"somebody-else.* without preload"):
            asgibridge.run(app, port=0, workers=2)
    finally:
        is_over.set()
        thread.join()

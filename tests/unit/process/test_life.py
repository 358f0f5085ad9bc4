"""What the life of a process decides by itself; how processes end is in tests/system."""

from __future__ import annotations

import threading

import pytest

from asgibridge import Config, Server
from asgibridge.errors import StartError
from asgibridge.process.life import Life


class Silent:
    """Is told everything and does nothing."""

    def on_ready(self, server: Server) -> None: ...

    def on_beat(self, now: float) -> None: ...

    def on_stopping(self) -> None: ...


def test_only_the_main_thread_can_run_a_life() -> None:
    refused: list[str] = []

    def attempt() -> None:
        with pytest.raises(StartError) as caught:
            Life(Config(), Server(Config()), onlooker=Silent())
        refused.append(str(caught.value))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert refused == [
        "only the main thread hears signals; run there, or await Server(config).serve()"
    ]

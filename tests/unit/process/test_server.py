"""What a server says of itself; what it does is in tests/integration/test_programmatic.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from asgibridge import Config, Server
from asgibridge.errors import LoadError, StartError
from asgibridge.process.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable


def test_making_a_server_loads_and_opens_nothing() -> None:
    server = Server(Config(app="no_such_module:app", port=0))
    assert (server.phase, server.urls, server.report) == (Phase.NEW, [], None)
    assert repr(server) == "<Server new >"


async def test_a_module_that_does_not_exist_is_found_out_at_the_start() -> None:
    server = Server(Config(app="no_such_module:app", port=0))
    with pytest.raises(LoadError, match="no_such_module"):
        await server.start()
    assert server.phase is Phase.STOPPED


def test_loading_is_done_once() -> None:
    server = Server(Config(app="asgibridge.demo:asgi"))
    assert server.load() is server.load()


async def test_too_few_descriptors_are_an_error_before_anything_is_loaded() -> None:
    server = Server(Config(app="no_such_module:app", worker_connections=2**40))
    with pytest.raises(StartError, match="too few file descriptors"):
        await server.start()


async def test_the_banner_names_address_and_limits(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(app=plain, port=0, worker_connections=50)
    with caplog.at_level(logging.INFO, "asgibridge"):
        async with Server(config) as server:
            said = [record.getMessage() for record in caplog.records]
            assert said[0] == f"listening on {server.urls[0]}"
            assert said[1].startswith("ready pid=")
            assert " worker_connections=50 max_in_flight=none " in said[1]
            assert len(said) == 2


async def test_the_demo_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "asgibridge"):
        async with Server(Config(port=0)):
            assert caplog.records[2].getMessage().startswith("this is the demo; serve your own:")


async def plain(_scope: object, _receive: Callable[[], object], _send: object) -> None:
    raise RuntimeError("never called")

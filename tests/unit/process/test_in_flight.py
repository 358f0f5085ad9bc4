"""What is in flight is named, with where it is."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from support.clients import RawClient
from support.serving import serving

if TYPE_CHECKING:
    import pytest
    from support.serving import StartResponse


async def test_a_request_in_a_thread_is_shown_with_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    is_in, may_go = threading.Event(), threading.Event()

    def app(environ: dict[str, object], start_response: StartResponse) -> list[bytes]:
        del environ
        is_in.set()
        may_go.wait(20)
        start_response("200 OK", [])
        return [b"x"]

    async with serving(app) as server, RawClient.connect(server.urls[0]) as client:
        with caplog.at_level(logging.INFO, "asgibridge"):
            server.describe("nobody is there")
            assert not [each for each in caplog.messages if "nobody is there" in each]
            await client.write(b"GET /slow?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.to_thread(is_in.wait, 20)
            server.describe("as asked for")
        may_go.set()
        await client.read_response()
    (text,) = [each for each in caplog.messages if each.startswith("as asked for in_flight=1")]
    assert "GET /slow?x=1 client=" in text
    assert "may_go.wait(20)" in text

"""From an exchange to its record, and when the records are written."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.clients import RawClient

from asgibridge import Config, Server
from asgibridge.ops.access import AccessLog, LineHandler
from asgibridge.process.recording import AccessRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FORMAT = "%(m)s %(U)s %(s)s %(B)s"


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("raised by the application")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What reaches the access log, as the command sets it up."""
    stream = io.StringIO()
    handler = LineHandler(stream)
    logger = logging.getLogger("asgibridge.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield stream
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


async def test_one_record_for_each_fate_when_the_server_has_stopped(written: io.StringIO) -> None:
    config = Config(app=app, port=0, access_log=True, access_log_format=FORMAT)
    async with Server(config) as server:
        async with RawClient.connect(server.urls[0]) as client:
            await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.request(b"HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n", method="HEAD")
            await client.request(b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.request(b"nonsense\r\n\r\n")
        # A request that breaks off in its body: refused, with its line all the same.
        async with RawClient.connect(server.urls[0]) as client:
            await client.write(b"POST /half HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123")
            client.half_close()
            assert (await client.read_response()).status == 400
            assert await client.read_until_eof() == b""
    lines = written.getvalue().splitlines()
    words = [line.split()[:3] for line in lines]
    assert words == [
        ["GET", "/", "200"],
        ["HEAD", "/head", "200"],
        ["GET", "/fails", "500"],
        ["-", "-", "400"],
        ["POST", "/half", "400"],
    ]


async def test_records_are_written_soon_and_not_one_by_one(written: io.StringIO) -> None:
    config = Config(app=app, port=0, access_log=True, access_log_format=FORMAT)
    async with Server(config) as server, RawClient.connect(server.urls[0]) as client:
        for _ in range(3):
            await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not written.getvalue()
        async with asyncio.timeout(5):
            while not written.getvalue():  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.01)
        assert written.getvalue().count("\n") == 3


async def test_flush_writes_at_once(written: io.StringIO) -> None:
    recorder = AccessRecorder(asyncio.get_running_loop(), AccessLog("%(s)s"))

    class Nobody:
        client = None

    recorder.on_refused(Nobody(), 400, "no request")  # type: ignore[arg-type]  # all it looks at
    assert not written.getvalue()
    recorder.flush()
    assert written.getvalue() == "400\n"

"""A server in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.clients import RawClient
from support.serving import serving
from support.waiting import until

from asgibridge.net.wiring import BUCKETS

if TYPE_CHECKING:
    from support.serving import StartResponse


def app(environ: dict[str, object], start_response: StartResponse) -> list[bytes]:
    del environ
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


async def test_requests_are_counted_by_how_long_they_took() -> None:
    async with serving(app) as server, RawClient.connect(server.urls[0]) as client:
        for _ in range(3):
            await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        # The last answer may reach its client before the loop hears that it was sent.
        await until(lambda: server.statistics().requests == 3)
        statistics = server.statistics()
    assert sum(statistics.request_times) == 3
    assert len(BUCKETS) + 1 == len(statistics.request_times)
    assert statistics.bytes_sent == 15
    assert statistics.accepted == 1
    assert 0 < statistics.request_seconds < 30


async def test_activity_stays_the_same_only_while_nothing_happens() -> None:
    async with serving(app) as server, RawClient.connect(server.urls[0]) as client:
        await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: server.statistics().gate.in_flight == 0)
        idle = server.activity()
        assert idle == server.activity()
        await client.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle != server.activity()

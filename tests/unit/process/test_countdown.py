"""A server tells when so many requests are over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.clients import RawClient
from support.serving import serving
from support.waiting import until

from asgibridge import Config, Server
from asgibridge.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def app(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "0")])
    return []


@pytest.mark.parametrize("access_log", [False, True])
async def test_it_calls_back_once_at_zero_and_records_go_on(*, access_log: bool) -> None:
    called: list[int] = []
    async with serving(app, access_log=access_log, access_log_format="%(s)s") as server:
        server.call_after(2, lambda: called.append(server.statistics().requests))
        async with RawClient.connect(server.urls[0]) as client:
            for number in (1, 2, 3):
                assert (await client.request(GET)).status == 200
                # The thread may have answered before the loop counts.
                await until(lambda: server.statistics().requests == number)  # noqa: B023
                assert called == ([2] if number > 1 else [])


def test_nothing_is_counted_before_the_start() -> None:
    with pytest.raises(StartError, match="before it has started"):
        Server(Config()).call_after(1, lambda: None)

"""Tests that serve find a server that is there, and gone afterwards."""

from __future__ import annotations

import pytest
from support.clients import RawClient
from support.serving import Receive, Scope, Send, clients_of, serving
from support.waiting import until

from asgibridge.errors import SettingsError


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def test_server_is_there_in_the_block_and_not_after_it() -> None:
    async with serving(app) as server, clients_of(server.urls * 2) as clients:
        assert len(clients) == 2
        for client in clients:
            response = await client.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert response.status == 204
        await until(lambda: server.statistics().gate.idle == 2)
        url = server.urls[0]
    with pytest.raises(ConnectionRefusedError):
        await RawClient.dial(url)


async def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="worker_connections"):
        async with serving(app, worker_connections=0):
            raise AssertionError("not reached")

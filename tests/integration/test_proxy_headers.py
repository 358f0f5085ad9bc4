"""Forwarded headers over real sockets: who is believed, and what then follows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.serving import Receive, Scope, Send, StartResponse, clients_of, serving
from support.tls import TlsClient, issue
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

FORWARDED_GET = (
    b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 192.0.2.7:4711\r\n"
    b"X-Forwarded-Proto: https\r\n\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    tls = sorted({"tls"} & scope["extensions"].keys())
    body = f"{scope['scheme']} {scope['client']} {tls}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def test_trusted_peer_is_believed_request_by_request() -> None:
    async with serving(tell) as server, clients_of(server.urls) as (client,):
        own = client.socket.getsockname()
        assert (await client.request(FORWARDED_GET)).body == b"https ('192.0.2.7', 4711) []"
        assert (await client.request(GET)).body == f"http {own} []".encode()
        forwarded = b"Forwarded: for=192.0.2.8;proto=https\r\n\r\n"
        answer = await client.request(GET.removesuffix(b"\r\n") + forwarded)
        assert answer.body == b"https ('192.0.2.8', 0) []"


@pytest.mark.parametrize(
    "settings", [{"proxy_headers": False}, {"forwarded_allow_ips": ("10.0.0.0/8",)}]
)
async def test_others_change_nothing(settings: dict[str, Any]) -> None:
    async with serving(tell, **settings) as server, clients_of(server.urls) as (client,):
        own = client.socket.getsockname()
        assert (await client.request(FORWARDED_GET)).body == f"http {own} []".encode()


async def test_peer_on_a_unix_socket_is_trusted(tmp_path: Path) -> None:
    bind = (f"unix:{tmp_path / 'app.sock'}",)
    async with (
        serving(tell, bind=bind, forwarded_allow_ips=()) as server,
        clients_of(server.urls) as (client,),
    ):
        assert (await client.request(FORWARDED_GET)).body == b"https ('192.0.2.7', 4711) []"
        assert (await client.request(GET)).body == b"http None []"


async def test_scheme_of_the_proxy_goes_before_our_own() -> None:
    async with (
        serving(tell, **issue().settings) as server,
        TlsClient.secure(server.urls[0]) as client,
    ):
        request = FORWARDED_GET.replace(b"https", b"http")
        assert (await client.request(request)).body == b"http ('192.0.2.7', 4711) ['tls']"


@pytest.mark.parametrize("by_unix_socket", [False, True])
async def test_environ_and_access_log_tell_of_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, by_unix_socket: bool
) -> None:
    environs: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        environs.append(environ)
        start_response("200 OK", [])
        return [b"hello"]

    bind = (f"unix:{tmp_path / 'app.sock'}" if by_unix_socket else "127.0.0.1:0",)
    settings: dict[str, Any] = {"access_log": True, "access_log_format": "%(h)s", "bind": bind}
    with caplog.at_level(logging.INFO, logger="asgibridge.access"):
        async with (
            serving(app, interface="wsgi", **settings) as server,
            clients_of(server.urls) as (client,),
        ):
            assert (await client.request(FORWARDED_GET)).status == 200
        await until(lambda: [each for each in caplog.records if each.name.endswith("access")])
    (environ,) = environs
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.7", "4711")
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")
    # As they came, for whoever wants to look.
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.7:4711"
    if by_unix_socket:
        assert environ["SERVER_PORT"] == "443"
    lines = [each.message for each in caplog.records if each.name == "asgibridge.access"]
    assert lines == ["192.0.2.7"]

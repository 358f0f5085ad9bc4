"""What Starlette's documentation says of its WebSockets is so under this server.

An independent check of our ASGI: the applications here know Starlette only, the clients are those
of the `websockets` package, and between them are real sockets.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from support.serving import serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.asyncio.client import ClientConnection

PATIENCE: Final = 10.0


@asynccontextmanager
async def talking_to(
    endpoint: Callable[[WebSocket], Awaitable[None]] | type[WebSocketEndpoint],
    path: str = "/",
    *,
    route: str = "/",
    **options: Any,  # noqa: ANN401 - those of the client
) -> AsyncIterator[ClientConnection]:
    """Serve *endpoint* at *route*, and connect to *path*."""
    app = Starlette(routes=[WebSocketRoute(route, endpoint, name="talk")])
    async with serving(app) as server:
        url = server.urls[0].replace("http:", "ws:") + path
        async with asyncio.timeout(PATIENCE), connect(url, **options) as client:
            yield client


async def test_url_headers_query_path_and_cookies_are_known() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(
            {
                "url": str(websocket.url),
                "room": websocket.path_params["room"],
                "query": dict(websocket.query_params),
                "cookie": websocket.cookies,
                "agent": websocket.headers["x-agent"],
                "client": websocket.client.host if websocket.client else None,
                "named": str(websocket.url_for("talk", room=7)),
            }
        )
        await websocket.close()

    headers = {"X-Agent": "test", "Cookie": "a=b; c=d"}
    path = "/rooms/42?color=blue"
    async with talking_to(
        endpoint, path, route="/rooms/{room:int}", additional_headers=headers
    ) as client:
        told = json.loads(await client.recv())
    assert told["url"].startswith("ws://127.0.0.1:")
    assert told["url"].endswith(path)
    assert told["named"].endswith("/rooms/7")
    assert (told["room"], told["query"]) == (42, {"color": "blue"})
    assert (told["cookie"], told["agent"]) == ({"a": "b", "c": "d"}, "test")
    assert told["client"] == "127.0.0.1"


@pytest.mark.parametrize("mode", ["text", "binary"])
async def test_text_bytes_and_json_go_both_ways(mode: Any) -> None:  # noqa: ANN401
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("text: " + await websocket.receive_text())
        await websocket.send_bytes(b"bytes: " + await websocket.receive_bytes())
        data = await websocket.receive_json(mode=mode)
        await websocket.send_json({"json": data}, mode=mode)
        await websocket.close()

    async with talking_to(endpoint) as client:
        await client.send("grüße")
        assert await client.recv() == "text: grüße"
        await client.send(b"\x00\xff")
        assert await client.recv() == b"bytes: \x00\xff"
        await client.send('{"a": 1}' if mode == "text" else b'{"a": 1}')
        assert await client.recv() == (
            '{"json":{"a":1}}' if mode == "text" else b'{"json":{"a":1}}'
        )
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1000


@pytest.mark.parametrize("kind", ["text", "bytes", "json"])
async def test_iteration_ends_when_the_client_leaves(kind: str) -> None:
    got: list[Any] = []
    ended = asyncio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async for message in getattr(websocket, f"iter_{kind}")():
            got.append(message)  # noqa: PERF401 - one by one is the matter
        ended.set()

    async with talking_to(endpoint) as client:
        for number in range(3):
            await client.send(str(number) if kind != "bytes" else str(number).encode())
        await client.close()
        await ended.wait()
    expected: list[Any] = ["0", "1", "2"]
    if kind != "text":
        expected = [b"0", b"1", b"2"] if kind == "bytes" else [0, 1, 2]
    assert got == expected


async def test_disconnect_carries_code_and_reason() -> None:
    caught: list[WebSocketDisconnect] = []
    ended = asyncio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect as error:
            caught.append(error)
        assert websocket.client_state is WebSocketState.DISCONNECTED
        ended.set()

    async with talking_to(endpoint) as client:
        await client.close(3001, "had enough")
        await ended.wait()
    assert (caught[0].code, caught[0].reason) == (3001, "had enough")


async def test_sending_to_a_client_that_left_raises_a_disconnect() -> None:
    """Starlette makes it of the `OSError` that the specification asks for."""
    caught: list[BaseException] = []
    ended = asyncio.Event()

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("tick")
                await asyncio.sleep(0.01)
        except WebSocketDisconnect as error:
            caught.append(error)
        ended.set()

    async with talking_to(endpoint) as client:
        await client.recv()
        await client.close()
        await ended.wait()
    assert len(caught) == 1


async def test_accept_takes_subprotocol_and_headers() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        assert websocket.scope["subprotocols"] == ["soap", "wamp"]
        await websocket.accept(subprotocol="wamp", headers=[(b"x-room", b"blue")])
        await websocket.close(3000, "enough")

    async with talking_to(endpoint, subprotocols=["soap", "wamp"]) as client:
        assert client.subprotocol == "wamp"
        assert client.response is not None
        assert client.response.headers["x-room"] == "blue"
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (3000, "enough")


async def refused(app: Starlette, path: str = "/") -> InvalidStatus:
    """Try to connect; return how it was refused."""
    async with serving(app) as server:
        url = server.urls[0].replace("http:", "ws:") + path
        with pytest.raises(InvalidStatus) as caught:
            async with asyncio.timeout(PATIENCE), connect(url):
                pass
    return caught.value


async def test_close_before_accept_is_403() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.close()

    error = await refused(Starlette(routes=[WebSocketRoute("/", endpoint)]))
    assert error.response.status_code == 403


async def test_denial_response_is_sent_as_it_is() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        response = JSONResponse({"why": "no"}, status_code=401, headers={"X-A": "b"})
        await websocket.send_denial_response(response)

    error = await refused(Starlette(routes=[WebSocketRoute("/", endpoint)]))
    assert (error.response.status_code, error.response.headers["x-a"]) == (401, "b")
    assert error.response.body == b'{"why":"no"}'


async def test_http_exception_before_accept_is_a_denial() -> None:
    async def endpoint(_websocket: WebSocket) -> None:
        raise HTTPException(status_code=402, detail="pay first")

    error = await refused(Starlette(routes=[WebSocketRoute("/", endpoint)]))
    assert (error.response.status_code, error.response.body) == (402, b"pay first")


async def test_unknown_path_is_refused() -> None:
    error = await refused(Starlette(routes=[]), "/nowhere")
    assert error.response.status_code in (403, 404)


async def test_websocket_exception_closes_with_its_code() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise WebSocketException(code=1008, reason="against the rules")

    async with talking_to(endpoint) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "against the rules")


async def test_other_exception_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise ZeroDivisionError

    async with talking_to(endpoint) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    assert "ZeroDivisionError" in caplog.text


async def test_endpoint_class_is_called_at_each_event() -> None:
    events: list[object] = []
    ended = asyncio.Event()

    class Talk(WebSocketEndpoint):
        encoding = "json"

        async def on_connect(self, websocket: WebSocket) -> None:
            events.append("connect")
            await websocket.accept()

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:  # noqa: ANN401
            events.append(data)
            await websocket.send_json(data)

        async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
            del websocket
            events.append(close_code)
            ended.set()

    async with talking_to(Talk) as client:
        await client.send('{"a": [1, 2]}')
        assert await client.recv() == '{"a":[1,2]}'
        await client.close(1001)
        await ended.wait()
    assert events == ["connect", {"a": [1, 2]}, 1001]


async def test_endpoint_class_closes_on_a_message_of_another_kind() -> None:
    class Talk(WebSocketEndpoint):
        encoding = "bytes"

    async with talking_to(Talk) as client:
        await client.send("text")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1003


async def test_mounted_applications_and_plain_requests_share_a_server() -> None:
    async def page(_request: object) -> JSONResponse:
        return JSONResponse({"plain": True})

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.url.path)
        await websocket.close()

    inner = Starlette(routes=[WebSocketRoute("/talk", endpoint)])
    app = Starlette(routes=[Route("/talk", page), Mount("/inner", inner)])
    async with serving(app) as server:
        url = server.urls[0].replace("http:", "ws:")
        async with asyncio.timeout(PATIENCE), connect(f"{url}/inner/talk") as client:
            assert await client.recv() == "/inner/talk"
        with pytest.raises(InvalidStatus):
            async with connect(f"{url}/talk"):
                pass

"""The demo application, through both interfaces."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest

from asgibridge import __version__, demo

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2wsgi.asgi_typing import ReceiveEvent, SendEvent

    Get = Callable[..., httpx.Response]

pytestmark = pytest.mark.anyio


class ValidatedTransport(httpx.BaseTransport):
    """Calls the WSGI application under the standard library's validator."""

    def __init__(self, **environ: object) -> None:
        self.environ = environ

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query.decode(),
            "wsgi.input": io.BytesIO(body),
        }
        for name, value in request.headers.items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        environ.pop("HTTP_CONTENT_TYPE", None)
        if length := environ.pop("HTTP_CONTENT_LENGTH", None):
            environ["CONTENT_LENGTH"] = length
        setup_testing_defaults(environ)
        environ.update(self.environ)
        started: list[tuple[int, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:  # noqa: ANN401
            started.append((int(status[:3]), headers))

        chunks = validator(demo.wsgi)(environ, start_response)  # type: ignore[arg-type]
        try:
            content = b"".join(chunks)
        finally:
            chunks.close()  # type: ignore[attr-defined]
        [(status, headers)] = started
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


class Client:
    """Asks the same of either interface."""

    def __init__(self, interface: str, root: str = "") -> None:
        self.interface = interface
        self.root = root

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        url = f"http://testserver{path}"
        if self.interface == "WSGI":
            transport = ValidatedTransport(SCRIPT_NAME=self.root)
            response = transport.handle_request(httpx.Request(method, url, **options))
            response.read()
            return response
        asgi = httpx.ASGITransport(demo.asgi, root_path=self.root)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=asgi) as async_client:
            return await async_client.request(method, url, **options)


@pytest.fixture(params=["WSGI", "ASGI"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


def test_app_is_the_wsgi_one() -> None:
    assert demo.wsgi is demo.app


async def test_page_tells_who_served_it(client: Client) -> None:
    page = await client.request("GET", "/")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"asgibridge {__version__}" in page.text
    assert f"<td>{os.getpid()}</td>" in page.text
    assert f"at work through {client.interface}" in page.text
    assert "MainThread" in page.text
    for link in ("/slow?seconds=1", "/stream", "/json", "/error", "/echo"):
        assert f'"{link}"' in page.text


async def test_page_needs_nothing_from_elsewhere(client: Client) -> None:
    page = await client.request("GET", "/")

    assert "://" not in page.text.replace("http://testserver", "")
    assert "<script" not in page.text
    assert "$" not in page.text  # no placeholder was forgotten


async def test_page_escapes_what_the_client_sent(client: Client) -> None:
    page = await client.request("GET", "/", headers={"x-name": "<script>alert(1)</script>"})

    assert "<script>" not in page.text
    assert "<th>x-name</th><td>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in page.text


@pytest.mark.parametrize("interface", ["WSGI", "ASGI"])
async def test_links_stay_below_the_root_path(interface: str) -> None:
    page = await Client(interface, root='/shop"&').request("GET", "/")

    assert 'href="/shop%22%26/slow?seconds=1"' in page.text
    assert 'action="/shop%22%26/echo"' in page.text


async def test_root_path_is_not_part_of_the_path() -> None:
    sent = await call_asgi(
        {"path": "/shop/slow", "root_path": "/shop", "query_string": b"seconds=0"}
    )

    assert sent[0]["status"] == 200  # type: ignore[typeddict-item]


async def test_json_tells_the_same(client: Client) -> None:
    response = await client.request("GET", "/json", headers={"x-name": "value"})

    told = json.loads(response.text)

    assert response.headers["content-type"] == "application/json"
    assert str(os.getpid()) == told["facts"]["Process"]
    assert client.interface == told["facts"]["Interface"]
    assert ["x-name", "value"] in told["headers"]


async def test_slow_answers_after_its_wait(client: Client) -> None:
    response = await client.request("GET", "/slow?seconds=0.001")

    assert response.text.startswith("Waited 0.001 s")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("2.5", 2.5), ("30", 30.0), ("1e9", 30.0), ("inf", 30.0)]
)
def test_waits_are_bounded(text: str, seconds: float) -> None:
    assert seconds == demo._seconds(text)


@pytest.mark.parametrize("path", ["/slow", "/stream"])
@pytest.mark.parametrize("text", ["-1", "nan", "-inf", "soon", "1s"])
async def test_nonsense_for_a_wait_is_refused(client: Client, path: str, text: str) -> None:
    response = await client.request("GET", f"{path}?seconds={text}")

    assert response.status_code == 400
    assert response.text == "seconds is a number from 0 to 30.\n"


async def test_stream_sends_its_lines(client: Client) -> None:
    response = await client.request("GET", "/stream?seconds=0")

    lines = response.text.splitlines()

    assert "content-length" not in response.headers
    assert len(lines) == 10
    assert lines[-1].endswith("chunk 10 of 10")


@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 200_000])
async def test_echo_sends_the_body_back(client: Client, body: bytes) -> None:
    response = await client.request("POST", "/echo", content=body)

    assert body == response.content
    assert str(len(body)) == response.headers["content-length"]
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_echo_reads_an_input_without_length_only_to_an_end_that_is_promised() -> None:
    def echo(**environ: object) -> bytes:
        request: dict[str, Any] = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/echo",
            "wsgi.input": io.BytesIO(b"abc"),
        }
        return b"".join(demo.wsgi({**request, **environ}, lambda *_: None))  # type: ignore[typeddict-item, arg-type]

    assert echo(**{"wsgi.input_terminated": True}) == b"abc"
    assert echo() == b""


def test_echo_reads_no_further_than_the_length() -> None:
    environ: Any = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/echo",
        "CONTENT_LENGTH": "3",
        "wsgi.input": io.BytesIO(b"abcNEXT"),
    }

    assert b"".join(demo.wsgi(environ, lambda *_: None)) == b"abc"  # type: ignore[arg-type]


async def test_error_raises_on_purpose(client: Client) -> None:
    with pytest.raises(demo.DemoError, match="always raises"):
        await client.request("GET", "/error")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("POST", "/", 405, "GET, HEAD"),
        ("GET", "/echo", 405, "POST, PUT"),
        ("DELETE", "/error", 405, "GET, HEAD"),
    ],
)
async def test_what_is_not_there_is_told(
    client: Client, method: str, path: str, status: int, allow: str | None
) -> None:
    response = await client.request(method, path)

    assert status == response.status_code
    assert allow == response.headers.get("allow")


async def call_asgi(
    scope: dict[str, object], *received: ReceiveEvent | dict[str, object]
) -> list[SendEvent]:
    """Drive the ASGI application by hand; waiting for more than was *received* fails."""
    messages = iter(received)
    sent: list[SendEvent] = []

    async def receive() -> Any:  # noqa: ANN401
        return next(messages)

    async def send(message: SendEvent) -> None:
        sent.append(message)

    whole: Any = {"type": "http", "method": "GET", "headers": [], "query_string": b"", **scope}
    await demo.asgi(whole, receive, send)
    return sent


async def test_echo_stops_when_the_client_leaves() -> None:
    sent = await call_asgi(
        {"method": "POST", "path": "/echo"},
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    )

    assert [message["body"] for message in sent[1:]] == [b"half"]  # type: ignore[typeddict-item]
    assert sent[-1]["more_body"]  # type: ignore[typeddict-item]


async def test_lifespan_completes() -> None:
    sent = await call_asgi(
        {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    )

    assert [m["type"] for m in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_chat_page_is_there_where_a_websocket_can_be_opened() -> None:
    """Its one script is named in its policy by what it says."""
    assert (await Client("WSGI").request("GET", "/chat")).status_code == 404
    answer = await Client("ASGI", root="/shop").request("GET", "/chat")
    assert answer.status_code == 200
    script = answer.text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "/chat" in (await Client("ASGI").request("GET", "/")).text
    assert "/chat" not in (await Client("WSGI").request("GET", "/")).text

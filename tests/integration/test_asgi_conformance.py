"""ASGI HTTP as the specification has it, on both loops.

The lifespan is in test_asgi_lifespan.py.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from apps import asgi_cases
from support.clients import RawClient

from asgibridge import Config, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0
# Seconds in which a server without back-pressure would long have moved 64 MiB over the loopback.
LONG_ENOUGH: Final = 0.5
GET: Final = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
HEAD: Final = b"HEAD / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
OLD_GET: Final = b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n"


def request_of(
    *lines: bytes, method: bytes = b"GET", target: bytes = b"/", version: bytes = b"1.1"
) -> bytes:
    """Answer a request with *lines* as its header lines after Host."""
    start = b"%s %s HTTP/%s" % (method, target, version)
    return b"\r\n".join([start, b"Host: shop.example", *lines, b"", b""])


@asynccontextmanager
async def raw_client(app: asgi_cases.Application, **settings: Any) -> AsyncIterator[RawClient]:  # noqa: ANN401
    """Serve *app* for one client of exact bytes; *settings* are those of `Config`."""
    async with (
        Server(Config(app=app, port=0, **settings)) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        yield client


async def scope_of(request: bytes, **settings: Any) -> Any:  # noqa: ANN401 - settings and JSON
    """Answer the scope that exactly *request* is given."""
    async with raw_client(asgi_cases.scope_dump, **settings) as client:
        response = await client.request(request)
        assert response.status == 200
        return json.loads(response.body)


# The scope


async def test_scope_names_the_request() -> None:
    """[ASGI-1]."""
    scope = await scope_of(request_of(target=b"/caf%C3%A9/a%2Fb%20c?q=%20x&empty"))
    assert scope["type"] == "http"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["http_version"] == "1.1"
    assert scope["path"] == "/café/a/b c"
    assert scope["raw_path"] == "/caf%C3%A9/a%2Fb%20c"
    assert scope["query_string"] == "q=%20x&empty"
    assert scope["root_path"] == ""


async def test_scope_holds_the_types_of_the_specification() -> None:
    """[ASGI-1]."""
    types = (await scope_of(request_of(b"X-Tag: one")))["types"]
    assert types["path"] == "str"
    assert types["raw_path"] == "bytes"
    assert types["query_string"] == "bytes"
    assert types["each header"] == "bytes"
    assert types["method"] == "str"
    assert types["state"] == "dict"


async def test_scope_names_the_version_of_the_specification() -> None:
    """[ASGI-1]."""
    asgi = (await scope_of(request_of()))["asgi"]
    assert asgi["version"] == "3.0"
    major, minor = asgi["spec_version"].split(".")
    assert (int(major), int(minor)) >= (2, 3)


async def test_headers_keep_order_and_duplicates_in_lower_case() -> None:
    """[ASGI-1]."""
    scope = await scope_of(
        request_of(b"X-Tag: One", b"Cookie: a=1", b"x-tag: two", b"X_Under: kept", b"X-E: caf\xe9")
    )
    assert scope["headers"] == [
        ["host", "shop.example"],
        ["x-tag", "One"],
        ["cookie", "a=1"],
        ["x-tag", "two"],
        ["x_under", "kept"],
        ["x-e", "caf\xe9"],
    ]


async def test_path_that_is_no_utf_8_keeps_its_raw_form() -> None:
    scope = await scope_of(request_of(target=b"/caf%E9"))
    assert scope["raw_path"] == "/caf%E9"
    assert scope["path"].startswith("/caf")


async def test_path_is_decoded_once() -> None:
    """And what is no escape stays what it is."""
    scope = await scope_of(request_of(target=b"/%2541/100%/%zz;p=1+2"))
    assert scope["path"] == "/%41/100%/%zz;p=1+2"


async def test_old_version_is_named() -> None:
    assert (await scope_of(request_of(version=b"1.0")))["http_version"] == "1.0"


async def test_method_is_passed_as_it_came() -> None:
    assert (await scope_of(request_of(method=b"PROPFIND")))["method"] == "PROPFIND"


async def test_root_path_is_part_of_the_path() -> None:
    """A proxy strips the prefix; the specification wants `path` with it."""
    scope = await scope_of(request_of(target=b"/cart"), root_path="/shop")
    assert scope["root_path"] == "/shop"
    assert scope["path"] == "/shop/cart"


async def test_scope_names_both_ends_of_the_connection() -> None:
    """[ASGI-1]."""
    async with (
        Server(Config(app=asgi_cases.scope_dump, port=0)) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        own_end = client.socket.getsockname()
        scope = json.loads((await client.request(GET)).body)
        assert scope["client"] == list(own_end)
        assert scope["server"] == ["127.0.0.1", urlsplit(server.urls[0]).port]


async def test_scope_of_one_request_does_not_leak_into_the_next() -> None:
    """The scope comes from a template of the connection: no key of one request may stay in it."""
    async with raw_client(asgi_cases.scope_dump) as client:
        await client.request(request_of(b"X-First: 1", target=b"/first?a"))
        scope = json.loads((await client.request(request_of(target=b"/second"))).body)
    assert scope["path"] == "/second"
    assert scope["query_string"] == ""
    assert scope["headers"] == [["host", "shop.example"]]


# Sending


@pytest.mark.parametrize("case", asgi_cases.ANSWERS)
async def test_application_is_answered_and_the_connection_serves_on(case: str) -> None:
    """[ASGI-1]: whatever frames the body, the next request finds a clean connection."""
    app, status, body = asgi_cases.ANSWERS[case]
    async with raw_client(app) as client:
        for _ in range(2):
            response = await client.request(GET)
            assert (response.status, response.body) == (status, body)
            assert response.header("connection") in {None, "keep-alive"}


@pytest.mark.parametrize("case", asgi_cases.ANSWERS)
async def test_old_client_gets_the_same_without_chunks(case: str) -> None:
    """HTTP/1.0 knows no chunked coding; the end of the connection ends the body."""
    app, status, body = asgi_cases.ANSWERS[case]
    async with raw_client(app) as client:
        response = await client.request(OLD_GET)
        assert (response.status, response.body) == (status, body)
        assert response.header("transfer-encoding") is None
        assert await client.read_until_eof() == b""


@pytest.mark.parametrize("case", asgi_cases.ANSWERS)
async def test_head_is_answered_without_a_body(case: str) -> None:
    """[ASGI-1]: a body sent after HEAD would be taken for the next answer."""
    app, status, _ = asgi_cases.ANSWERS[case]
    async with raw_client(app) as client:
        for _ in range(2):
            assert (await client.request(HEAD, method="HEAD")).status == status


async def test_declared_length_survives_head() -> None:
    async with raw_client(asgi_cases.hello) as client:
        response = await client.request(HEAD, method="HEAD")
        assert response.header("content-length") == "5"


@pytest.mark.parametrize("app", [asgi_cases.no_content, asgi_cases.not_modified])
async def test_answer_that_cannot_have_a_body_has_no_framing(app: asgi_cases.Application) -> None:
    async with raw_client(app) as client:
        response = await client.request(GET)
        assert response.header("transfer-encoding") is None
        assert response.header("content-length") is None


async def test_not_modified_may_declare_the_length_it_does_not_send() -> None:
    async with raw_client(asgi_cases.declared_not_modified) as client:
        assert (await client.request(GET)).header("content-length") == "5"


async def test_send_waits_for_a_client_that_does_not_read() -> None:
    """[ASGI-3]: what the client does not take is not gathered in memory."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.write(request_of(target=b"/sends"))
        assert (await client.read_head()).status == 200
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app.ended.wait(), LONG_ENOUGH)
        while not (await client.read_some()).endswith(b"0\r\n\r\n"):
            pass
        await asyncio.wait_for(app.ended.wait(), PATIENCE)


# Receiving


async def test_body_arrives_in_order_and_ends_once() -> None:
    """[ASGI-1]."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.write(
            request_of(b"Transfer-Encoding: chunked", method=b"POST", target=b"/receives")
        )
        for part in (b"5\r\nhello\r\n", b"1\r\n \r\n", b"5\r\nworld\r\n0\r\n\r\n"):
            await client.write(part)
        assert (await client.read_response()).body == b"hello"
    assert {message["type"] for message in app.messages} == {"http.request"}
    assert b"".join(message.get("body", b"") for message in app.messages) == b"hello world"
    assert [message.get("more_body", False) for message in app.messages].index(False) + 1 == len(
        app.messages
    )


async def test_request_without_body_is_one_empty_message() -> None:
    """[ASGI-1]."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.request(request_of(target=b"/receives"))
    assert len(app.messages) == 1
    assert app.messages[0]["type"] == "http.request"
    assert app.messages[0].get("body", b"") == b""
    assert app.messages[0].get("more_body", False) is False


async def test_reading_pauses_while_the_application_does_not_receive() -> None:
    """[ASGI-3]: what the application does not ask for stays with the client."""
    app = asgi_cases.Witness()
    size = 64 << 20
    async with raw_client(app) as client:
        length = b"Content-Length: %d" % size
        await client.write(request_of(length, method=b"POST", target=b"/ignores"))
        upload = asyncio.ensure_future(client.write(b"x" * size))
        done, _ = await asyncio.wait([upload], timeout=LONG_ENOUGH)
        assert not done
        app.release.set()
        await upload
        assert (await client.read_response()).body == str(size).encode()


async def test_client_that_leaves_is_told_at_once() -> None:
    """[ASGI-3]: `http.disconnect` comes to an application that waits."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.write(request_of(target=b"/waits"))
        await asyncio.wait_for(app.called.wait(), PATIENCE)
        client.reset()
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
    assert [message["type"] for message in app.messages] == ["http.request", "http.disconnect"]


async def test_upload_that_breaks_off_never_looks_complete() -> None:
    """[ASGI-1] [ASGI-3]: `http.disconnect` comes in place of the rest."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.write(request_of(b"Content-Length: 10", method=b"POST", target=b"/waits"))
        await client.write(b"hello")
        await asyncio.wait_for(app.called.wait(), PATIENCE)
        client.reset()
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
    *received, last = app.messages
    assert last["type"] == "http.disconnect"
    assert all(message["more_body"] for message in received)


async def test_send_to_a_client_that_left_raises() -> None:
    """[ASGI-1]: HTTP 2.4 wants an `OSError`, so that an endless stream ends."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.write(request_of(target=b"/streams"))
        assert (await client.read_head()).status == 200
        client.reset()
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
    assert isinstance(app.raised, OSError)


async def test_receive_after_the_response_says_disconnect() -> None:
    """[ASGI-1]."""
    app = asgi_cases.Witness()
    async with raw_client(app) as client:
        await client.write(request_of(b"Connection: close", target=b"/after-end"))
        assert (await client.read_response()).body == b"hello"
        await asyncio.wait_for(app.ended.wait(), PATIENCE)
    assert app.messages[-1]["type"] == "http.disconnect"


async def test_body_is_asked_for_when_the_application_asks() -> None:
    """[ASGI-3]: 100 comes with the first `receive()`."""
    async with raw_client(asgi_cases.echo) as client:
        expecting = request_of(
            b"Content-Length: 5", b"Expect: 100-continue", method=b"POST", target=b"/"
        )
        await client.write(expecting)
        assert (await client.read_head()).status == 100
        response = await client.request(b"later")
        assert (response.status, response.body, response.informational) == (200, b"later", ())


async def test_body_that_nobody_asks_for_is_not_asked_for() -> None:
    """[ASGI-3]: a refusal spares the client its upload."""
    async with raw_client(asgi_cases.refuses) as client:
        response = await client.request(
            request_of(b"Content-Length: 5000000", b"Expect: 100-continue", method=b"POST")
        )
        assert (response.status, response.informational) == (403, ())


# Failures


@pytest.mark.parametrize(
    "app",
    [
        asgi_cases.raises_before_start,
        asgi_cases.raises_after_start,
        asgi_cases.returns_at_once,
        asgi_cases.returns_after_start,
        asgi_cases.body_first,
        asgi_cases.started_twice,
        asgi_cases.unknown_message,
        asgi_cases.split_header,
    ],
)
async def test_failure_before_anything_is_sent_is_answered_500(
    app: asgi_cases.Application, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns the status alone, the log says more, and the next client is served."""
    async with Server(Config(app=app, port=0)) as server:
        for _ in range(2):
            async with RawClient.connect(server.urls[0], patience=PATIENCE) as client:
                response = await client.request(GET)
            assert response.status == 500
            assert b"never sent" not in response.body
            assert b"Traceback" not in response.body
            assert response.header("x-forged") is None
    assert [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("app", [asgi_cases.raises_in_body, asgi_cases.returns_in_body])
async def test_failure_in_the_body_cuts_the_connection(
    app: asgi_cases.Application, caplog: pytest.LogCaptureFixture
) -> None:
    """The client can tell, for the last chunk never comes."""
    async with raw_client(app) as client:
        await client.write(GET)
        assert (await client.read_head()).status == 200
        body = await client.read_until_eof()
    assert b"first " in body
    assert not body.endswith(b"0\r\n\r\n")
    assert [record for record in caplog.records if record.levelname == "ERROR"]


async def test_body_that_is_too_short_cuts_the_connection() -> None:
    """No other answer may stand where the client waits for the rest."""
    async with raw_client(asgi_cases.too_little) as client:
        await client.write(GET + GET)
        assert (await client.read_head()).header("content-length") == "10"
        assert await client.read_until_eof() == b"hello"


async def test_body_that_is_too_long_cuts_the_connection() -> None:
    """Never a byte more than was promised."""
    async with raw_client(asgi_cases.too_much) as client:
        await client.write(GET)
        assert (await client.read_head()).header("content-length") == "5"
        assert await client.read_until_eof() == b"hello"

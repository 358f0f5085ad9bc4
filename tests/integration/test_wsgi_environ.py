"""What the WSGI environ holds, plain and under `wsgiref.validate`, on both loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from wsgiref.validate import validator

import pytest
from apps import wsgi_cases
from support.clients import RawClient

from asgibridge import Config, Server

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

Wrap = Callable[["WSGIApplication"], "WSGIApplication"]

# Seconds.  Bounds a wait that a broken server would never end.
PATIENCE: Final = 10.0


@pytest.fixture(params=["plain", "validator"])
def wrap(request: pytest.FixtureRequest) -> Wrap:
    """Serve an application as it is, or inside the validator of the standard library."""
    return validator if request.param == "validator" else lambda app: app


def request_of(
    *lines: bytes, method: bytes = b"GET", target: bytes = b"/", version: bytes = b"1.1"
) -> bytes:
    """Answer a request with *lines* as its header lines after Host."""
    start = b"%s %s HTTP/%s" % (method, target, version)
    return b"\r\n".join([start, b"Host: shop.example", *lines, b"", b""])


async def environ_of(request: bytes, wrap: Wrap, **settings: Any) -> Any:  # noqa: ANN401 - JSON
    """Answer the environ that exactly *request* is given; *settings* are those of `Config`."""
    app = wrap(wsgi_cases.environ_dump)
    async with (
        Server(Config(app=app, interface="wsgi", port=0, **settings)) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        return await dumped(client, request)


async def dumped(client: RawClient, request: bytes) -> Any:  # noqa: ANN401 - JSON
    response = await client.request(request)
    assert response.status == 200
    return json.loads(response.body)


async def test_environ_names_the_request(wrap: Wrap) -> None:
    """[WSGI-3]."""
    head = request_of(target=b"/caf%C3%A9/a%2Fb%20c?q=%20x&empty")
    environ = await environ_of(head, wrap)
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/caf\xc3\xa9/a/b c"
    assert environ["QUERY_STRING"] == "q=%20x&empty"
    assert environ["RAW_URI"] == "/caf%C3%A9/a%2Fb%20c?q=%20x&empty"
    assert environ["REQUEST_URI"] == environ["RAW_URI"]
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["HTTP_HOST"] == "shop.example"


async def test_path_is_bytes_in_latin_1(wrap: Wrap) -> None:
    """[WSGI-3]: bytes that are no UTF-8 survive, as PEP 3333 asks of every string."""
    environ = await environ_of(request_of(target=b"/caf%E9"), wrap)
    assert environ["PATH_INFO"] == "/caf\xe9"


async def test_path_is_decoded_once(wrap: Wrap) -> None:
    """[WSGI-3]: and what is no escape stays what it is."""
    environ = await environ_of(request_of(target=b"/%2541/100%/%zz;p=1+2"), wrap)
    assert environ["PATH_INFO"] == "/%41/100%/%zz;p=1+2"


async def test_query_is_always_there(wrap: Wrap) -> None:
    environ = await environ_of(request_of(), wrap)
    assert environ["QUERY_STRING"] == ""


async def test_absolute_target_gives_its_path(wrap: Wrap) -> None:
    """RFC 9112, 3.2.2: a server accepts the absolute form, although only proxies are sent it."""
    head = request_of(target=b"http://shop.example/cart?n=1")
    environ = await environ_of(head, wrap)
    assert environ["PATH_INFO"] == "/cart"
    assert environ["QUERY_STRING"] == "n=1"


async def test_old_version_is_named(wrap: Wrap) -> None:
    environ = await environ_of(request_of(version=b"1.0"), wrap)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"


async def test_root_path_is_the_script_name(wrap: Wrap) -> None:
    """[WSGI-3]: a proxy that strips the prefix leaves the rest as the path."""
    environ = await environ_of(request_of(target=b"/cart"), wrap, root_path="/shop")
    assert environ["SCRIPT_NAME"] == "/shop"
    assert environ["PATH_INFO"] == "/cart"


async def test_cookies_are_joined_by_semicolons(wrap: Wrap) -> None:
    """[WSGI-3]."""
    head = request_of(b"Cookie: a=1", b"X-Between: yes", b"Cookie: b=2; c=3")
    environ = await environ_of(head, wrap)
    assert environ["HTTP_COOKIE"] == "a=1; b=2; c=3"


async def test_other_duplicates_are_joined_by_commas(wrap: Wrap) -> None:
    """[WSGI-3]."""
    head = request_of(b"X-Tag: one", b"x-tag: two", b"X-Once: 1", b"X-TAG: three")
    environ = await environ_of(head, wrap)
    assert environ["HTTP_X_TAG"] == "one,two,three"
    assert environ["HTTP_X_ONCE"] == "1"


async def test_names_with_underscores_are_dropped(wrap: Wrap) -> None:
    """[WSGI-3]: `X_Real_User` would be taken for the trusted `X-Real-User`."""
    head = request_of(b"X-Real-User: ada", b"X_Real_User: mallory", b"X_Other: 1")
    environ = await environ_of(head, wrap)
    assert environ["HTTP_X_REAL_USER"] == "ada"
    assert "HTTP_X_OTHER" not in environ
    assert "mallory" not in str(environ)


async def test_header_values_are_bytes_in_latin_1(wrap: Wrap) -> None:
    head = request_of(b"X-Name: caf\xe9 \xc3\xa9", b"X-Empty:", b"X-Padded: \t in \t ")
    environ = await environ_of(head, wrap)
    assert environ["HTTP_X_NAME"] == "caf\xe9 \xc3\xa9"
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["HTTP_X_PADDED"] == "in"


async def test_type_and_length_have_names_without_prefix(wrap: Wrap) -> None:
    head = request_of(b"Content-Type: text/csv", b"Content-Length: 5") + b"a,b,c"
    environ = await environ_of(head, wrap)
    assert environ["CONTENT_TYPE"] == "text/csv"
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


async def test_request_without_body_declares_none(wrap: Wrap) -> None:
    environ = await environ_of(request_of(), wrap)
    assert environ.get("CONTENT_LENGTH", "") in {"", "0"}
    assert environ.get("CONTENT_TYPE", "") == ""


async def test_chunked_upload_gets_its_real_length(wrap: Wrap) -> None:
    """[WSGI-3]: the application sees a body of known length and nothing of the coding."""
    head = request_of(b"Transfer-Encoding: chunked", method=b"POST")
    environ = await environ_of(head + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", wrap)
    assert environ["CONTENT_LENGTH"] == "11"
    assert "HTTP_TRANSFER_ENCODING" not in environ


async def test_environ_names_both_ends_of_the_connection(wrap: Wrap) -> None:
    """[WSGI-3]."""
    app = wrap(wsgi_cases.environ_dump)
    async with (
        Server(Config(app=app, interface="wsgi", port=0)) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        host, port = client.socket.getsockname()
        environ = await dumped(client, request_of())
        own_port = urlsplit(server.urls[0]).port
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(own_port))
    assert environ["SERVER_SOFTWARE"].startswith("asgibridge")


async def test_environ_tells_the_facts_about_the_server(wrap: Wrap) -> None:
    """[WSGI-3]."""
    environ = await environ_of(request_of(), wrap, threads=4)
    assert environ["wsgi.version"] == [1, 0]
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.input_terminated"] is True
    assert environ["wsgi.multithread"] is True
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False
    assert "wsgi.file_wrapper" in environ


async def test_one_thread_is_not_called_many(wrap: Wrap) -> None:
    """[WSGI-3]."""
    environ = await environ_of(request_of(), wrap, threads=1)
    assert environ["wsgi.multithread"] is False


async def test_environ_of_one_request_does_not_leak_into_the_next(wrap: Wrap) -> None:
    """The environ is copied from a base: no key of one request may stay in it."""
    app = wrap(wsgi_cases.environ_dump)
    first = request_of(
        b"X-First: 1", b"Cookie: a=1", b"Content-Length: 3", method=b"POST", target=b"/first?a"
    )
    async with (
        Server(Config(app=app, interface="wsgi", port=0)) as server,
        RawClient.connect(server.urls[0], patience=PATIENCE) as client,
    ):
        assert (await dumped(client, first + b"abc"))["PATH_INFO"] == "/first"
        environ = await dumped(client, request_of(target=b"/second"))
    assert environ["PATH_INFO"] == "/second"
    assert environ["QUERY_STRING"] == ""
    assert environ.get("CONTENT_LENGTH", "") in {"", "0"}
    assert not {"HTTP_X_FIRST", "HTTP_COOKIE"} & environ.keys()

"""Hooks see each request before and after, whatever becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgibridge.app.detection import Nature, detect
from asgibridge.app.request_hooks import (
    AnsweredResponse,
    AsgiHooks,
    HookedRequest,
    RequestHooks,
    WsgiHooks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ENVIRON = {
    "REQUEST_METHOD": "POST",
    "RAW_URI": "/a%20b?c=d",
    "PATH_INFO": "/a b",
    "QUERY_STRING": "c=d",
    "SERVER_PROTOCOL": "HTTP/1.0",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "5000",
    "wsgi.url_scheme": "https",
    "HTTP_X_COLOUR": "red",
    "CONTENT_TYPE": "text/plain",
}
SCOPE = {
    "type": "http",
    "method": "POST",
    "raw_path": b"/a%20b",
    "path": "/a b",
    "query_string": b"c=d",
    "http_version": "1.0",
    "client": ("127.0.0.1", 5000),
    "scheme": "https",
    "headers": [(b"x-colour", b"red"), (b"content-type", b"text/plain")],
}
REQUEST = HookedRequest(
    method="POST",
    uri="/a%20b?c=d",
    path="/a b",
    query="c=d",
    version=(1, 0),
    scheme="https",
    headers=[("X-COLOUR", "red"), ("CONTENT-TYPE", "text/plain")],
    remote_addr=("127.0.0.1", 5000),
)


class Seen:
    """What hooks were called with, in order."""

    def __init__(self, *, fails_before: bool = False, fails_after: bool = False) -> None:
        self.calls: list[Any] = []
        self._fails = (fails_before, fails_after)

    def before(self, request: HookedRequest) -> None:
        self.calls.append(request)
        if self._fails[0]:
            raise PermissionError("not liked")

    def after(self, request: HookedRequest, environ: object, made: AnsweredResponse) -> None:
        self.calls.append((request, environ, made.status, made.status_code, made.sent))
        if self._fails[1]:
            raise ValueError("the hook's own fault")

    @property
    def hooks(self) -> RequestHooks:
        return RequestHooks(before=self.before, after=self.after)


class Body:
    def __init__(self) -> None:
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"hel", b"lo"])

    def close(self) -> None:
        self.is_closed = True


def wsgi(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("201 Created", [("A", "b")])
    return Body()


async def asgi(_scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
    await receive()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"hel", "more_body": True})
    await send({"type": "http.response.body", "body": b"lo"})


async def receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def swallow(_message: object) -> None: ...


def call_wsgi(hooked: WsgiHooks) -> bytes:
    body = hooked(dict(ENVIRON), lambda *_: None)
    try:
        return b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def test_wsgi_hooks_see_the_request_and_the_whole_response() -> None:
    seen = Seen()
    assert call_wsgi(WsgiHooks(wsgi, seen.hooks)) == b"hello"
    assert seen.calls == [REQUEST, (REQUEST, ENVIRON, "201 Created", 201, 5)]


async def test_asgi_hooks_see_the_request_and_the_whole_response() -> None:
    seen = Seen()
    await AsgiHooks(asgi, seen.hooks)(dict(SCOPE), receive, swallow)
    assert seen.calls == [REQUEST, (REQUEST, SCOPE, "201", 201, 5)]


def test_what_the_first_hook_raises_keeps_wsgi_from_being_called() -> None:
    seen = Seen(fails_before=True)
    with pytest.raises(PermissionError):
        call_wsgi(WsgiHooks(wsgi, seen.hooks))
    assert seen.calls == [REQUEST, (REQUEST, ENVIRON, "", 0, 0)]


async def test_what_the_first_hook_raises_keeps_asgi_from_being_called() -> None:
    seen = Seen(fails_before=True)
    with pytest.raises(PermissionError):
        await AsgiHooks(asgi, seen.hooks)(dict(SCOPE), receive, swallow)
    assert seen.calls == [REQUEST, (REQUEST, SCOPE, "", 0, 0)]


def test_what_the_last_hook_raises_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert call_wsgi(WsgiHooks(wsgi, Seen(fails_after=True).hooks)) == b"hello"
    assert "the hook after a request raised" in caplog.text
    assert "the hook's own fault" in caplog.text


def test_the_body_is_closed_before_the_last_hook() -> None:
    body = Body()

    def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    said: list[bool] = []
    hooks = RequestHooks(before=None, after=lambda *_: said.append(body.is_closed))
    assert call_wsgi(WsgiHooks(app, hooks)) == b"hello"
    assert said == [True]


def test_without_a_last_hook_the_body_is_handed_through() -> None:
    body = [b"hello"]
    hooked = WsgiHooks(lambda _environ, _start: body, RequestHooks(before=None, after=None))
    assert hooked(dict(ENVIRON), lambda *_: None) is body


async def test_lifespan_and_websockets_are_not_requests() -> None:
    seen = Seen()
    scopes: list[object] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401
        scopes.append(scope)

    for kind in ("lifespan", "websocket"):
        await AsgiHooks(app, seen.hooks)({"type": kind}, receive, swallow)
    assert (seen.calls, scopes) == ([], [{"type": "lifespan"}, {"type": "websocket"}])


def test_clients_of_unix_sockets_have_no_address() -> None:
    seen = Seen()
    environ = {**ENVIRON, "REMOTE_ADDR": ""}
    del environ["REMOTE_PORT"]
    WsgiHooks(wsgi, seen.hooks)(environ, lambda *_: None)
    assert seen.calls[0].remote_addr is None


def test_wrapped_applications_still_look_like_what_they_are() -> None:
    hooks = Seen().hooks
    assert detect(WsgiHooks(wsgi, hooks)) is Nature.WSGI
    assert detect(AsgiHooks(asgi, hooks)) is Nature.ASGI

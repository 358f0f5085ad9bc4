"""Call a function before and after each request: wrappers around an application.

Only an application that somebody wants to be told of is wrapped; the others pay nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

__all__ = ["AnsweredResponse", "AsgiHooks", "HookedRequest", "RequestHooks", "WsgiHooks"]

logger = logging.getLogger("asgibridge")

Environ: TypeAlias = "dict[str, Any]"

_HTTP: Final = "HTTP_"


@dataclass(slots=True, kw_only=True)
class HookedRequest:
    """A request as hooks see it, with the names that gunicorn's own has.

    Attributes:
        method: as sent.
        uri: the target as sent.
        path: its path, percent-decoded.
        query: its query, as sent.
        version: (1, 1) or (1, 0).
        scheme: http or https.
        headers: (NAME, value), in the order received; for WSGI repeated ones are joined.
        remote_addr: address and port of the client; None on a Unix socket.
    """

    method: str
    uri: str
    path: str
    query: str
    version: tuple[int, int]
    scheme: str
    headers: list[tuple[str, str]]
    remote_addr: tuple[str, int] | None


@dataclass(slots=True)
class AnsweredResponse:
    """A response as hooks see it.

    Attributes:
        status: such as "200 OK" (WSGI), or "200" (ASGI, which has no reasons); "" if none began.
        headers: (name, value).
        sent: bytes of body that the application gave.
    """

    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0

    @property
    def status_code(self) -> int:
        """The status as a number; 0 if none began."""
        return int(self.status[:3] or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHooks:
    """What to call.

    Attributes:
        before: with the request; what it raises is answered 500.
        after: with the request, the environ (ASGI: the scope) and the response, whatever became of
            it; what it raises is logged.
    """

    before: Callable[[HookedRequest], object] | None
    after: Callable[[HookedRequest, Environ, AnsweredResponse], object] | None

    def tell_after(self, request: HookedRequest, environ: Environ, made: AnsweredResponse) -> None:
        """Call `after`, if there is one, and log what it raises."""
        if self.after is not None:
            try:
                self.after(request, environ, made)
            except Exception:
                logger.exception("the hook after a request raised")


class WsgiHooks:
    """A WSGI application that calls *hooks*, in the thread of the request."""

    def __init__(self, application: Callable[..., Any], hooks: RequestHooks) -> None:
        self._application = application
        self._hooks = hooks

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Call the application between the hooks."""
        request = _request_of_environ(environ)
        made = AnsweredResponse()

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:  # noqa: ANN401
            made.status = status
            made.headers = headers
            return start_response(status, headers, *rest)

        try:
            if self._hooks.before is not None:
                self._hooks.before(request)
            body: Iterable[bytes] = self._application(environ, start)
        except BaseException:
            self._hooks.tell_after(request, environ, made)
            raise
        if self._hooks.after is None:
            return body
        return _Told(body, made, lambda: self._hooks.tell_after(request, environ, made))


class _Told:
    """The iterable of a response, which tells when it has been closed."""

    def __init__(
        self, body: Iterable[bytes], made: AnsweredResponse, on_closed: Callable[[], None]
    ) -> None:
        self._body = body
        self._made = made
        self._on_closed = on_closed

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._made.sent += len(piece)
            yield piece

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._on_closed()


class AsgiHooks:
    """An ASGI application that calls *hooks* around its HTTP requests, on the loop."""

    def __init__(self, application: Callable[..., Any], hooks: RequestHooks) -> None:
        self._application = application
        self._hooks = hooks

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Call the application between the hooks."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        request = _request_of_scope(scope)
        made = AnsweredResponse()

        async def tell_and_send(message: Any) -> None:  # noqa: ANN401 - an ASGI event
            if message["type"] == "http.response.start":
                made.status = str(message["status"])
                made.headers = _as_text(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                made.sent += len(message.get("body", b""))
            await send(message)

        try:
            if self._hooks.before is not None:
                self._hooks.before(request)
            await self._application(scope, receive, tell_and_send)
        finally:
            self._hooks.tell_after(request, scope, made)


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _request_of_environ(environ: Environ) -> HookedRequest:
    headers = [
        (name[len(_HTTP) :].replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith(_HTTP)
    ]
    headers += [
        (name.replace("_", "-"), environ[name])
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if name in environ
    ]
    address = environ.get("REMOTE_ADDR", "")
    major, _, minor = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").partition(".")
    return HookedRequest(
        method=environ["REQUEST_METHOD"],
        uri=environ["RAW_URI"],
        path=environ["PATH_INFO"],
        query=environ["QUERY_STRING"],
        version=(int(major), int(minor)),
        scheme=environ["wsgi.url_scheme"],
        headers=headers,
        remote_addr=(address, int(environ.get("REMOTE_PORT", 0))) if address else None,
    )


def _request_of_scope(scope: dict[str, Any]) -> HookedRequest:
    raw_path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"].decode("latin-1")
    client = scope.get("client")
    major, _, minor = scope["http_version"].partition(".")
    return HookedRequest(
        method=scope["method"],
        uri=raw_path.decode("latin-1") + (f"?{query}" if query else ""),
        path=scope["path"],
        query=query,
        version=(int(major), int(minor or 0)),
        scheme=scope["scheme"],
        headers=[(name.upper(), value) for name, value in _as_text(scope["headers"])],
        remote_addr=(client[0], client[1]) if client else None,
    )

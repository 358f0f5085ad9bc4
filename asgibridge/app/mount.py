"""`WSGIMiddleware`: a WSGI application mounted inside an ASGI application.  [WSGI-8]

Under asgibridge the call goes to the pool and the bridge that serve WSGI applications by
themselves.  Its answer comes back as ASGI messages: Starlette alone wraps `send` twice, and what a
user puts in between, CORS or compression, has to see the response.  Under other servers a2wsgi does
the work.
"""

from __future__ import annotations

import contextvars
import logging
import os
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote_to_bytes

from asgibridge.app.call import WSGI_EXTENSION, AsgiCall
from asgibridge.app.environ import EnvironBuilder
from asgibridge.app.files import MAX_FILE_READ
from asgibridge.app.messages import MessageExchange
from asgibridge.app.wsgi import WsgiCall
from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.response import declared_length

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from asgibridge.app.messages import Body
    from asgibridge.app.wsgi import WsgiHandler
    from asgibridge.interfaces import Application, Exchange

    # As Starlette has them, so that its users' type checkers agree.
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["MountHandler", "MountedCall", "MountedEnvirons", "WSGIMiddleware", "split_path"]

logger = logging.getLogger("asgibridge")


def split_path(scope: Scope) -> tuple[str, str]:
    """Return `SCRIPT_NAME` and `PATH_INFO` of *scope*: bytes in the guise of latin-1 (PEP 3333).

    The path of a scope has been decoded from UTF-8, which loses what was none; the raw path still
    has it, unless middleware has changed the one and not the other.
    """
    path: bytes = scope["path"].encode()
    raw = scope.get("raw_path")
    if raw is not None and b"%" in raw:
        exact = unquote_to_bytes(raw)
        if exact.decode("utf-8", "replace") == scope["path"]:
            path = exact
    root: bytes = scope.get("root_path", "").rstrip("/").encode()
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in (b"/", b""):
        path = path[len(root) :]
    return root.decode("latin-1"), path.decode("latin-1")


class MountedEnvirons(EnvironBuilder):
    """Builds environs from scopes, which middleware and routers may have changed."""

    __slots__ = ()

    def build(self, exchange: Exchange, body: BinaryIO, size: int) -> dict[str, Any]:
        """Return the environ of *exchange*, a `MessageExchange`."""
        scope: Scope = exchange.scope  # type: ignore[attr-defined]  # see `MountedCall`
        environ = super().build(exchange, body, size)
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = split_path(scope)
        environ["QUERY_STRING"] = scope.get("query_string", b"").decode("latin-1")
        environ["asgi.scope"] = scope
        return environ


class MountedCall(WsgiCall):
    """One call of a mounted application, with the context variables of the ASGI call."""

    __slots__ = ("_context", "_mounted")

    def __init__(
        self, handler: WsgiHandler, exchange: MessageExchange, application: Application
    ) -> None:
        """Prepare to call *application*."""
        # It has all that a WSGI call asks of an exchange, but for the type of what is rendered.
        super().__init__(handler, exchange)  # type: ignore[arg-type]
        self._mounted = exchange
        self._application = application
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """Call the application and post what it answers.  Thread: pool."""
        try:
            self._context.run(super().run)
        finally:
            # If there has been no answer, the call was dropped: its client left.
            self._mounted.try_raise(ClientDisconnected("the client is gone"))

    def _fail(self, error: BaseException) -> None:
        """Raise *error* where the ASGI application called, as its own code would; else log it."""
        if not isinstance(error, Exception):
            # SystemExit and its kind would end the loop if they got out of a task.
            name = type(error).__name__
            wrapped = RuntimeError(f"the mounted application raised {name}")
            wrapped.__cause__ = error
            error = wrapped
        if not self._mounted.try_raise(error):
            super()._fail(error)

    def _send_file(self, wrapper: Any) -> bool:  # noqa: ANN401 - a FileWrapper
        """Read a regular file for the messages; no more of it than is declared (PEP 3333)."""
        span = wrapper.span()
        if span is None:
            return False
        fd, offset, available = span
        if available <= MAX_FILE_READ:
            return False
        headers = list(self._headers)
        declared = declared_length(headers)
        if declared is None:
            headers.append(("Content-Length", str(available)))
        count = available if declared is None else declared
        if count > available:
            raise ResponseError(f"Content-Length says {count}, but the file has {available} bytes")
        response, exchange = self._mounted.response, self._mounted
        if response.head_request:
            exchange.post_last(response.whole(self._status, self._start(), headers, b""))
            return True
        exchange.post([response.start(self._status, self._start(), headers)])
        end = offset + count
        while offset < end:
            piece = os.pread(fd, min(MAX_FILE_READ, end - offset), offset)
            if not piece:
                raise ResponseError(f"the file ended {end - offset} bytes too early")
            exchange.post(response.piece(piece))
            offset += len(piece)
        exchange.post_last([response.end()])
        return True


class MountHandler:
    """Answers ASGI calls with WSGI applications: those that are mounted in one process."""

    def __init__(
        self,
        bridge: WsgiHandler,
        new_body: Callable[[], Body],
        post: Callable[[MessageExchange], object],
    ) -> None:
        """Call applications by way of *bridge*.

        Args:
            bridge: its own application is not called, its pool and timeouts are used.
            new_body: makes what keeps a request body.
            post: has `deliver` called soon on the loop.  Thread: any.
        """
        self._bridge = bridge
        self._new_body = new_body
        self._post = post

    async def answer(
        self,
        application: Application,
        outer: Exchange,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Have *application* answer the call of *scope*, *receive* and *send*, inside *outer*.

        Raises:
            ClientDisconnected: the client left.
            Exception: what the application raised before its answer was complete.
        """
        exchange = MessageExchange(scope, outer, self._post)
        try:
            more = True
            while more:  # before a thread is taken [WSGI-2]
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected("the client is gone")
                piece = message.get("body")
                if piece and not self._try_keep(exchange, piece):
                    break
                more = message.get("more_body", False)
            else:
                call = MountedCall(self._bridge, exchange, application)
                self._bridge.begin(call.exchange, call)
            await exchange.relay(send)
        finally:
            exchange.end()

    def _try_keep(self, exchange: MessageExchange, piece: bytes) -> bool:
        """Keep *piece* of a body; answer for the application if that cannot be."""
        try:
            exchange.add_body(piece, self._new_body)
        except OSError as error:
            logger.error("cannot keep a request body: %s", error.strerror)  # noqa: TRY400
            exchange.fail(507)
            return False
        return True


class WSGIMiddleware:
    """Makes an ASGI application of a WSGI one: `Mount("/legacy", WSGIMiddleware(application))`.

    Attributes:
        app: the WSGI application.
    """

    def __init__(self, app: Application, workers: int = 10, send_queue_size: int = 10) -> None:
        """Mount *app*.

        Args:
            app: the WSGI application.
            workers: threads under other servers; asgibridge has its own setting, `threads`.
            send_queue_size: parts of a response that a thread may be ahead, likewise.
        """
        self.app = app
        self._workers = workers
        self._send_queue_size = send_queue_size
        self._elsewhere: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI call."""
        call = (scope.get("extensions") or {}).get(WSGI_EXTENSION)
        if isinstance(call, AsgiCall) and call.handler.mounts is not None:
            mounts = call.handler.mounts()
            await mounts.answer(self.app, call.exchange, scope, receive, send)
        else:
            await self._for_other_servers()(scope, receive, send)

    def _for_other_servers(self) -> Any:  # noqa: ANN401 - an ASGI application
        if self._elsewhere is None:
            # Not needed under asgibridge, and it makes a pool of its own.
            import a2wsgi  # noqa: PLC0415

            self._elsewhere = a2wsgi.WSGIMiddleware(
                self.app, workers=self._workers, send_queue_size=self._send_queue_size
            )
        return self._elsewhere

"""Drive an ASGI application over an exchange, as a task on the loop.  [ASGI-1], [ASGI-3]

Obeys the ASGI specification 3.0, HTTP & WebSocket sub-specification 2.4.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from asgibridge.app.websocket import WebSocketCall, websocket_scope
from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.handshake import wants_websocket
from asgibridge.http.lifecycle import Writing
from asgibridge.http.request import split_target
from asgibridge.http.response import STATUS_LINES

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from asgibridge.interfaces import Application, Exchange

__all__ = ["AsgiHandler"]

logger = logging.getLogger("asgibridge")

_AWAITING_START: Final = Writing.AWAITING_START
_VERSIONS: Final = {"version": "3.0", "spec_version": "2.4"}


class AsgiHandler:
    """Starts a task for each request, as soon as its head has been read.

    Attributes:
        tasks: those that run, in-flight requests and background work behind answered ones.
        on_task_done: called whenever one of them has ended.
        state: what the lifespan left for the requests; each gets a copy.
    """

    wants_whole_body = False

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        *,
        root_path: str = "",
        state: dict[str, Any] | None = None,
    ) -> None:
        """Serve *application* on *loop*, mounted at *root_path*."""
        self._application = application
        self._loop = loop
        self._root_path = root_path
        self._raw_root_path = quote(root_path).encode("ascii")
        # What each request starts from.  A task made in the midst of another's would inherit the
        # context variables of that one: the next of pipelined requests is begun by the one before.
        self._context = contextvars.copy_context()
        self.state = state if state is not None else {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.on_task_done: Callable[[], None] | None = None

    def begin(self, exchange: Exchange) -> None:
        """Start the application's task for *exchange*."""
        if b"upgrade" in exchange.head.fields and wants_websocket(exchange.head):
            self._begin_websocket(exchange)
            return
        call = _AsgiCall(exchange)
        scope = self._scope(exchange)
        # With a name given, none has to be made up.
        call.task = task = asyncio.Task(
            self._run(call, scope),
            loop=self._loop,
            name="asgibridge-request",
            context=self._context.copy(),
        )
        self.tasks.add(task)

    def _begin_websocket(self, exchange: Exchange) -> None:
        socket = exchange.open_websocket()
        if socket is None:
            return
        call = WebSocketCall(exchange, socket, _AsgiCall(exchange).send)
        scope = websocket_scope(self._scope(exchange), exchange)
        call.task = task = asyncio.Task(
            self._run_websocket(call, scope),
            loop=self._loop,
            name="asgibridge-websocket",
            context=self._context.copy(),
        )
        self.tasks.add(task)

    def _scope(self, exchange: Exchange) -> dict[str, Any]:
        head = exchange.head
        raw_path, _, query = head.target.partition(b"?")
        if raw_path[:1] != b"/":
            raw_path, query = split_target(head.target)
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        root = self._root_path
        if root and not _is_below(path, root) and path != "*":
            # A proxy took the prefix off; the specification wants it in `path`.
            path = root + path
            raw_path = self._raw_root_path + raw_path
        return {
            "type": "http",
            "asgi": _VERSIONS.copy(),
            "http_version": head.version,
            "method": head.method,
            "scheme": exchange.scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": root,
            "headers": head.headers,
            "client": exchange.client,
            "server": exchange.server,
            "state": self.state.copy(),
            "extensions": {} if exchange.tls is None else {"tls": exchange.tls.extension()},
        }

    async def _run(self, call: _AsgiCall, scope: dict[str, Any]) -> None:
        exchange = call.exchange
        try:
            await self._application(scope, call.receive, call.send)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled(call.task):
                exchange.fail(503)
                raise
            if exchange.is_gone and _is_about_disconnect(error):
                logger.debug("the client left before the end of its response: %r", exchange)
                return
            exchange.fail(500)
            head = exchange.head
            target = head.target.decode("latin-1")
            message = "the application failed on %s %s"
            logger.error(message, head.method, target, exc_info=error)  # noqa: TRY400
        else:
            if not call.is_complete and not exchange.is_gone:
                exchange.fail(500)
                head = exchange.head
                logger.error(
                    "the application returned before its response to %s %s was complete",
                    head.method,
                    head.target.decode("latin-1"),
                )
        finally:
            if call.task is not None:
                self.tasks.discard(call.task)
                if self.on_task_done is not None:
                    self.on_task_done()

    async def _run_websocket(self, call: WebSocketCall, scope: dict[str, Any]) -> None:
        exchange = call.exchange
        target = exchange.head.target.decode("latin-1")
        try:
            await self._application(scope, call.receive, call.send)
            if not call.end():
                call.fail(500)
                logger.error("the application neither accepted nor refused WebSocket %s", target)
        except BaseException as error:
            is_over = call.socket.ended is not None
            call.fail(500)
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled(call.task):
                raise
            if is_over and _is_about_disconnect(error):
                logger.debug("the client left before the end of its WebSocket: %r", exchange)
                return
            message = "the application failed on WebSocket %s"
            logger.error(message, target, exc_info=error)  # noqa: TRY400
        finally:
            if call.task is not None:
                self.tasks.discard(call.task)
                if self.on_task_done is not None:
                    self.on_task_done()


def _is_below(path: str, root: str) -> bool:
    """Say whether *path* is *root* or lies below it; `/shopping` is not below `/shop`."""
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("/", "")


def _is_being_cancelled(task: asyncio.Task[None] | None) -> bool:
    """Say whether somebody cancelled *task*, so that CancelledError is not the application's."""
    return task is not None and task.cancelling() > 0


def _as_bytes(body: object) -> bytes:
    """Take what else bytes come in; `bytes(5)`, or text, would become something nobody meant."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise ResponseError(f"a body is made of bytes, not of {type(body).__name__}")


def _is_about_disconnect(error: BaseException | None) -> bool:
    """Say whether *error* is, or came from, our telling the application that the client left.

    Frameworks wrap it in exceptions of their own.
    """
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - chains are short; cycles are possible
        if isinstance(error, (ClientDisconnected, ConnectionError)):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(map(_is_about_disconnect, error.exceptions))
        if "disconnect" in type(error).__name__.lower():
            return True
        error = error.__cause__ or error.__context__
        seen += 1
    return False


class _AsgiCall:
    """`receive` and `send` of one request.

    The head is kept until the first piece of body, so that a small response is one write.
    """

    __slots__ = (
        "_headers",
        "_is_body_read",
        "_line",
        "_status",
        "exchange",
        "is_complete",
        "task",
    )

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.task: asyncio.Task[None] | None = None
        self.is_complete = False
        self._is_body_read = False
        self._status = 0
        self._line: bytes | None = None
        self._headers: Any = ()

    async def receive(self) -> dict[str, Any]:
        exchange = self.exchange
        if not self._is_body_read and not self.is_complete:
            got = await exchange.read()
            if got is not None:
                body, more = got
                self._is_body_read = not more
                return {"type": "http.request", "body": body, "more_body": more}
        elif not self.is_complete:
            await exchange.wait_ended()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        exchange = self.exchange
        kind = message["type"]
        if self.is_complete:
            raise ResponseError(f"{kind!r} sent after the response was complete")
        if exchange.is_gone:
            raise ClientDisconnected("the client is gone")
        if kind == "http.response.body" and self._line is not None:
            get = message.get
            if not get("more_body", False):
                self._send_last(get("body", b""))
                return
            self._send_part(get("body", b""))
            if exchange.must_wait():
                await exchange.wait_writable()
        elif kind == "http.response.start" and self._line is None:
            self._status = status = message["status"]
            self._line = STATUS_LINES[status]
            self._headers = message.get("headers", ())
        else:
            raise ResponseError(self._describe_misuse(kind))

    def _send_part(self, body: bytes) -> None:
        if type(body) is not bytes:
            body = _as_bytes(body)
        response = self.exchange.response
        if response.is_started:
            self.exchange.write(response.piece(body))
        else:
            head = response.start(self._status, self._line or b"", self._headers)
            self.exchange.write([head, *response.piece(body)])

    def _send_last(self, body: bytes) -> None:
        if type(body) is not bytes:
            body = _as_bytes(body)
        response = self.exchange.response
        if response.writing is not _AWAITING_START:
            buffers = response.piece(body)
            end = response.end()
            if end:
                buffers.append(end)
        else:
            if not self.exchange.is_body_complete:
                self.exchange.give_up_body()
            buffers = response.whole(self._status, self._line or b"", self._headers, body)
        self.is_complete = True
        self.exchange.finish(buffers)

    def _describe_misuse(self, kind: object) -> str:
        if self._line is None:
            return f"{kind!r} sent where 'http.response.start' was expected"
        return f"{kind!r} sent where 'http.response.body' was expected"

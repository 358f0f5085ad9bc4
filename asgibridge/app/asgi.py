"""Drive an ASGI application over an exchange, as a task on the loop.  [ASGI-1] to [ASGI-3]

Obeys the ASGI specification 3.0, HTTP & WebSocket sub-specification 2.4.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote, unquote

from asgibridge.app.call import WSGI_EXTENSION, AsgiCall
from asgibridge.app.websocket import WebSocketCall, websocket_scope
from asgibridge.errors import ClientDisconnected
from asgibridge.http.extras import accepts_trailers
from asgibridge.http.handshake import wants_websocket
from asgibridge.http.request import split_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.app.mount import MountHandler
    from asgibridge.app.threads import ThreadPool
    from asgibridge.interfaces import Application, Exchange

__all__ = ["AsgiHandler"]

logger = logging.getLogger("asgibridge")

_VERSIONS: Final = {"version": "3.0", "spec_version": "2.4"}


class AsgiHandler:
    """Starts a task for each request, as soon as its head has been read.

    Attributes:
        tasks: those that run, in-flight requests and background work behind answered ones.
        on_task_done: called whenever one of them has ended.
        state: what the lifespan left for the requests; each gets a copy.
        threads: gives the pool, which is started for the first who asks.
        mounts: gives the handler of WSGI applications mounted inside; None if there is none.
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
        self.threads: Callable[[], ThreadPool[Any]] = _no_threads
        self.mounts: Callable[[], MountHandler] | None = None

    def begin(self, exchange: Exchange) -> None:
        """Start the application's task for *exchange*."""
        if b"upgrade" in exchange.head.fields and wants_websocket(exchange.head):
            self._begin_websocket(exchange)
            return
        call = AsgiCall(exchange, self)
        scope = self._scope(exchange)
        extensions: dict[str, Any] = scope["extensions"]
        extensions["http.response.pathsend"] = {}
        extensions["http.response.early_hint"] = {}
        extensions[WSGI_EXTENSION] = call
        if b"te" in exchange.head.fields and accepts_trailers(exchange.head):
            extensions["http.response.trailers"] = {}
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
        call = WebSocketCall(exchange, socket, AsgiCall(exchange, self).send)
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

    async def _run(self, call: AsgiCall, scope: dict[str, Any]) -> None:
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
            if not call.is_complete:  # else it is the work behind the answer that failed
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


def _no_threads() -> NoReturn:
    raise AssertionError("nobody has given this handler any threads")


def _is_being_cancelled(task: asyncio.Task[None] | None) -> bool:
    """Say whether somebody cancelled *task*, so that CancelledError is not the application's."""
    return task is not None and task.cancelling() > 0


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

"""One call of an ASGI application: the `receive` and `send` of one request.  [ASGI-2] [ASGI-3]"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from asgibridge.app.pathsend import send_path
from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.extras import accepts_trailers, early_hints, trailer_lines
from asgibridge.http.lifecycle import Writing
from asgibridge.http.response import STATUS_LINES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import MutableMapping

    from asgibridge.app.asgi import AsgiHandler
    from asgibridge.interfaces import Exchange

__all__ = ["WSGI_EXTENSION", "AsgiCall"]

_AWAITING_START: Final = Writing.AWAITING_START
# Where `WSGIMiddleware` finds its call, among the extensions of a scope: a key that survives the
# copies that routers make.  Its value is no dict, and nobody else's business.
WSGI_EXTENSION: Final = "asgibridge.wsgi"


def _as_bytes(body: object) -> bytes:
    """Take what else bytes come in; `bytes(5)`, or text, would become something nobody meant."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise ResponseError(f"a body is made of bytes, not of {type(body).__name__}")


class _Trailing(enum.Enum):
    """What becomes of trailers."""

    NONE = "the application has promised none"
    IGNORED = "promised, but this response cannot have them"
    PROMISED = "promised, to come after the body"
    DUE = "the body has ended"


_NONE: Final = _Trailing.NONE


class AsgiCall:
    """`receive` and `send` of one request.

    The head is kept until the first piece of body, so that a small response is one write.

    Attributes:
        exchange: what is answered.
        handler: whose call it is.
        task: in which the application runs.
        is_complete: whether the whole response has been handed over.
    """

    __slots__ = (
        "_headers",
        "_is_body_read",
        "_line",
        "_status",
        "_trailers",
        "_trailing",
        "exchange",
        "handler",
        "is_complete",
        "task",
    )

    def __init__(self, exchange: Exchange, handler: AsgiHandler) -> None:
        """Prepare to answer *exchange*."""
        self.exchange = exchange
        self.handler = handler
        self.task: asyncio.Task[None] | None = None
        self.is_complete = False
        self._is_body_read = False
        self._status = 0
        self._line: bytes | None = None
        self._headers: Any = ()
        self._trailing = _NONE
        self._trailers = b""

    async def receive(self) -> dict[str, Any]:
        """Wait for what comes from the client."""
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
        """Take the next part of the response.

        Raises:
            ClientDisconnected: the client is gone.
            ResponseError: it breaks HTTP, or comes where another was expected.
        """
        exchange = self.exchange
        kind = message["type"]
        if self.is_complete:
            if kind == "http.response.trailers" and self._trailing is _Trailing.IGNORED:
                return
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
            if "trailers" in message:
                self._promise_trailers(message["trailers"])
        else:
            await self._send_extra(kind, message)

    def _send_part(self, body: bytes) -> None:
        if type(body) is not bytes:
            body = _as_bytes(body)
        response = self.exchange.response
        if response.is_started:
            if self._trailing is _Trailing.DUE:
                raise ResponseError(self._describe_misuse("http.response.body"))
            self.exchange.write(response.piece(body))
        else:
            head = response.start(self._status, self._line or b"", self._headers)
            self.exchange.write([head, *response.piece(body)])

    def _send_last(self, body: bytes) -> None:
        if type(body) is not bytes:
            body = _as_bytes(body)
        response = self.exchange.response
        if self._trailing is not _NONE and self._awaits_trailers(body):
            return
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

    # --- extensions of the specification  [ASGI-2]

    async def _send_extra(self, kind: object, message: MutableMapping[str, Any]) -> None:
        exchange = self.exchange
        if kind == "http.response.early_hint":
            # HTTP/1.0 knows no interim responses (RFC 9110 §15.2), and none follows a head.
            if exchange.head.version != "1.0" and not exchange.response.is_started:
                exchange.inform(early_hints(message.get("links", ())))
                if exchange.must_wait():
                    await exchange.wait_writable()
        elif kind == "http.response.trailers" and self._trailing is _Trailing.DUE:
            self._trailers += trailer_lines(message.get("headers", ()))
            if not message.get("more_trailers", False):
                self.is_complete = True
                exchange.finish([exchange.response.end(self._trailers)])
        elif (
            kind == "http.response.pathsend"
            and self._line is not None
            and not exchange.response.is_started
        ):
            start = self._status, self._line, self._headers
            await send_path(exchange, message["path"], start, self.handler.threads)
            self.is_complete = True
            if self._trailing is not _NONE:
                self._trailing = _Trailing.IGNORED  # its length is declared: no room for them
        else:
            raise ResponseError(self._describe_misuse(kind))

    def _promise_trailers(self, are_promised: object) -> None:
        if are_promised:
            may_come = accepts_trailers(self.exchange.head)
            self._trailing = _Trailing.PROMISED if may_come else _Trailing.IGNORED

    def _awaits_trailers(self, body: bytes) -> bool:
        """Send the end of a body, if trailers follow it; say whether they do."""
        if self._trailing is _Trailing.PROMISED and not self.exchange.response.is_started:
            head = self.exchange.response.start(self._status, self._line or b"", self._headers)
            self.exchange.write([head])
        if self._trailing is _Trailing.PROMISED and self.exchange.response.may_trail:
            self._send_part(body)
            self._trailing = _Trailing.DUE
            return True
        if self._trailing is _Trailing.DUE:
            raise ResponseError(self._describe_misuse("http.response.body"))
        self._trailing = _Trailing.IGNORED
        return False

    def _describe_misuse(self, kind: object) -> str:
        if self._line is None:
            return f"{kind!r} sent where 'http.response.start' was expected"
        if self._trailing is _Trailing.DUE:
            return f"{kind!r} sent where 'http.response.trailers' was expected"
        return f"{kind!r} sent where 'http.response.body' was expected"

    def __repr__(self) -> str:
        return f"<AsgiCall {self.exchange!r}>"

"""The protocols between layers.

`net` hands each request to one injected `Handler` as an `Exchange`; `app` answers it.  Neither
knows the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Iterable

    from asgibridge.http.lifecycle import WebSocketStage
    from asgibridge.http.request import RequestHead
    from asgibridge.http.response import Response

__all__ = ["Application", "Client", "Exchange", "Handler", "ServerAddress", "Tls", "WebSocket"]

# What users hand us: an ASGI 3 or a WSGI callable.  Their exact types are a2wsgi's; `Any` here
# because what it is gets decided while running.
Application: TypeAlias = Any

Client: TypeAlias = "tuple[str, int] | None"
ServerAddress: TypeAlias = "tuple[str, int | None]"


class Tls(Protocol):
    """What is known of a connection's TLS."""

    def extension(self) -> dict[str, Any]:
        """Return a fresh `scope["extensions"]["tls"]`."""


class Exchange(Protocol):
    """One request and its response, as a handler sees it.

    Attributes:
        head: the request.
        response: the response, to be rendered by the handler.
        client: address and port of the client; None on a Unix socket.
        server: address and port that the client reached; path and None on a Unix socket.
        scheme: `http` or `https`.
        tls: the facts of TLS on this very connection; None if it is plain.
        is_gone: whether nobody is left to answer.  Thread: any.
        is_body_complete: whether the whole request has been received.
    """

    head: RequestHead
    response: Response

    client: Client
    server: ServerAddress
    scheme: str
    tls: Tls | None
    is_gone: bool
    is_body_complete: bool

    @property
    def may_send_file(self) -> bool:
        """Whether the kernel can send a file to the client.  Loop thread."""

    # --- for handlers on the loop

    async def read(self) -> tuple[bytes, bool] | None:
        """Wait for body.  Return some of it and whether more may come; None: client gone."""

    async def wait_ended(self) -> None:
        """Wait until the response is complete or the client is gone."""

    def give_up_body(self) -> None:
        """Nobody will read the rest of the body; to be called before the head is rendered."""

    def write(self, buffers: list[bytes]) -> None:
        """Hand over a part of the rendered response."""

    def finish(self, buffers: list[bytes]) -> None:
        """Hand over the last part."""

    def inform(self, data: bytes) -> None:
        """Send an interim response ahead of the final one."""

    def send_file(self, buffers: list[bytes], fd: int, offset: int, count: int) -> None:
        """Hand over the last part and a piece of a file behind it; *fd* is closed in the end."""

    def must_wait(self) -> bool:
        """Say whether the client is slower than the application: `wait_writable` then."""

    async def wait_writable(self) -> None:
        """Wait until the client has read enough, or is gone."""

    def fail(self, status: int) -> None:
        """Answer with the server's own *status* page, or cut a response that has begun."""

    def open_websocket(self) -> WebSocket | None:
        """Take the request for the handshake of a WebSocket.

        Returns:
            None if it is a bad one; it has been answered then.
        """

    # --- for handlers in a pool thread

    def note_started(self, thread: threading.Thread) -> None:
        """Note for the access log that *thread* begins now.  Thread: pool."""

    def take_body(self) -> tuple[BinaryIO, int]:
        """Return the complete body as a file, and its size.  Thread: pool, once.

        If `is_gone` afterwards, it may be empty.
        """

    def post(self, buffers: list[bytes]) -> None:
        """Hand over a part of the response; waits while the client is slower.  Thread: pool.

        Raises:
            ClientDisconnected: the client is gone.
        """

    def post_last(self, buffers: list[bytes]) -> None:
        """Hand over the last part.  Thread: pool."""

    def send_last(self, buffers: list[bytes]) -> None:
        """Like `post_last`, sent from this thread if that is possible at once.  Thread: pool."""

    def post_file(self, buffers: list[bytes], fd: int, offset: int, count: int) -> None:
        """Hand over the last part and a piece of a file behind it.  Thread: pool.

        The descriptor is duplicated: the caller may close its own at once.
        """

    def post_failure(self, status: int) -> None:
        """Have `fail` called on the loop.  Thread: pool."""


class WebSocket(Protocol):
    """A WebSocket, from its handshake on, as a handler sees it.  Loop thread only.

    Attributes:
        stage: how far it is.
        ended: code and reason of the first close frame, whoever sent it; 1006 if it ended without
            one.  None while it goes on.
    """

    stage: WebSocketStage
    ended: tuple[int, str] | None

    def accept(self, subprotocol: str | None, headers: Iterable[Any]) -> None:
        """Complete the handshake.

        Raises:
            ResponseError: the client did not offer *subprotocol*, or a header is none.
            ClientDisconnected: the client is gone.
        """

    def take(self) -> str | bytes | None:
        """Return the next message; None if there is none."""

    def wait_message(self) -> Awaitable[None]:
        """Wait for a message, or the end."""

    def send(self, message: str | bytes) -> bool:
        """Send a message; return whether the client is slower: `wait_writable` then.

        Raises:
            ClientDisconnected: it is closed.
            ResponseError: it has not been accepted yet.
        """

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake.

        Raises:
            ClientDisconnected: it has begun already, or is over.
            ResponseError: no close frame can say *code* or *reason*.
        """


class Handler(Protocol):
    """Answers exchanges: one for ASGI, one for WSGI.

    Attributes:
        wants_whole_body: whether `begin` is due when the request is complete, rather than when its
            head is.
    """

    wants_whole_body: bool

    def begin(self, exchange: Exchange) -> None:
        """Start to answer *exchange*.  Loop thread; returns at once."""

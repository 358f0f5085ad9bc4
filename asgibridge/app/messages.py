"""A WSGI call answered in ASGI messages, so that middleware around it sees them.  [WSGI-8]

In place of the connection's own exchange and response a mounted call gets these two.  They look
alike to it; what comes out are messages for `send` instead of bytes for the socket.
"""

from __future__ import annotations

import asyncio
import enum
import io
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.lifecycle import WRITING_MOVES, WriteEvent, Writing
from asgibridge.http.response import STATUS_LINES, split_field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence

    from asgibridge.http.request import RequestHead
    from asgibridge.interfaces import Client, Exchange, ServerAddress

    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["Body", "MessageExchange", "MessageResponse", "Posting", "ScopeHead"]

# Bytes of response that a thread may have posted before it waits for the client.
_HIGH_WATER: Final = 65536
# (name, value) as the application gives it -> as ASGI wants it.  Bounded, begun anew when full.
_pairs: dict[object, tuple[bytes, bytes]] = {}
_MAX_PAIRS: Final = 512
_MAX_VALUE_KEPT: Final = 64


class Body(Protocol):
    """Collects a request body; see `net.body.BodyBuffer`."""

    size: int

    def add(self, pieces: Sequence[bytes]) -> None:
        """Append *pieces*."""

    def try_claim(self) -> bool:
        """Take the right to `open` or `close`.  Thread: any."""

    def open(self) -> BinaryIO:
        """Return the body as a file at its start."""

    def close(self) -> None:
        """Throw the body away."""


class ScopeHead:
    """A request head as the scope tells it, which middleware may have changed."""

    __slots__ = ("content_length", "headers", "method", "target", "version")

    def __init__(self, scope: MutableMapping[str, Any], outer: RequestHead) -> None:
        """Take the parts, and from *outer*, the client's own head, what a scope does not hold."""
        self.method: str = scope["method"]
        self.target = outer.target
        self.version = outer.version
        self.headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        self.content_length = outer.content_length


def _message_pair(pair: Any) -> tuple[bytes, bytes]:  # noqa: ANN401 - what an application gives
    name, value = split_field(pair)
    made = name.lower(), value
    if type(pair) is tuple and len(value) <= _MAX_VALUE_KEPT:
        if len(_pairs) >= _MAX_PAIRS:
            _pairs.clear()
        _pairs[pair] = made
    return made


class MessageResponse:
    """Makes the messages of one response; see `http.response.Response`.  Thread: pool.

    It checks what must be known while the application can still be blamed.  Lengths are checked
    where the messages arrive: what lies in between may change them.
    """

    __slots__ = ("head_request", "writing")

    def __init__(self, *, head_request: bool) -> None:
        """Answer a request, a HEAD perhaps."""
        self.head_request = head_request
        self.writing = Writing.AWAITING_START

    @property
    def is_started(self) -> bool:
        """Whether the start has been made."""
        return self.writing is not Writing.AWAITING_START

    def whole(self, status: int, line: bytes, headers: Iterable[Any], body: bytes) -> list[Message]:
        """Make the complete response.

        Raises:
            ResponseError: a header is none.
        """
        start = self._start(status, line, headers)
        self.writing = WRITING_MOVES[self.writing, WriteEvent.WHOLE_WRITTEN]
        return [start, {"type": "http.response.body", "body": body, "more_body": False}]

    def start(self, status: int, line: bytes, headers: Iterable[Any]) -> Message:
        """Make the start of a response whose body comes in pieces.

        Raises:
            ResponseError: a header is none.
        """
        start = self._start(status, line, headers)
        self.writing = WRITING_MOVES[self.writing, WriteEvent.HEAD_WRITTEN]
        return start

    def piece(self, data: bytes) -> list[Message]:
        """Make a piece of body."""
        return [{"type": "http.response.body", "body": data, "more_body": True}]

    def end(self) -> Message:
        """Make the end of a body that came in pieces."""
        self.writing = WRITING_MOVES[self.writing, WriteEvent.BODY_ENDED]
        return {"type": "http.response.body", "body": b"", "more_body": False}

    def _start(self, status: int, line: bytes, headers: Iterable[Any]) -> Message:
        del line  # a message has no room for the reason phrase
        known = _pairs
        pairs = []
        for pair in headers:
            try:
                made = known.get(pair)
            except TypeError:
                raise ResponseError(f"a header is a tuple of two str, not {pair!r}") from None
            pairs.append(made or _message_pair(pair))
        return {"type": "http.response.start", "status": status, "headers": pairs}


class Posting(enum.Enum):
    """What a thread has posted of a response."""

    NOTHING = "nothing so far"
    BEGUN = "a part"
    LAST = "all of it"
    REFUSED = "whatever it posts, nobody will take it"


_LAST: Final = Posting.LAST
_REFUSED: Final = Posting.REFUSED


class MessageExchange:
    """The exchange of a mounted call; see `interfaces.Exchange`.

    The thread posts, the task of the ASGI call relays.  The door from the one to the other is the
    server's outbox, with its one wake for all that is posted meanwhile.

    Attributes:
        scope: of the ASGI call.
        outer: the connection's exchange.
        head: the request, as the scope tells it.
        client, server, scheme: likewise.
        tls: the connection's.
        response: makes the messages.
        posting: how far the thread has come.  Guarded by the lock.
    """

    __slots__ = (
        "_body",
        "_error",
        "_lock",
        "_messages",
        "_post",
        "_posted",
        "_room",
        "_waiter",
        "client",
        "head",
        "outer",
        "posting",
        "response",
        "scheme",
        "scope",
        "server",
        "tls",
    )

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        outer: Exchange,
        post: Callable[[MessageExchange], object],
    ) -> None:
        """Open the exchange for *scope* inside of *outer*; *post* has `deliver` called soon."""
        self.scope = scope
        self.outer = outer
        self.head = ScopeHead(scope, outer.head)
        client, server = scope.get("client"), scope.get("server")
        self.client: Client = (client[0], client[1]) if client else None
        self.server: ServerAddress = (server[0], server[1]) if server else outer.server
        self.scheme: str = scope.get("scheme", "http")
        self.tls = outer.tls
        self.response = MessageResponse(head_request=self.head.method == "HEAD")
        self.posting = Posting.NOTHING
        self._body: Body | None = None
        self._post = post
        self._lock = threading.Lock()
        self._room: threading.Condition | None = None  # of that lock, made for a thread that waits
        self._messages: list[Message] = []
        self._posted = 0  # bytes of body in them
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_gone(self) -> bool:
        """Whether nobody is left to answer.  Thread: any."""
        return self.posting is _REFUSED or self.outer.is_gone

    # --- on the loop

    def add_body(self, piece: bytes, new_body: Callable[[], Body]) -> None:
        """Keep a piece of the request's body.

        Raises:
            OSError: there is no room for it.
        """
        if self._body is None:
            self._body = new_body()
        self._body.add((piece,))
        self.head.content_length = self._body.size

    async def relay(self, send: Send) -> None:
        """Send what the thread posts, until its last message.

        Raises:
            ClientDisconnected: the call was dropped, because its client left.
            BaseException: what the application raised before its answer was complete.
        """
        while True:
            with self._lock:
                messages, self._messages = self._messages, []
                size, self._posted = self._posted, 0
                posting, error = self.posting, self._error
            for message in messages:
                await send(message)
            if error is not None:
                try:
                    raise error
                finally:
                    error = None  # its traceback holds this frame, which must not hold it
            if posting is _LAST or posting is _REFUSED:
                return
            if size >= _HIGH_WATER:
                with self._lock:
                    self._give_room()
            if messages:
                continue
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def deliver(self) -> None:
        """Wake the task: something has been posted."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, status: int) -> None:
        """Answer for the thread, which is late: with a page of *status*, or cut what has begun."""
        with self._lock:
            before = self.posting
            if before is _LAST or before is _REFUSED:
                return
            self.posting = _REFUSED
            if before is Posting.NOTHING:
                self._messages.extend(_page(status))
            else:
                self._error = ClientDisconnected("the response took too long and was cut")
            self._give_room()
        if before is Posting.BEGUN:
            self.outer.fail(status)
        self.deliver()

    def _give_room(self) -> None:
        """Let the thread go on, if it waits.  Needs: self._lock."""
        if self._room is not None:
            self._room.notify()

    def end(self) -> None:
        """Nothing more will be relayed."""
        self._error = None  # likewise
        with self._lock:
            self.posting = _REFUSED
            self._messages = []
            self._give_room()
        body = self._body
        if body is not None and body.try_claim():
            self._body = None
            body.close()

    # --- in a pool thread

    def note_started(self, thread: threading.Thread) -> None:
        """Note for the access log that *thread* begins now.  Thread: pool."""
        self.outer.note_started(thread)

    def take_body(self) -> tuple[BinaryIO, int]:
        """Return the complete body as a file, and its size.  Thread: pool, once."""
        body = self._body
        if body is None or not body.try_claim():
            return io.BytesIO(), 0
        self._body = None
        return body.open(), body.size

    def post(self, messages: list[Message]) -> None:
        """Hand over a part of the response; waits while the client is slower.  Thread: pool.

        The wait is bounded by the connection, whose write timeout ends it; the look once a second
        is for a connection that has ended while the task was not sending.

        Raises:
            ClientDisconnected: nobody is left to answer.
        """
        size = sum(len(message.get("body", b"")) for message in messages)
        with self._lock:
            while self._posted >= _HIGH_WATER and not self.is_gone:
                if self._room is None:
                    self._room = threading.Condition(self._lock)
                self._room.wait(1.0)
            if self.is_gone:
                raise ClientDisconnected("the client is gone")
            self.posting = Posting.BEGUN
            self._messages.extend(messages)
            self._posted += size
        self._post(self)

    def post_last(self, messages: list[Message]) -> None:
        """Hand over the last part.  Thread: pool."""
        with self._lock:
            if self.posting is _REFUSED:
                return
            self.posting = _LAST
            self._messages.extend(messages)
        self._post(self)

    send_last = post_last

    def post_failure(self, status: int) -> None:
        """Do nothing: whom it concerns has had another answer.  Thread: pool."""

    def try_raise(self, error: BaseException) -> bool:
        """Have *error* raised in the task, unless it has its answer.  Thread: pool."""
        if self._is_settled():  # nearly always, and for good
            return False
        with self._lock:
            if self._is_settled():
                return False
            self.posting = _LAST
            self._error = error
        self._post(self)
        return True

    def _is_settled(self) -> bool:
        return self.posting is _LAST or self.posting is _REFUSED

    def __repr__(self) -> str:
        return f"<MessageExchange {self.head.method} {self.scope['path']} {self.posting.value}>"


def _page(status: int) -> list[Message]:
    """Make the server's own answer, as the connection would give it."""
    body = STATUS_LINES[status][len(b"HTTP/1.1 ") : -2] + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    if status == 503:  # noqa: PLR2004
        headers.append((b"retry-after", b"1"))
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    ]

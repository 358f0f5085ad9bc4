"""Drive a WSGI application over an exchange, in a pool thread (PEP 3333).  [WSGI-1] to [WSGI-7]"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from asgibridge.app.files import MAX_FILE_READ, FileWrapper
from asgibridge.app.timeouts import Stage, Timekeeper, WsgiTimeouts
from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.lifecycle import Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from asgibridge.app.environ import EnvironBuilder
    from asgibridge.app.threads import ThreadPool
    from asgibridge.app.timeouts import Deadlines
    from asgibridge.interfaces import Application, Exchange

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = ["WsgiCall", "WsgiHandler", "WsgiTimeouts"]

logger = logging.getLogger("asgibridge")

# What applications say, in the form that goes to the wire.  Bounded, because an application may
# echo what a client sent.
_status_lines: dict[str, tuple[int, bytes]] = {}
_MAX_KEPT: Final = 512

_AWAITING_START: Final = Writing.AWAITING_START
_QUEUED: Final = Stage.QUEUED


def _status_line(status: str) -> tuple[int, bytes]:
    if type(status) is not str:
        raise ResponseError(f"the status must be a str such as '200 OK', not {status!r}")
    code, _, phrase = status.partition(" ")
    if len(code) != 3 or not code.isdigit() or code < "200":  # noqa: PLR2004 - three digits
        raise ResponseError(f"{status!r} is no final status: three digits, then a reason phrase")
    if not phrase.isprintable():
        raise ResponseError(f"the reason phrase of {status!r} has control characters")
    line = int(code), f"HTTP/1.1 {code} {phrase}\r\n".encode("latin-1")
    if len(_status_lines) < _MAX_KEPT:
        _status_lines[status] = line
    return line


def _wrong_piece(piece: object) -> ResponseError:
    return ResponseError(f"a body is made of bytes, not of {type(piece).__name__}")


def _join(parts: Iterable[bytes]) -> bytes:
    try:
        return b"".join(parts)
    except TypeError:
        raise _wrong_piece(next(part for part in parts if not isinstance(part, bytes))) from None


def _has_one_item(result: Iterable[bytes]) -> bool:
    """Say whether *result* knows that its first item is all: PEP 3333 asks for the attempt."""
    try:
        return len(result) == 1  # type: ignore[arg-type]  # that is what we find out
    except TypeError:
        return False


class WsgiHandler:
    """Puts each complete request on the pool's queue.

    Attributes:
        on_overdue: called on the loop when a request runs for longer than `request_timeout`.
        timekeeper: holds calls to the timeouts; None if there are none.
    """

    wants_whole_body = True

    def __init__(  # noqa: PLR0913 - the parts of the bridge
        self,
        application: Application,
        pool: ThreadPool[Any],
        environs: EnvironBuilder,
        defer: Callable[[Callable[[], None]], object],
        *,
        timeouts: WsgiTimeouts | None = None,
        deadlines: Deadlines | None = None,
        clock: Callable[[], float] = time.monotonic,
        keeps_times: bool = False,
    ) -> None:
        """Serve *application* with the threads of *pool*.

        *defer* has something called when the loop has read what it is about to read now.
        *deadlines* and *clock* (its time) are needed only with *timeouts*; *keeps_times* has the
        times of each exchange noted, for the access log.
        """
        self.application = application
        self.environs = environs
        self.keeps_times = keeps_times
        self.on_overdue: Callable[[WsgiCall], None] | None = None
        self.timekeeper: Timekeeper[WsgiCall] | None = None
        if timeouts is not None and timeouts != WsgiTimeouts() and deadlines is not None:
            self.timekeeper = Timekeeper(timeouts, deadlines, clock, self._tell_overdue)
        self._pool = pool
        self.is_alone = pool.is_alone
        self._defer = defer
        self._batch: list[WsgiCall] = []
        self._seen = 0  # how many were in the batch at the last look

    @property
    def overdue(self) -> int:
        """The number of calls beyond `request_timeout` whose threads have not come back."""
        return len(self.timekeeper.overdue) if self.timekeeper is not None else 0

    def begin(self, exchange: Exchange, call: WsgiCall | None = None) -> None:
        """Queue *exchange*, or the *call* that has been made for it."""
        if call is None:
            call = WsgiCall(self, exchange)
        if self.timekeeper is not None:
            self.timekeeper.note_queued(call)
        # While the threads keep up, what the loop reads in one turn goes to them together: one that
        # woke for the first request would only fight the loop for the GIL over the others.  While
        # many are at work, there is such a fight anyhow, and another turn of the loop is dear.
        if self._batch:
            self._batch.append(call)
        elif self._pool.is_quick():
            self._batch.append(call)
            self._defer(self._submit)
        else:
            self._pool.submit((call,))

    def _submit(self) -> None:
        size = len(self._batch)
        if self._seen < size > 1 and self._pool.is_quick():
            # While requests keep coming in, take another look: each hand-over to the threads and
            # back costs as much as a request, so the fewer the better.  A single request goes at
            # once, and each connection has one at most, so this ends.
            self._seen = size
            self._defer(self._submit)
            return
        self._seen = 0
        batch, self._batch = self._batch, []
        self._pool.submit(batch)

    def _tell_overdue(self, call: WsgiCall) -> None:
        if self.on_overdue is not None:
            self.on_overdue(call)


class WsgiCall:
    """One call of the application: the work of one pool thread.

    Attributes:
        stage, queued, started, thread_ident: the timekeeper's, if there is one.
    """

    __slots__ = (
        "_application",
        "_handler",
        "_headers",
        "_line",
        "_response",
        "_status",
        "exchange",
        "queued",
        "stage",
        "started",
        "thread_ident",
    )

    def __init__(self, handler: WsgiHandler, exchange: Exchange) -> None:
        """Prepare to answer *exchange*."""
        self._handler = handler
        self._application = handler.application
        self.exchange = exchange
        self._response = exchange.response
        self._status = 0
        self._line: bytes | None = None
        self._headers: list[tuple[str, str]] = []
        self.stage = _QUEUED
        self.queued = 0.0
        self.started = 0.0
        self.thread_ident = 0

    def run(self) -> None:
        """Call the application and send what it answers.  Thread: pool."""
        handler = self._handler
        exchange = self.exchange
        body, size = exchange.take_body()
        timekeeper = handler.timekeeper
        # The client left while it waited, or was told that it waited too long: nobody would read
        # the answer [WSGI-6].  After `take_body`, which has the whole body only while not gone.
        if exchange.is_gone or (timekeeper is not None and not timekeeper.try_begin(self)):
            body.close()
            return
        if handler.keeps_times:
            exchange.note_started(threading.current_thread())
        environs = handler.environs
        try:
            environ = environs.build(exchange, body, size)
            result = self._application(environ, self.start_response)
            try:
                self._send(result)
            finally:
                # Once, whatever happened, and after the last byte was handed over.
                if hasattr(result, "close"):
                    result.close()
        except ClientDisconnected:
            logger.debug("the client left before the end of its response: %r", exchange)
        except BaseException as error:  # noqa: BLE001 - the border with user code; SystemExit too
            self._fail(error)
        finally:
            body.close()
            if environs.errors.pending:
                environs.errors.flush()
            if timekeeper is not None:
                timekeeper.end(self)

    def _fail(self, error: BaseException) -> None:
        """Tell of *error*, and have the client told."""
        head = self.exchange.head
        target = head.target.decode("latin-1")
        try:
            logger.error("the application failed on %s %s", head.method, target, exc_info=error)
        finally:  # even if a log handler of the user's raises
            self.exchange.post_failure(500)

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
    ) -> Callable[[bytes], None]:
        """Take status and headers; they are sent with the first piece of body that is not empty.

        Raises:
            AssertionError: called again without *exc_info*.
            ResponseError: *status* is ill-formed.
            BaseException: *exc_info*'s own, if the head has been sent already.
        """
        if exc_info is not None:
            try:
                if self._response.is_started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no circular reference through the frame
        elif self._line is not None:
            raise AssertionError("start_response() was called twice without exc_info")
        self._status, self._line = _status_lines.get(status) or _status_line(status)
        self._headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send *data* at once: the `write` callable of PEP 3333."""
        if data:
            self._post_piece(data)

    # --- sending

    def _send(self, result: Iterable[bytes]) -> None:
        kind = type(result)
        if self._response.writing is not _AWAITING_START:
            self._send_iterable(result)  # after write()
        elif kind is list or kind is tuple:
            parts: Any = result
            self._send_whole(parts[0] if len(parts) == 1 else _join(parts))
        elif kind is not FileWrapper or not self._send_file(result):
            self._send_iterable(result)

    def _start(self) -> bytes:
        if self._line is None:
            raise ResponseError("the application sent a body without calling start_response()")
        return self._line

    def _send_whole(self, body: bytes) -> None:
        if type(body) is not bytes:
            raise _wrong_piece(body)
        line = self._line or self._start()
        buffers = self._response.whole(self._status, line, self._headers, body)
        # With others at work, sending from each thread would only have them all fight for the GIL;
        # waking the loop once for all answers is cheaper.
        if self._handler.is_alone():
            self.exchange.send_last(buffers)
        else:
            self.exchange.post_last(buffers)

    def _send_iterable(self, result: Iterable[bytes]) -> None:
        iterator = iter(result)
        if not self._response.is_started:
            first = next(filter(None, iterator), b"")
            if not first or _has_one_item(result):
                self._send_whole(first)
                return
            self._post_piece(first)
        for piece in iterator:
            if piece:
                self._post_piece(piece)
        end = self._response.end()
        self.exchange.post_last([end] if end else [])

    def _post_piece(self, data: bytes) -> None:
        if type(data) is not bytes:
            raise _wrong_piece(data)
        response = self._response
        if response.is_started:
            buffers = response.piece(data)
        else:
            head = response.start(self._status, self._start(), self._headers)
            buffers = [head, *response.piece(data)]
        if buffers:
            self.exchange.post(buffers)
        elif self.exchange.is_gone:  # an answer to HEAD: nothing to send that would find out
            raise ClientDisconnected("the client is gone")

    def _send_file(self, wrapper: Any) -> bool:  # noqa: ANN401 - a FileWrapper
        """Send a regular file from the kernel; return False if it has to be read instead."""
        span = wrapper.span()
        if span is None:
            return False
        fd, offset, count = span
        if count <= MAX_FILE_READ:
            return False
        head = self._response.start_file(self._status, self._start(), self._headers, count)
        if self._response.head_request:
            self.exchange.post_last([head])
        else:
            self.exchange.post_file([head], fd, offset, self._response.body_bytes)
        return True

"""Drive a WSGI application over an exchange, in a pool thread (PEP 3333).  [WSGI-1] to [WSGI-7]"""

from __future__ import annotations

import enum
import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgibridge.app.environ import EnvironBuilder
from asgibridge.app.files import FileWrapper
from asgibridge.errors import ClientDisconnected, ResponseError
from asgibridge.http.lifecycle import Writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from asgibridge.app.threads import ThreadPool
    from asgibridge.interfaces import Application, Exchange

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = ["WsgiCall", "WsgiHandler", "WsgiTimeouts"]

logger = logging.getLogger("asgibridge")

# Files up to here are read and sent like any body: cheaper than setting up sendfile(2).
_MAX_FILE_READ: Final = 65536

# What applications say, in the form that goes to the wire.  Bounded, because an application may
# echo what a client sent.
_status_lines: dict[str, tuple[int, bytes]] = {}
_MAX_KEPT: Final = 512

_AWAITING_START: Final = Writing.AWAITING_START


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


def _has_one_item(result: Iterable[bytes]) -> bool:
    """Say whether *result* knows that its first item is all: PEP 3333 asks for the attempt."""
    try:
        return len(result) == 1  # type: ignore[arg-type]  # that is what we find out
    except TypeError:
        return False


class Deadlines(Protocol):
    """The wheel of timeouts, as far as it is used here."""

    def set(self, entry: Any, when: float) -> None:  # noqa: ANN401 - the wheel's own protocol
        """Call `entry.on_deadline` at *when*, in loop time."""

    def remove(self, entry: Any) -> None:  # noqa: ANN401 - same
        """Forget *entry*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WsgiTimeouts:
    """Bounds of waiting for a thread and of running in it, in seconds; None for no bound.

    Attributes:
        queue: waiting for a thread; then 503 [WSGI-6].
        request: running; then 504 if nothing was sent [WSGI-7].
    """

    queue: float | None = None
    request: float | None = None


class _Stage(enum.Enum):
    QUEUED = "queued"
    RUNNING = "running"
    ABANDONED = "abandoned"
    DONE = "done"


_QUEUED: Final = _Stage.QUEUED
_NEVER: Final = math.inf


class WsgiHandler:
    """Puts each complete request on the pool's queue.

    Attributes:
        overdue: calls beyond `request_timeout` whose threads have not come back.  Loop thread only.
    """

    wants_whole_body = True

    def __init__(  # noqa: PLR0913 - the parts of the bridge
        self,
        application: Application,
        pool: ThreadPool[WsgiCall],
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
        self.lock = threading.Lock()  # guards the stages of calls when there are timeouts
        self.overdue: set[WsgiCall] = set()
        self.on_overdue: Callable[[WsgiCall], None] | None = None
        self._pool = pool
        self.is_queue_empty = pool.is_queue_empty
        self._defer = defer
        self._batch: list[WsgiCall] = []
        self._timeouts = timeouts or WsgiTimeouts()
        self._deadlines = deadlines
        self._clock = clock
        self.has_timeouts = self._timeouts != WsgiTimeouts()

    def begin(self, exchange: Exchange) -> None:
        """Queue *exchange*."""
        call = WsgiCall(self, exchange)
        if self.has_timeouts and self._deadlines is not None:
            queue, request = self._timeouts.queue, self._timeouts.request
            now = self._clock()
            # One deadline at a time: without a bound on queueing, look when the request could
            # be overdue if it began at once.
            first = queue if queue is not None else request
            if first is not None:
                self._deadlines.set(call, now + first)
        # All that the loop reads in one turn goes to the pool together: a thread that woke for the
        # first request would only fight the loop for the GIL while it reads the others.
        self._batch.append(call)
        if len(self._batch) == 1:
            self._defer(self._submit)

    def _submit(self) -> None:
        batch, self._batch = self._batch, []
        self._pool.submit(batch)

    def look_at(self, call: WsgiCall, now: float) -> None:
        """Act on *call*, whose deadline has come.  Loop thread."""
        queue, request = self._timeouts.queue, self._timeouts.request
        with self.lock:
            stage = call.stage
            if stage is _Stage.QUEUED and queue is not None:
                call.stage = _Stage.ABANDONED
        deadlines = self._deadlines
        if stage is _Stage.DONE or deadlines is None or call in self.overdue:
            self.overdue.discard(call)
            return
        if stage is _Stage.QUEUED:
            if queue is not None:
                call.exchange.fail(503)
            elif request is not None:
                deadlines.set(call, now + request)
        elif request is not None and now < call.started + request:
            deadlines.set(call, call.started + request)
        elif request is not None:
            self.overdue.add(call)
            if self.on_overdue is not None:
                self.on_overdue(call)
            call.exchange.fail(504)

    def forget(self, call: WsgiCall) -> None:
        """The thread of *call* has come back.  Loop thread."""
        self.overdue.discard(call)

    def now(self) -> float:
        """Return the wheel's time.  Thread: any."""
        return self._clock()


class WsgiCall:
    """One call of the application: the work of one pool thread.

    Attributes:
        stage: guarded by the handler's lock, and kept only if there are timeouts.
        started: when the thread began, in the wheel's time.
        deadline, slot: the wheel's.
    """

    __slots__ = (
        "_handler",
        "_headers",
        "_line",
        "_response",
        "_status",
        "deadline",
        "exchange",
        "slot",
        "stage",
        "started",
        "thread_ident",
    )

    def __init__(self, handler: WsgiHandler, exchange: Exchange) -> None:
        """Prepare to answer *exchange*."""
        self._handler = handler
        self.exchange = exchange
        self._response = exchange.response
        self._status = 0
        self._line: bytes | None = None
        self._headers: list[tuple[str, str]] = []
        self.stage = _QUEUED
        self.started = 0.0
        self.thread_ident = 0
        self.deadline = _NEVER
        self.slot: int | None = None

    # --- the loop's side

    def on_deadline(self, now: float) -> None:
        """Look whether the call waits or runs for too long."""
        self._handler.look_at(self, now)

    # --- the thread's side

    def run(self) -> None:
        """Call the application and send what it answers.  Thread: pool."""
        handler = self._handler
        exchange = self.exchange
        if exchange.is_gone:
            return  # the client left while it waited: nobody would read the answer  [WSGI-6]
        if handler.has_timeouts and not self._claim():
            return
        if handler.keeps_times:
            exchange.note_started(threading.current_thread())
        body, size = exchange.take_body()
        try:
            environ = handler.environs.build(exchange, body, size)
            result = handler.application(environ, self.start_response)
            try:
                self._send(result)
            finally:
                # Once, whatever happened, and after the last byte was handed over.
                if hasattr(result, "close"):
                    result.close()
        except ClientDisconnected:
            logger.debug("the client left before the end of its response: %r", exchange)
        except BaseException:  # the border with user code; SystemExit must not end the thread
            head = exchange.head
            target = head.target.decode("latin-1")
            logger.exception("the application failed on %s %s", head.method, target)
            exchange.post_failure(500)
        finally:
            body.close()
            if handler.has_timeouts:
                with handler.lock:
                    self.stage = _Stage.DONE

    def _claim(self) -> bool:
        handler = self._handler
        with handler.lock:
            if self.stage is not _Stage.QUEUED:
                return False
            self.stage = _Stage.RUNNING
            self.started = handler.now()
            self.thread_ident = threading.get_ident()
        return True

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
            self._send_whole(parts[0] if len(parts) == 1 else b"".join(parts))
        elif kind is not FileWrapper or not self._send_file(result):
            self._send_iterable(result)

    def _start(self) -> bytes:
        if self._line is None:
            raise ResponseError("the application sent a body without calling start_response()")
        return self._line

    def _send_whole(self, body: bytes) -> None:
        if type(body) is not bytes:
            raise ResponseError(f"a body is made of bytes, not of {type(body).__name__}")
        line = self._line or self._start()
        buffers = self._response.whole(self._status, line, self._headers, body)
        # With more work waiting, waking the loop once for all answers is cheaper.
        if self._handler.is_queue_empty():
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
        response = self._response
        if response.is_started:
            buffers = response.piece(data)
        else:
            head = response.start(self._status, self._start(), self._headers)
            buffers = [head, *response.piece(data)]
        if type(data) is not bytes:
            raise ResponseError(f"a body is made of bytes, not of {type(data).__name__}")
        self.exchange.post(buffers)

    def _send_file(self, wrapper: Any) -> bool:  # noqa: ANN401 - a FileWrapper
        """Send a regular file from the kernel; return False if it has to be read instead."""
        span = wrapper.span()
        if span is None:
            return False
        fd, offset, count = span
        if count <= _MAX_FILE_READ:
            return False
        head = self._response.start_file(self._status, self._start(), self._headers, count)
        if self._response.head_request:
            self.exchange.post_last([head])
        else:
            self.exchange.post_file([head], fd, offset, self._response.body_bytes)
        return True

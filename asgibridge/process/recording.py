"""From what `net` knows of a finished exchange to a record of the access log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from asgibridge.net.exchange import Times
from asgibridge.ops.access import AccessLog, AccessRecord

if TYPE_CHECKING:
    import asyncio

    from asgibridge.net.connection import Connection
    from asgibridge.net.exchange import Exchange

__all__ = ["AccessRecorder"]

# Seconds between a record and its line.
_FLUSH_DELAY: Final = 0.5


class AccessRecorder:
    """Writes one record for every request, those that were cut or refused included."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: AccessLog) -> None:
        """Write to *log*, flushing it from *loop*."""
        self._loop = loop
        self._log = log

    def on_ended(self, exchange: Exchange, connection: Connection) -> None:  # noqa: ARG002 - the wiring's
        """Record *exchange*, which is over."""
        self._write(self._describe(exchange))

    def record_last(self, exchange: Exchange, cut: str) -> None:
        """Record *exchange*, which the end of the process cuts, for the last `flush`.

        Thread: any, while the loop is stuck.
        """
        exchange.cut = exchange.cut or cut
        self._log.write(self._describe(exchange))

    def _describe(self, exchange: Exchange) -> AccessRecord:
        now = time.perf_counter()
        times = exchange.times or Times()
        begun = times.begun
        started = begun if times.started is None else times.started
        head = exchange.head
        response = exchange.response
        thread_id, thread_name = times.thread
        return AccessRecord(
            exchange.client[0] if exchange.client else None,
            head.method,
            head.target,
            head.version,
            response.status,
            response.body_bytes,
            time.time() - (now - begun),
            now - begun,
            started - begun,
            now - started,
            exchange.cut,
            head.headers,
            list(response.headers),
            thread_id,
            thread_name,
        )

    def on_refused(self, connection: Connection, status: int, reason: str) -> None:
        """Record a request that never became an exchange."""
        client = connection.client[0] if connection.client else None
        self._write(
            AccessRecord(client, "-", "-", "-", status, 0, time.time(), 0.0, 0.0, 0.0, reason)
        )

    def flush(self) -> None:
        """Write what waits."""
        self._log.flush()

    def _write(self, record: AccessRecord) -> None:
        if self._log.write(record):
            self._loop.call_later(_FLUSH_DELAY, self._log.flush)

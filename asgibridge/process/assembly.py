"""The parts of one server, made from its settings and joined together."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asgibridge.app.asgi import AsgiHandler
from asgibridge.app.environ import EnvironBuilder
from asgibridge.app.threads import ThreadPool
from asgibridge.app.wsgi import WsgiCall, WsgiHandler, WsgiTimeouts
from asgibridge.http.parser import ParserLimits, RequestParser
from asgibridge.net.acceptor import Acceptor, AcceptorSettings
from asgibridge.net.clock import HeaderClock
from asgibridge.net.deadlines import Deadlines
from asgibridge.net.gate import Gate
from asgibridge.net.outbox import Outbox
from asgibridge.net.proxy import TrustedProxies
from asgibridge.net.reception import Reception
from asgibridge.net.sharing import Sharing
from asgibridge.net.wiring import Timeouts, WebSocketSettings, Wiring
from asgibridge.ops.access import AccessLog
from asgibridge.process.capacity import default_threads, usable_cpus
from asgibridge.process.mounting import Mounting
from asgibridge.process.overdue import OverdueReporter
from asgibridge.process.recording import AccessRecorder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asgibridge.app.loader import LoadedApplication
    from asgibridge.config.settings import Config
    from asgibridge.net.certificates import TlsTerms
    from asgibridge.net.connection import Connection
    from asgibridge.net.exchange import Exchange
    from asgibridge.net.websocket import WebSocket

__all__ = ["Assembly", "assemble"]

# Seconds in which another worker may take a waiting client, before an idle one is closed for it.
EVICTION_DELAY: Final = 0.005


@dataclass(slots=True, kw_only=True)
class Assembly:
    """The parts that the server goes on to handle.

    Attributes:
        pool: the threads; None for an ASGI application, unless it has had work for some.
        mounting: what starts them then.
    """

    wiring: Wiring
    acceptor: Acceptor
    reception: Reception
    handler: AsgiHandler | WsgiHandler
    pool: ThreadPool[Any] | None
    recorder: AccessRecorder | None
    mounting: Mounting | None = None

    @property
    def overdue(self) -> int:
        """The number of WSGI requests beyond `request_timeout` whose threads have not come back."""
        calls = self.handler if isinstance(self.handler, WsgiHandler) else self.mounting
        return calls.overdue if calls is not None else 0

    def adopt(self, pool: ThreadPool[Any]) -> None:
        """Take *pool*, which has been started late."""
        self.pool = pool


def assemble(  # noqa: PLR0913 - what a server is made from
    config: Config,
    loaded: LoadedApplication,
    state: dict[str, Any],
    loop: asyncio.AbstractEventLoop,
    on_exhausted: Callable[[], None],
    *,
    tls: TlsTerms | None = None,
    is_shared: bool = False,
) -> Assembly:
    """Make and join everything between the listeners and the application.

    *on_exhausted* is called when overdue requests hold all threads; *tls* says on what terms the
    listeners speak it, if they do; *is_shared* says that other processes serve the same listeners.
    """
    deadlines = Deadlines(loop)
    is_wsgi = loaded.interface == "wsgi"
    threads = config.threads if config.threads is not None else default_threads(usable_cpus())
    max_in_flight = config.max_in_flight
    if max_in_flight is None and is_wsgi:
        max_in_flight = threads
    gate = Gate(worker_connections=config.worker_connections, max_in_flight=max_in_flight)
    recorder = None
    if config.access_log:
        recorder = AccessRecorder(loop, AccessLog(config.access_log_format))
    pool: ThreadPool[WsgiCall] | None = None
    handler: AsgiHandler | WsgiHandler
    if is_wsgi:
        pool = ThreadPool(threads)
        handler = WsgiHandler(
            loaded.application,
            pool,
            EnvironBuilder(
                root_path=config.root_path, multithread=threads > 1, multiprocess=is_shared
            ),
            loop.call_soon,
            timeouts=WsgiTimeouts(queue=config.queue_timeout, request=config.request_timeout),
            deadlines=deadlines,
            clock=loop.time,
            keeps_times=recorder is not None,
        )
        if handler.timekeeper is not None:
            reporter = OverdueReporter(loop, gate, handler, pool, on_exhausted)
            handler.on_overdue = reporter.on_overdue
            handler.timekeeper.on_returned = reporter.on_returned
    else:
        handler = AsgiHandler(loaded.application, loop, root_path=config.root_path, state=state)
    limits = ParserLimits(
        max_head_size=config.max_head_size,
        max_headers=config.max_headers,
        max_target_size=config.max_target_size,
        max_body_size=config.max_body_size,
        max_header_size=config.max_header_size,
    )
    wiring = Wiring(
        loop=loop,
        gate=gate,
        deadlines=deadlines,
        outbox=Outbox(loop),
        clock=HeaderClock(server_header=config.server_header),
        handler=handler,
        parser=RequestParser(limits),
        limits=limits,
        timeouts=Timeouts(
            parking_delay=config.parking_delay,
            header=config.header_timeout,
            body=config.body_timeout,
            write=config.write_timeout,
            keep_alive=config.keep_alive,
        ),
        max_body_memory=config.max_body_memory,
        # With these timeouts the loop may answer for a thread; then it must be the only one.
        may_send_directly=is_wsgi and config.queue_timeout is config.request_timeout is None,
        is_draining=config.keep_alive == 0,
    )
    if config.proxy_headers:
        wiring.proxies = TrustedProxies(config.forwarded_allow_ips)
    if not is_wsgi:
        wiring.open_websocket = _websocket_opener(config, wiring)
    if recorder is not None:
        wiring.on_ended = recorder.on_ended
        wiring.on_refused = recorder.on_refused
    accepting = AcceptorSettings()
    if is_shared:
        accepting = AcceptorSettings(batch=1, eviction_delay=EVICTION_DELAY, pauses_early=True)
    reception = Reception(wiring, tls)
    acceptor = Acceptor(loop, gate, deadlines, reception.admit, accepting)
    acceptor.park_silent = reception.park_silent
    wiring.sharing = Sharing(loop, gate, acceptor, is_shared=is_shared)
    assembly = Assembly(
        wiring=wiring,
        acceptor=acceptor,
        reception=reception,
        handler=handler,
        pool=pool,
        recorder=recorder,
    )
    if isinstance(handler, AsgiHandler):
        assembly.mounting = mounting = Mounting(
            config, threads, wiring, on_exhausted, is_shared=is_shared
        )
        mounting.on_pool = assembly.adopt
        handler.threads, handler.mounts = mounting.threads, mounting.mounts
    return assembly


def _websocket_opener(
    config: Config, wiring: Wiring
) -> Callable[[Exchange, Connection], WebSocket]:
    # Only here: a WSGI application has no WebSockets, and need not pay for the packages.
    from asgibridge.net.websocket import WebSocket  # noqa: PLC0415

    settings = WebSocketSettings(
        max_size=config.ws_max_size,
        max_queue=config.ws_max_queue,
        ping_interval=config.ws_ping_interval,
        ping_timeout=config.ws_ping_timeout,
        handshake_timeout=config.ws_handshake_timeout,
        compresses=config.ws_deflate,
    )
    return functools.partial(WebSocket, wiring=wiring, settings=settings)

"""The pool and the bridge of an ASGI process, made when they are first needed.  [WSGI-8]"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from asgibridge.app.mount import MountedEnvirons, MountHandler
from asgibridge.app.threads import ThreadPool
from asgibridge.app.wsgi import WsgiHandler, WsgiTimeouts
from asgibridge.net.body import BodyBuffer
from asgibridge.process.overdue import OverdueReporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.config.settings import Config
    from asgibridge.net.wiring import Wiring

__all__ = ["Mounting"]

logger = logging.getLogger("asgibridge")


class Mounting:
    """Starts threads only in a process that has work for them.  Loop thread only.

    Attributes:
        on_pool: told of the pool when it has been started.
    """

    def __init__(
        self,
        config: Config,
        threads: int,
        wiring: Wiring,
        on_exhausted: Callable[[], None],
        *,
        is_shared: bool = False,
    ) -> None:
        """Prepare to start *threads* threads.

        *on_exhausted* is called when overdue requests hold all of them; *is_shared* says that other
        processes serve the same application.
        """
        self.on_pool: Callable[[ThreadPool[Any]], None] | None = None
        self._config = config
        self._threads = threads
        self._wiring = wiring
        self._on_exhausted = on_exhausted
        self._is_shared = is_shared
        self._pool: ThreadPool[Any] | None = None
        self._bridge: WsgiHandler | None = None
        self._mounts: MountHandler | None = None

    @property
    def overdue(self) -> int:
        """The number of calls beyond `request_timeout` whose threads have not come back."""
        return self._bridge.overdue if self._bridge is not None else 0

    def threads(self) -> ThreadPool[Any]:
        """Return the pool, started."""
        if self._pool is None:
            self._pool = ThreadPool(self._threads)
            self._pool.start()
            logger.info(
                "started threads=%d reason=the application has work for them", self._threads
            )
            if self.on_pool is not None:
                self.on_pool(self._pool)
        return self._pool

    def mounts(self) -> MountHandler:
        """Return what calls mounted WSGI applications."""
        if self._mounts is None:
            self._mounts = self._make_mounts(self.threads())
        return self._mounts

    def _make_mounts(self, pool: ThreadPool[Any]) -> MountHandler:
        config, wiring = self._config, self._wiring
        environs = MountedEnvirons(
            root_path="", multithread=pool.size > 1, multiprocess=self._is_shared
        )
        self._bridge = bridge = WsgiHandler(
            None,
            pool,
            environs,
            wiring.loop.call_soon,
            timeouts=WsgiTimeouts(queue=config.queue_timeout, request=config.request_timeout),
            deadlines=wiring.deadlines,
            clock=wiring.loop.time,
            keeps_times=wiring.on_ended is not None,
        )
        if bridge.timekeeper is not None:
            reporter = OverdueReporter(wiring.loop, wiring.gate, bridge, pool, self._on_exhausted)
            bridge.on_overdue = reporter.on_overdue
            bridge.timekeeper.on_returned = reporter.on_returned
        max_memory = wiring.max_body_memory
        return MountHandler(bridge, lambda: BodyBuffer(max_memory), wiring.outbox.post)

"""ASGI startup and shutdown (lifespan protocol 2.0).  [ASGI-1]"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, Any, Final

from asgibridge.errors import IllegalMove, LifespanFailed

if TYPE_CHECKING:
    from asgibridge.interfaces import Application

__all__ = ["Lifespan", "LifespanMode", "LifespanStage"]

logger = logging.getLogger("asgibridge")

_SCOPE_VERSIONS: Final = {"version": "3.0", "spec_version": "2.0"}


class LifespanMode(enum.Enum):
    """Whether the application is asked."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LifespanStage(enum.Enum):
    """How far the application has come."""

    BEFORE = "before"
    STARTING = "starting"
    RUNNING = "running"
    UNSUPPORTED = "unsupported"
    STOPPING = "stopping"
    OVER = "over"


class Lifespan:
    """Runs the application's lifespan in one task.  Loop thread only.

    Attributes:
        stage: how far it has come.
        state: what the application left for its requests.
    """

    def __init__(self, application: Application, mode: LifespanMode) -> None:
        """Prepare; nothing runs yet."""
        self._application = application
        self._mode = mode
        self.stage = LifespanStage.BEFORE
        self.state: dict[str, Any] = {}
        self._has_received = False
        self._has_failed = False
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answer: asyncio.Future[str | None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task it runs in, once there is one."""
        return self._task

    async def start(self, timeout: float) -> None:  # noqa: ASYNC109 - a failure is told
        """Wait until the application has started, *timeout* seconds at most.

        Raises:
            LifespanFailed: it failed, took too long, or (mode on) has no lifespan.
        """
        if self._mode is LifespanMode.OFF:
            self.stage = LifespanStage.UNSUPPORTED
            return
        self.stage = LifespanStage.STARTING
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._task = loop.create_task(self._run())
        self._to_app.put_nowait({"type": "lifespan.startup"})
        failure: str | None = (
            f"the application's startup took longer than {timeout:g} s; "
            "make it quicker or raise startup_timeout"
        )
        has_started = False
        try:
            await asyncio.wait({self._answer}, timeout=timeout)
            if self._answer.done():
                failure = self._answer.result()
            has_started = failure is None
        finally:
            if not has_started:  # nobody will ever talk to the application again
                self._task.cancel()
        if failure is not None:
            raise LifespanFailed(failure)

    async def stop(self, timeout: float) -> bool:  # noqa: ASYNC109 - a late end is told
        """Have the application shut down, *timeout* seconds at most; return whether it did."""
        if self.stage is not LifespanStage.RUNNING or self._task is None:
            return True
        if self._task.done():  # it did not wait to be asked, or failed; nobody would answer
            self.stage = LifespanStage.OVER
            return not self._has_failed
        self.stage = LifespanStage.STOPPING
        self._answer = asyncio.get_running_loop().create_future()
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        try:
            await asyncio.wait({self._answer}, timeout=timeout)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if not self._answer.done():
            logger.error("the application's shutdown took longer than %.1f s", timeout)
            self._task.cancel()
            return False
        self.stage = LifespanStage.OVER
        failure = self._answer.result()
        if failure is not None:
            logger.error("%s", failure)
        return failure is None

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _SCOPE_VERSIONS.copy(), "state": self.state}
        failure: str | None
        try:
            await self._application(scope, self._receive, self._send)
        except asyncio.CancelledError:  # by us, or the application's own: nothing will follow
            self._has_failed = True
            self._settle("the application's lifespan was cancelled")
            raise
        except BaseException as error:  # the border with user code
            if not self._has_received and self._mode is LifespanMode.AUTO:
                logger.debug("no lifespan: the application declined it", exc_info=error)
                self.stage = LifespanStage.UNSUPPORTED
                self._settle(None)
                return
            self._has_failed = True
            failure = f"the application's lifespan failed: {type(error).__name__}: {error}"
            logger.error("the application's lifespan failed", exc_info=error)  # noqa: TRY400
        else:
            failure = self._describe_early_return()
        if self.stage is LifespanStage.RUNNING:
            logger.error("the application's lifespan ended while it should run")
        self._settle(failure)

    def _describe_early_return(self) -> str | None:
        if self.stage is LifespanStage.STARTING:
            if not self._has_received and self._mode is LifespanMode.AUTO:
                self.stage = LifespanStage.UNSUPPORTED
                return None
            return "the application's lifespan returned without completing its startup"
        return None

    async def _receive(self) -> dict[str, Any]:
        self._has_received = True
        return await self._to_app.get()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        match (self.stage, kind):
            case (LifespanStage.STARTING, "lifespan.startup.complete"):
                self.stage = LifespanStage.RUNNING
                self._settle(None)
            case (LifespanStage.STARTING, "lifespan.startup.failed"):
                self._settle(f"the application's startup failed: {message.get('message', '')}")
            case (LifespanStage.STOPPING, "lifespan.shutdown.complete"):
                self._settle(None)
            case (LifespanStage.STOPPING, "lifespan.shutdown.failed"):
                self._settle(f"the application's shutdown failed: {message.get('message', '')}")
            case _:
                raise IllegalMove(self.stage, kind)

    def _settle(self, failure: str | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(failure)

"""A worker class for gunicorn: its arbiter, its settings and its hooks around our server.

    gunicorn -k asgibridge.gunicorn.Worker app:app

The arbiter forks and replaces; each worker runs one `Server` on the listeners that it inherits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import signal
import struct
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from asgibridge.app.loader import LoadedApplication, load
from asgibridge.app.request_hooks import AsgiHooks, RequestHooks, WsgiHooks
from asgibridge.config.gunicorn import find_pointless, settings_from_gunicorn
from asgibridge.config.settings import Config
from asgibridge.errors import LoadError, SettingsError, StartError
from asgibridge.net.sockets import Listener
from asgibridge.ops.atoms import compile_format
from asgibridge.ops.forwarding import forward_access, forward_general
from asgibridge.ops.stacks import format_all_threads
from asgibridge.process.loops import close_loop, come_to, log_loop_trouble, loop_factory
from asgibridge.process.phase import Phase
from asgibridge.process.pulse import BEAT, LoopMonitor, Pulse
from asgibridge.process.server import Membership, Server
from asgibridge.process.signals import SignalRelay
from asgibridge.process.watchdog import Watchdog

try:
    from gunicorn.arbiter import Arbiter
    from gunicorn.config import Config as GunicornConfig
    from gunicorn.glogging import Logger as GunicornLogger
    from gunicorn.workers.base import Worker as BaseWorker
except ImportError as error:
    raise ImportError(
        "asgibridge.gunicorn needs gunicorn, which is not installed; run `pip install gunicorn`, "
        "or serve without it: `asgibridge serve`"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

__all__ = ["Worker"]

logger = logging.getLogger("asgibridge")

# Seconds that the quick stop (SIGINT, SIGQUIT) leaves for the application's shutdown, and that a
# reload leaves for what is in flight.
_QUICK: Final = 1.0
# Seconds that every stop may take, even with a `graceful_timeout` of 0: to close and to tell.
_LEAST: Final = 0.25
# The arbiter stops altogether when a worker ends with one of its own two codes.
_EXIT_STUCK: Final = 1
_AGE: Final = struct.Struct("=Q")


class Worker(BaseWorker):
    """One process under gunicorn's arbiter.

    Made before the fork, so that nothing is started before `run`.
    """

    # Shared with all workers, written by the arbiter alone, with each worker that it makes: the
    # age of the newest.  Whoever is older, and told to stop, has a successor.
    _newest: mmap.mmap | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(*args, **kwargs)
        self._server: Server | None = None
        self._watchdog: Watchdog | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if Worker._newest is None:
            Worker._newest = mmap.mmap(-1, _AGE.size)
        _AGE.pack_into(Worker._newest, 0, self.age)
        self._task: asyncio.Task[Any] | None = None
        self._is_stopping = False
        self._is_aborted = False

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:  # noqa: ANN401 - gunicorn's own
        """Refuse what cannot be served, and tell once of what has no effect.  In the arbiter.

        Raises:
            RuntimeError: with all mistakes; gunicorn prints it and ends.
        """
        values = _values(cfg)
        mistakes: list[str] = []
        for check in (
            partial(_config_of, cfg, log),
            partial(compile_format, values["access_log_format"]),
        ):
            try:
                check()
            except SettingsError as error:
                mistakes += error.mistakes
        if _hook(cfg, "ssl_context") is not None:
            mistakes.append(
                "gunicorn's ssl_context: asgibridge makes its own from certfile, keyfile, "
                "ca_certs, cert_reqs and ciphers; remove the hook"
            )
        if mistakes:
            raise RuntimeError("\n".join(mistakes))
        for line in find_pointless(values, _values(GunicornConfig())):
            log.warning("%s", line)

    # --- what the arbiter calls, in the worker's process

    def init_signals(self) -> None:
        """Set the handlers; those of the arbiter for its number of workers are not for us."""
        super().init_signals()
        for number in (signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until told to stop: the last step of `init_process`.

        Raises:
            SystemExit: the application cannot be served; the arbiter gives up then.
        """
        if not self.alive:
            return  # told to stop while the application was imported
        self._set_up_logs()
        try:
            self._server = self._make_server()
            self._serve(self._server)
            if self._is_aborted:
                raise SystemExit(_EXIT_STUCK)
        except LoadError as error:
            self._give_up(error, Arbiter.APP_LOAD_ERROR)
        except (StartError, SettingsError) as error:
            self._give_up(error, Arbiter.WORKER_BOOT_ERROR)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop gracefully (SIGTERM).  The arbiter may say so again and again."""
        self.alive = False
        self._ask_to_stop(signal.Signals(sig).name, self.cfg.graceful_timeout)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop at once (SIGINT, SIGQUIT)."""
        self.alive = False
        self.cfg.worker_int(self)
        grace = min(_QUICK, self.cfg.graceful_timeout)
        self._ask_to_stop(signal.Signals(sig).name, grace, is_quick=True)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Tell where the loop is stuck, and end (SIGABRT: no sign of life within `timeout`)."""
        self.alive = False
        logger.critical(
            "aborted: no sign of life for %s s; stacks follow\n%s",
            self.cfg.timeout,
            format_all_threads(),
        )
        if self._server is not None:
            self._server.tell_before_end()
        self.cfg.worker_abort(self)
        # The exception frees the loop, unless the application swallows it; then the watchdog ends
        # the process.
        self._is_aborted = True
        self._ask_to_stop("aborted", _QUICK, is_quick=True)
        raise SystemExit(_EXIT_STUCK)

    def _give_up(self, error: Exception, code: int) -> NoReturn:
        self.log.error("%s", error, exc_info=error.__cause__)
        raise SystemExit(code) from None

    # --- before the loop

    def _set_up_logs(self) -> None:
        forward_general(_logger_of(self.log, "error"))
        access = self.log.access if _has_own_access(self.log) else None
        forward_access(_logger_of(self.log, "access"), access)

    def _make_server(self) -> Server:
        settings = _config_of(self.cfg, self.log)
        loaded = self._wrap(load(self.wsgi, interface=settings["interface"]))
        settings |= {"app": loaded.application, "interface": loaded.interface}
        if loaded.interface == "wsgi":
            settings["lifespan"] = "auto"
        self._config = Config(**settings)
        listeners = [
            Listener(each.sock, is_adopted=not self.cfg.reuse_port) for each in self.sockets
        ]
        membership = Membership(
            listeners=listeners,
            loaded=loaded,
            on_exhausted=self._on_exhausted,
            on_unlistened=come_to,
        )
        return Server(self._config, membership=membership)

    def _wrap(self, loaded: LoadedApplication) -> LoadedApplication:
        """Have the hooks called around each request, if somebody has set any."""
        before = _hook(self.cfg, "pre_request")
        after = _hook(self.cfg, "post_request")
        if before is None and after is None:
            return loaded
        hooks = RequestHooks(
            before=partial(before, self) if before is not None else None,
            after=partial(after, self) if after is not None else None,
        )
        wrapper = AsgiHooks if loaded.interface == "asgi" else WsgiHooks
        return LoadedApplication(
            application=wrapper(loaded.application, hooks),
            interface=loaded.interface,
            name=loaded.name,
        )

    # --- the loop

    def _serve(self, server: Server) -> None:
        self._watchdog = Watchdog(server.tell_before_end)
        loop = loop_factory(self._config.loop)()
        asyncio.set_event_loop(loop)
        signal.set_wakeup_fd(-1)  # gunicorn's own pipe, which nobody reads here for signals
        try:
            loop.run_until_complete(self._main(server, loop))
        finally:
            close_loop(loop)
            # What the interpreter still joins must not take for ever.
            self._end_within(self.cfg.graceful_timeout)

    async def _main(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._task = asyncio.current_task()
        self._loop = loop
        loop.set_exception_handler(log_loop_trouble)
        with contextlib.ExitStack() as closing:
            loop.add_reader(self.PIPE[0], self._on_reload)
            closing.callback(loop.remove_reader, self.PIPE[0])
            closing.callback(SignalRelay(self._on_signal_heard).close)
            # `self.timeout` is half of what the arbiter allows; 0 is for ever.
            pulse = Pulse(loop, self._on_beat, every=min(BEAT, self.timeout / 2 or BEAT))
            closing.callback(pulse.stop)
            closing.callback(LoopMonitor(pulse, threading.get_ident()).stop)
            if not self.alive:
                return
            with contextlib.suppress(asyncio.CancelledError):  # by `_stop`: nobody else knows it
                await server.start()
                logger.info("ready pid=%d %s", self.pid, server.summary)
                if self.cfg.max_requests > 0:
                    server.call_after(self.max_requests, self._on_enough)
                await server.serve()

    def _on_beat(self, now: float) -> None:  # noqa: ARG002 - Pulse's
        """Give a sign of life, which a blocked loop cannot; look after the parent."""
        self.notify()
        if self.ppid != os.getppid() and not self._is_stopping:
            self.alive = False
            self._ask_to_stop("the arbiter is gone", self.cfg.graceful_timeout)

    def _on_enough(self) -> None:
        """Make way for a successor."""
        self._retire(f"max_requests={self.max_requests}")

    def _on_exhausted(self) -> None:
        """Make way for one with threads to serve."""
        logger.critical("all threads are overdue: stopping, so that a fresh process can take over")
        self._retire("all threads are overdue")

    def _retire(self, why: str) -> None:
        self.alive = False
        self._end_within(self.cfg.graceful_timeout)
        self._stop(why, self.cfg.graceful_timeout, is_retiring=True)

    def _on_reload(self) -> None:
        """Stop if gunicorn's reloader has seen a change: it writes to the pipe."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)
        if not self.alive and not self._is_stopping:
            self._stop("reload", min(_QUICK, self.cfg.graceful_timeout))

    # --- stopping

    def _on_signal_heard(self, number: int) -> None:
        """Begin to count, even if the main thread should never come to.  Thread: the relay's."""
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._end_within(self.cfg.graceful_timeout)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                self._loop.call_soon_threadsafe(come_to)

    def _ask_to_stop(self, why: str, grace: float, *, is_quick: bool = False) -> None:
        """Have the loop stop the server.  Thread: main, anywhere: signal handlers."""
        self._end_within(grace)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(partial(self._stop, why, grace, is_quick=is_quick))

    def _stop(
        self, why: str, grace: float, *, is_quick: bool = False, is_retiring: bool = False
    ) -> None:
        """Stop the server; one that *is_retiring* leaves those in the queue to others.  Loop."""
        server = self._server
        if server is None or server.phase is Phase.STOPPED:
            return
        if not self._is_stopping or is_quick:
            logger.info("stopping reason=%s within=%gs", why, grace)
        self._is_stopping = True
        if server.phase in (Phase.NEW, Phase.STARTING):
            if self._task is not None:
                self._task.cancel()
        else:
            is_retiring = is_retiring or self._has_successor()
            server.stop(grace=grace, is_quick=is_quick, is_retiring=is_retiring)

    def _has_successor(self) -> bool:
        """Whether a newer worker serves the same listeners.

        The arbiter does not say why it stops a worker: because of a reload (then there are newer
        ones), or because all of them stop (then the newest serves those who are queued).
        """
        if self.cfg.reuse_port or self._newest is None:
            return False  # the queue is this worker's alone
        newest: int = _AGE.unpack_from(self._newest, 0)[0]
        return bool(newest > self.age)

    def _end_within(self, seconds: float) -> None:
        if self._watchdog is not None:
            deadline = time.monotonic() + max(_LEAST, seconds)
            self._watchdog.bring_forward(deadline, _EXIT_STUCK, "the time to stop is over")


# --- gunicorn's configuration and loggers


def _values(cfg: Any) -> dict[str, Any]:  # noqa: ANN401 - gunicorn's Config
    return {name: setting.get() for name, setting in cfg.settings.items()}


def _config_of(cfg: Any, log: Any) -> dict[str, Any]:  # noqa: ANN401
    return settings_from_gunicorn(
        _values(cfg), _environ(cfg), is_access_logged=_wants_access(cfg, log)
    )


def _environ(cfg: Any) -> Mapping[str, str]:  # noqa: ANN401
    return {**os.environ, **cfg.env}


def _wants_access(cfg: Any, log: Any) -> bool:  # noqa: ANN401
    """Whether gunicorn's logger writes access lines: what it would say, asked of any version."""
    if _has_own_access(log):
        return True
    return bool(
        cfg.accesslog
        or cfg.logconfig
        or cfg.logconfig_dict
        or getattr(cfg, "logconfig_json", None)
        or (cfg.syslog and not cfg.disable_redirect_access_to_syslog)
    )


def _has_own_access(log: Any) -> bool:  # noqa: ANN401
    """Whether the logger's class does something of its own with requests: statsd, a filter."""
    own = type(log)
    return any(
        getattr(own, name, None) is not getattr(GunicornLogger, name)
        for name in ("access", "atoms")
    )


def _logger_of(log: Any, kind: str) -> logging.Logger:  # noqa: ANN401
    found = getattr(log, f"{kind}_log", None)
    return found if isinstance(found, logging.Logger) else logging.getLogger(f"gunicorn.{kind}")


def _hook(cfg: Any, name: str) -> Any:  # noqa: ANN401
    """Return the hook *name* if somebody has set it: gunicorn's default only logs, at debug."""
    setting = cfg.settings.get(name)  # some are younger than others
    return None if setting is None or setting.get() is setting.default else setting.get()

"""How asgibridge and each peer is started: the same settings in each one's own words.

One process and 8 threads (or as many as the scenario says), no access log, keep-alive of 75 s,
uvloop and httptools wherever the server can use them.  What is not named here is the server's
default.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ASGIBRIDGE", "SERVERS", "Launch", "Server"]

ASGIBRIDGE: Final = "asgibridge"
# Seconds; asgibridge's default, and longer than any run leaves a connection alone.
KEEP_ALIVE: Final = "75"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a server is started for."""

    python: str
    port: int
    app: str
    interface: str
    threads: int
    worker_connections: int | None
    workers: int = 1
    max_requests: int | None = None
    max_rss_mb: int | None = None
    graceful_timeout: float | None = None
    has_websockets: bool = False

    @property
    def is_recycling(self) -> bool:
        """Whether workers are replaced for what they have done."""
        return self.max_requests is not None or self.max_rss_mb is not None

    @property
    def bind(self) -> str:
        """The address as host:port."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server under test."""

    distribution: str
    """What must be installed."""
    interfaces: frozenset[str]
    command: Callable[[Launch], list[str]]
    notes: Mapping[str, str] = field(default_factory=dict)
    """What a reader of its figures must know, by interface."""
    knows: frozenset[str] = frozenset({"workers"})
    """The settings beyond threads and worker_connections that it can be given."""

    def refusal(self, launch: Launch) -> str | None:
        """Say what *launch* asks for that this server does not have; None: nothing."""
        asked = {
            "workers": launch.workers > 1,
            "max_requests": launch.max_requests is not None,
            "max_rss_mb": launch.max_rss_mb is not None,
            "graceful_timeout": launch.graceful_timeout is not None,
        }
        lacking = [name for name, is_asked in asked.items() if is_asked and name not in self.knows]
        return f"it knows no {', '.join(lacking)}" if lacking else None


def _asgibridge(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "asgibridge", "serve"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--interface", launch.interface),
        *("--threads", str(launch.threads)),  # ASGI uses them for what is mounted inside
        *_worker_connections(launch),
        *(("--workers", str(launch.workers)) if launch.workers > 1 else ()),
        *_option("--max-requests", launch.max_requests),
        *_option("--max-rss", launch.max_rss_mb),
        # Every so many requests, literally: by default a worker serves for 10 s first.
        *(("--min-lifetime", "0") if launch.is_recycling else ()),
        *_option("--graceful-timeout", launch.graceful_timeout),
        launch.app,
    ]


def _option(flag: str, value: float | None) -> tuple[str, ...]:
    """Return *flag* with its *value*; nothing leaves the default."""
    return () if value is None else (flag, f"{value:g}")


def _worker_connections(launch: Launch) -> tuple[str, ...]:
    if launch.worker_connections is None:
        return ()
    return ("--worker-connections", str(launch.worker_connections))


def _uvicorn(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "uvicorn"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--loop", "uvloop", "--http", "httptools"),
        *("--ws", "websockets-sansio" if launch.has_websockets else "none"),
        *("--timeout-keep-alive", KEEP_ALIVE, "--no-access-log", "--log-level", "warning"),
        *(("--workers", str(launch.workers)) if launch.workers > 1 else ()),
        *_option("--limit-max-requests", launch.max_requests),
        *_option("--timeout-graceful-shutdown", launch.graceful_timeout),
        launch.app,
    ]


def _uvicorn_a2wsgi(launch: Launch) -> list[str]:
    # The factory reads the application and the number of threads from the environment.
    wrapped = "under_a2wsgi:make"
    return [*_uvicorn(launch)[:-1], "--interface", "asgi3", "--factory", wrapped]


def _gunicorn(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "gunicorn", "--bind", launch.bind),
        *("--workers", str(launch.workers)),
        *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
        *_worker_connections(launch),
        *_option("--max-requests", launch.max_requests),
        *_option("--graceful-timeout", launch.graceful_timeout),
    ]


def _gunicorn_gthread_bounded(launch: Launch) -> list[str]:
    return _gunicorn_gthread(replace(launch, worker_connections=launch.threads))


def _gunicorn_gthread(launch: Launch) -> list[str]:
    threads = str(launch.threads)
    return [*_gunicorn(launch), "--worker-class", "gthread", "--threads", threads, launch.app]


def _gunicorn_asgi(launch: Launch) -> list[str]:
    return [*_gunicorn(launch), "--worker-class", "asgi", "--asgi-loop", "uvloop", launch.app]


def _granian(launch: Launch) -> list[str]:
    blocking = ("--blocking-threads", str(launch.threads)) if launch.interface == "wsgi" else ()
    # Its bound on open connections goes by this name.
    backpressure = _option("--backpressure", launch.worker_connections)
    return [
        *(launch.python, "-m", "granian", "--interface", launch.interface),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--workers", str(launch.workers)),
        *("--http", "1", "--ws" if launch.has_websockets else "--no-ws"),
        *("--no-access-log", "--log-level", "warning"),
        *blocking,
        *backpressure,
        # As often as it can look: its default is every 30 s.
        *_option("--workers-max-rss", launch.max_rss_mb),
        *(("--rss-sample-interval", "1") if launch.max_rss_mb is not None else ()),
        *_option("--workers-kill-timeout", launch.graceful_timeout),
        launch.app,
    ]


def _granian_bounded(launch: Launch) -> list[str]:
    return _granian(replace(launch, worker_connections=launch.threads))


def _uwsgi(launch: Launch) -> list[str]:
    return [
        str(Path(launch.python).parent / "uwsgi"),
        *("--http11-socket", launch.bind, "--module", launch.app, "--need-app"),
        *("--processes", str(launch.workers), "--threads", str(launch.threads), "--listen", "1024"),
        *("--disable-logging", "--die-on-term", "--home", str(Path(launch.python).parent.parent)),
        *(("--master", "--lazy-apps") if launch.workers > 1 else ()),
        *_option("--max-requests", launch.max_requests),
        *_option("--reload-on-rss", launch.max_rss_mb),
        *_option("--worker-reload-mercy", launch.graceful_timeout),
        *_option("--reload-mercy", launch.graceful_timeout),
    ]


def _waitress(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "waitress", "--listen", launch.bind),
        *("--threads", str(launch.threads), "--channel-timeout", KEEP_ALIVE),
        *("--connection-limit", str(launch.worker_connections or 1000)),
        launch.app,
    ]


def _hypercorn(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "hypercorn", "--bind", launch.bind),
        *("--workers", str(launch.workers)),
        *("--worker-class", "uvloop", "--keep-alive", KEEP_ALIVE, "--log-level", "warning"),
        f"{launch.interface}:{launch.app}",
    ]


WSGI: Final = frozenset({"wsgi"})
ASGI: Final = frozenset({"asgi"})
NOTHING: Final[frozenset[str]] = frozenset()
RECYCLING: Final = frozenset({"workers", "max_requests", "graceful_timeout"})
GRANIAN: Final = frozenset({"workers", "max_rss_mb", "graceful_timeout"})
EVERYTHING: Final = RECYCLING | {"max_rss_mb"}

SERVERS: Final = {
    ASGIBRIDGE: Server(
        distribution="asgibridge",
        interfaces=WSGI | ASGI,
        command=_asgibridge,
        knows=EVERYTHING,
    ),
    "granian": Server(
        distribution="granian", interfaces=WSGI | ASGI, command=_granian, knows=GRANIAN
    ),
    "granian-bounded": Server(
        distribution="granian",
        interfaces=WSGI,
        command=_granian_bounded,
        knows=GRANIAN,
        notes={"wsgi": "granian with --backpressure set to its threads"},
    ),
    "gunicorn-gthread": Server(
        distribution="gunicorn", interfaces=WSGI, command=_gunicorn_gthread, knows=RECYCLING
    ),
    "gunicorn-gthread-bounded": Server(
        distribution="gunicorn",
        interfaces=WSGI,
        command=_gunicorn_gthread_bounded,
        knows=RECYCLING,
        notes={"wsgi": "gunicorn gthread with --worker-connections set to its threads"},
    ),
    "gunicorn-asgi": Server(
        distribution="gunicorn", interfaces=ASGI, command=_gunicorn_asgi, knows=RECYCLING
    ),
    "uvicorn": Server(distribution="uvicorn", interfaces=ASGI, command=_uvicorn, knows=RECYCLING),
    "uvicorn-a2wsgi": Server(
        distribution="a2wsgi", interfaces=WSGI, command=_uvicorn_a2wsgi, knows=RECYCLING
    ),
    "uwsgi": Server(
        distribution="pyuwsgi",
        interfaces=WSGI,
        command=_uwsgi,
        knows=EVERYTHING,
        notes={
            "wsgi": "a thread stays with its kept-alive connection: as many connections as threads "
            "are served, the others wait unanswered and do not show in the latencies"
        },
    ),
    "waitress": Server(
        distribution="waitress",
        interfaces=WSGI,
        command=_waitress,
        knows=NOTHING,
        notes={"wsgi": "it logs a warning for a request that waits in its queue, as by default"},
    ),
    "hypercorn": Server(
        distribution="hypercorn",
        interfaces=WSGI | ASGI,
        command=_hypercorn,
        notes={"wsgi": "the application runs in asyncio's default executor, of a fixed size"},
    ),
}

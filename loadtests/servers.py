"""How asgibridge and each peer is started: the same settings in each one's own words.

One process, 8 threads (or as many as the scenario says), no access log, keep-alive of 75 s, uvloop
and httptools wherever the server can use them.  What is not named here is the server's default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    has_websockets: bool = False

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


def _asgibridge(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "asgibridge", "serve"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--interface", launch.interface),
        *(("--threads", str(launch.threads)) if launch.interface == "wsgi" else ()),
        *_worker_connections(launch),
        launch.app,
    ]


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
        launch.app,
    ]


def _uvicorn_a2wsgi(launch: Launch) -> list[str]:
    # The factory reads the application and the number of threads from the environment.
    wrapped = "under_a2wsgi:make"
    return [*_uvicorn(launch)[:-1], "--interface", "asgi3", "--factory", wrapped]


def _gunicorn(launch: Launch) -> list[str]:
    return [
        *(launch.python, "-m", "gunicorn", "--bind", launch.bind, "--workers", "1"),
        *("--keep-alive", KEEP_ALIVE, "--log-level", "warning", "--no-control-socket"),
        *_worker_connections(launch),
    ]


def _gunicorn_gthread(launch: Launch) -> list[str]:
    threads = str(launch.threads)
    return [*_gunicorn(launch), "--worker-class", "gthread", "--threads", threads, launch.app]


def _gunicorn_asgi(launch: Launch) -> list[str]:
    return [*_gunicorn(launch), "--worker-class", "asgi", "--asgi-loop", "uvloop", launch.app]


def _granian(launch: Launch) -> list[str]:
    blocking = ("--blocking-threads", str(launch.threads)) if launch.interface == "wsgi" else ()
    # Its bound on open connections goes by this name.
    most = launch.worker_connections
    backpressure = () if most is None else ("--backpressure", str(most))
    return [
        *(launch.python, "-m", "granian", "--interface", launch.interface),
        *("--host", "127.0.0.1", "--port", str(launch.port), "--workers", "1"),
        *("--http", "1", "--ws" if launch.has_websockets else "--no-ws"),
        *("--no-access-log", "--log-level", "warning"),
        *blocking,
        *backpressure,
        launch.app,
    ]


def _uwsgi(launch: Launch) -> list[str]:
    return [
        str(Path(launch.python).parent / "uwsgi"),
        *("--http11-socket", launch.bind, "--module", launch.app, "--need-app"),
        *("--processes", "1", "--threads", str(launch.threads), "--listen", "1024"),
        *("--disable-logging", "--die-on-term", "--home", str(Path(launch.python).parent.parent)),
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
        *(launch.python, "-m", "hypercorn", "--bind", launch.bind, "--workers", "1"),
        *("--worker-class", "uvloop", "--keep-alive", KEEP_ALIVE, "--log-level", "warning"),
        f"{launch.interface}:{launch.app}",
    ]


WSGI: Final = frozenset({"wsgi"})
ASGI: Final = frozenset({"asgi"})

SERVERS: Final = {
    ASGIBRIDGE: Server(distribution="asgibridge", interfaces=WSGI | ASGI, command=_asgibridge),
    "granian": Server(distribution="granian", interfaces=WSGI | ASGI, command=_granian),
    "gunicorn-gthread": Server(distribution="gunicorn", interfaces=WSGI, command=_gunicorn_gthread),
    "gunicorn-asgi": Server(distribution="gunicorn", interfaces=ASGI, command=_gunicorn_asgi),
    "uvicorn": Server(distribution="uvicorn", interfaces=ASGI, command=_uvicorn),
    "uvicorn-a2wsgi": Server(distribution="a2wsgi", interfaces=WSGI, command=_uvicorn_a2wsgi),
    "uwsgi": Server(
        distribution="pyuwsgi",
        interfaces=WSGI,
        command=_uwsgi,
        notes={
            "wsgi": "a thread stays with its kept-alive connection: as many connections as threads "
            "are served, the others wait unanswered and do not show in the latencies"
        },
    ),
    "waitress": Server(
        distribution="waitress",
        interfaces=WSGI,
        command=_waitress,
        notes={"wsgi": "it logs a warning for a request that waits in its queue, as by default"},
    ),
    "hypercorn": Server(
        distribution="hypercorn",
        interfaces=WSGI | ASGI,
        command=_hypercorn,
        notes={"wsgi": "the application runs in asyncio's default executor, of a fixed size"},
    ),
}

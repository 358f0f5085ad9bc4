"""Every setting of the server, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from asgibridge.config.groups import (
    APPLICATION,
    LIMITS,
    LISTENING,
    LOGGING,
    PROCESS,
    RELOADING,
    TIMEOUTS,
    TLS,
    WEBSOCKET,
    WORKERS,
)
from asgibridge.config.kinds import (
    application,
    choice,
    integer,
    names,
    octal,
    optional,
    path,
    peers,
    seconds,
    secret,
    size,
    switch,
    text,
)
from asgibridge.config.memory import memory
from asgibridge.config.option import Names, convert, option, options_of
from asgibridge.config.rules import broken_rules
from asgibridge.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgibridge.config.option import Option

__all__ = ["MAX_WORKERS", "OPTIONS", "Config", "examine"]

# Also how far SIGTTIN goes: far beyond the cores of one machine, and a bound for shared memory.
MAX_WORKERS: Final = 256

# Below this a timeout would cut what a loaded machine is still working on.
_SHORTEST: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a server, checked.

    The keyword arguments are the settings of the reference, under the same names.  Text is read
    as on the command line: `Config(max_body_size="64k", keep_alive="2m")`.

    Raises:
        SettingsError: One or more values are wrong, or do not go together.  All are listed.
    """

    app: str | Callable[..., Any] | None = option(  # noqa: RUF009 - it makes a field
        optional(application()),
        None,
        group=APPLICATION,
        names=Names(is_positional=True),
        help="The application as module:attribute, such as mysite.wsgi:application. A module "
        "alone is searched for `app`, then `application`. none: the built-in demo.",
        reason="Without an application there is still something to look at.",
    )
    interface: Literal["auto", "asgi", "wsgi"] = option(
        choice("auto", "asgi", "wsgi"),
        "auto",
        group=APPLICATION,
        help="The interface the application speaks; auto looks at how it is called. Name it "
        "when a decorator hides that.",
        reason="The signature tells for every framework in common use.",
    )
    factory: bool = option(
        switch(),
        False,  # noqa: FBT003 - the default value stands second in every declaration
        group=APPLICATION,
        help="APP is a function that returns the application: call it first, without arguments.",
    )
    app_dir: str = option(
        path("DIR", completes="directory"),
        ".",
        group=APPLICATION,
        help="Look for the application's module in this directory first.",
        reason="The current directory, as with `python -m`.",
    )
    root_path: str = option(
        text("PATH", expects="a path that begins with / and does not end with it", empty=True),
        "",
        group=APPLICATION,
        help="The path under which a proxy in front publishes the application, such as /shop. "
        "The application sees it as root_path (ASGI) or SCRIPT_NAME (WSGI).",
        reason="Most applications are published at the root.",
    )
    lifespan: Literal["auto", "on", "off"] = option(
        choice("auto", "on", "off"),
        "auto",
        group=APPLICATION,
        help="ASGI start-up and shutdown events. auto: send them, and go on without when the "
        "application does not know them; on: a start without them fails; off: never.",
        reason="Both kinds of application start, and a failing start-up is never hidden.",
    )
    env_file: str | None = option(
        optional(path()),
        None,
        group=APPLICATION,
        help="A file of NAME=VALUE lines to put into the environment before the application is "
        "imported. Variables that are set already win.",
        reason="No file is read that nobody asked for.",
    )

    bind: tuple[str, ...] = option(
        names(
            "ADDRESS",
            expects="addresses such as 127.0.0.1:8000, [::1]:8000, unix:/run/app.sock or fd://3",
        ),
        (),
        group=LISTENING,
        names=Names(short="-b"),
        help="Listen at HOST:PORT, [IPV6]:PORT, unix:/PATH or fd://N. Repeat it for several "
        "addresses. Takes the place of host and port.",
        reason="Nothing: host and port say where to listen.",
    )
    host: str = option(
        text("HOST", expects="a host name or an IP address"),
        "127.0.0.1",
        group=LISTENING,
        help="Listen at this name or IP address. 0.0.0.0 is every IPv4 address of the machine, "
        ":: every IPv6 one too.",
        reason="Only this machine can reach it until you say otherwise. When the variable PORT "
        "decides the port, a platform routes to it from outside, and the default is 0.0.0.0.",
    )
    port: int = option(
        integer(0, 65535, metavar="PORT"),
        8000,
        group=LISTENING,
        names=Names(short="-p", environment="PORT"),
        help="Listen at this port; 0 lets the system choose a free one, which the log names.",
        reason="The port that users of other Python servers expect.",
    )
    uds: str | None = option(
        optional(path("PATH")),
        None,
        group=LISTENING,
        help="Listen at a Unix socket with this path instead of host and port.",
    )
    uds_mode: int | None = option(
        optional(octal(0o777)),
        None,
        group=LISTENING,
        help="Permissions of Unix sockets, in octal. A client needs write permission: 660 lets "
        "the group in, 666 everybody. none: the umask decides.",
        reason="The umask is where the administrator has said it already.",
    )
    fd: int | None = option(
        optional(integer(0, metavar="FD")),
        None,
        group=LISTENING,
        help="Serve a listening socket that the parent process passes as this file descriptor.",
    )
    backlog: int = option(
        integer(1, 65535),
        2048,
        group=LISTENING,
        help="How many clients may wait in the kernel for a listener. The kernel lowers it to "
        "its own limit (net.core.somaxconn).",
        reason="Waiting clients belong in the kernel, where they cost next to nothing; 2048 is "
        "also what gunicorn and uvicorn ask for.",
    )

    proxy_headers: bool = option(
        switch(),
        True,  # noqa: FBT003 - the default value stands second in every declaration
        group=LISTENING,
        help="Believe trusted proxies about the client's address and scheme: X-Forwarded-For and "
        "X-Forwarded-Proto, or where neither is there, Forwarded.",
        reason="Only what forwarded_allow_ips names is believed, by default a proxy on this "
        "machine; uvicorn has the same.",
    )
    forwarded_allow_ips: tuple[str, ...] = option(
        peers(),
        ("127.0.0.1", "::1"),
        group=LISTENING,
        names=Names(environment="FORWARDED_ALLOW_IPS"),
        help="Addresses and networks (10.0.0.0/8) of the proxies to be believed; * is everybody. "
        "A proxy on a Unix socket always is. The variable ASGIBRIDGE_FORWARDED_ALLOW_IPS is the "
        "stronger one.",
        reason="Who can connect from this machine can already do more than forge an address.",
    )

    ssl_certfile: str | None = option(
        optional(path()),
        None,
        group=TLS,
        help="Speak https, on all listeners, with the certificate in this PEM file: the server's "
        "own first, then those that lead to its authority.",
        reason="Most servers stand behind a proxy that speaks https for them.",
    )
    ssl_keyfile: str | None = option(
        optional(path()),
        None,
        group=TLS,
        help="The PEM file with the certificate's private key. none: it is in ssl_certfile.",
    )
    ssl_keyfile_password: str | None = option(
        optional(secret(expects="the password of the key")),
        None,
        group=TLS,
        help="The password of the key, if it is encrypted. Better a variable or a file than a "
        "flag, which other users of the machine can see.",
    )
    ssl_ca_certs: str | None = option(
        optional(path()),
        None,
        group=TLS,
        help="A PEM file with the certificates of the authorities that sign your clients' "
        "certificates. Needed with ssl_cert_reqs.",
    )
    ssl_cert_reqs: Literal["none", "optional", "required"] = option(
        choice("none", "optional", "required", metavar="WHICH"),
        "none",
        group=TLS,
        help="Whether clients show a certificate: none are asked, optional: those that show one "
        "must show a good one, required: all must.",
        reason="Browsers have none.",
    )
    ssl_ciphers: str | None = option(
        optional(text("CIPHERS", expects="names of ciphers as `openssl ciphers` takes them")),
        None,
        group=TLS,
        help="The ciphers of TLS 1.2, in OpenSSL's notation. Those of TLS 1.3 are all good. none: "
        "OpenSSL's own choice.",
        reason="OpenSSL's choice is kept up to date with the system.",
    )

    loop: Literal["auto", "uvloop", "asyncio"] = option(
        choice("auto", "uvloop", "asyncio"),
        "auto",
        group=PROCESS,
        help="The event loop; auto takes uvloop where it is installed.",
        reason="uvloop is faster, and not everywhere.",
    )

    workers: int = option(
        integer(1, MAX_WORKERS),
        1,
        group=WORKERS,
        names=Names(short="-w", environment="WEB_CONCURRENCY"),
        help="Serving processes that share the listeners. A supervisor starts them, watches them "
        "and replaces them. 1: this process serves itself, unless something below asks for "
        "replacements.",
        reason="Containers are scaled by their platform; on a machine of your own take one for "
        "each CPU.",
    )
    preload: bool = option(
        switch(),
        False,  # noqa: FBT003 - the default value stands second in every declaration
        group=WORKERS,
        help="Import the application once, before the workers are forked, so that they share its "
        "memory. It must start no threads on import, and SIGHUP does not reload its code.",
        reason="Not every application bears to be forked: connections opened on import would be "
        "shared.",
    )
    max_requests: int | None = option(
        optional(integer(1)),
        None,
        group=WORKERS,
        help="Replace a worker when it has answered this many requests. none: never.",
        reason="A remedy for leaks; without one it only costs start-ups.",
    )
    max_requests_jitter: int | None = option(
        optional(integer(0), "auto"),
        None,
        group=WORKERS,
        help="Up to this many requests more, by chance, so that workers do not come of age "
        "together. auto: a tenth of max_requests.",
        reason="A tenth spreads them, and hardly changes what was asked for.",
    )
    max_rss: str | None = option(
        optional(memory()),
        None,
        group=WORKERS,
        help="Replace a worker whose resident memory is above this: MiB, a size, or a share of "
        "the memory limit of the container (of the machine, without one). none: never.",
        reason="Only you know what your application needs.",
    )
    max_uss: str | None = option(
        optional(memory()),
        None,
        group=WORKERS,
        help="The same for memory that the worker shares with nobody; the better measure with "
        "preload. none: never.",
        reason="Reading it costs milliseconds for large processes, so nobody pays unasked.",
    )
    max_lifetime: float | None = option(
        optional(seconds(1)),
        None,
        group=WORKERS,
        help="Replace a worker that has served for this long, give or take a tenth. none: never.",
        reason="A process that works need not be restarted.",
    )
    min_lifetime: float = option(
        seconds(0),
        10.0,
        group=WORKERS,
        help="Let a worker serve for at least this long before one of the limits above replaces "
        "it.",
        reason="A limit that is set too low then costs a start-up every ten seconds, not a storm "
        "of them.",
    )
    worker_timeout: float | None = option(
        optional(seconds(1)),
        None,
        group=WORKERS,
        help="Replace a worker whose event loop has not turned for this long. After 5 seconds the "
        "log shows in any case where it is stuck. none: never.",
        reason="A loop that is blocked for a while is a fault to be mended, not to be killed for.",
    )

    reload: bool = option(
        switch(),
        False,  # noqa: FBT003 - the default value stands second in every declaration
        group=RELOADING,
        help="Restart the worker when code changes. Requests wait meanwhile, and are answered by "
        "the new code. Needs `pip install 'asgibridge[reload]'`.",
        reason="For development only: every change ends what is in flight.",
    )
    reload_dir: tuple[str, ...] = option(
        names("DIR", expects="directories"),
        (),
        group=RELOADING,
        help="Watch this directory and all below it; repeat it for several. Default: app_dir.",
        reason="The application's own directory is what its author edits.",
    )
    reload_include: tuple[str, ...] = option(
        names("PATTERN", expects="patterns such as '*.py' or 'templates/*.html'"),
        ("*.py",),
        group=RELOADING,
        help="Watch the files that match; repeat it for several.",
        reason="Python code; templates are mostly reloaded by their frameworks.",
    )
    reload_exclude: tuple[str, ...] = option(
        names("PATTERN", expects="patterns such as 'build/*'"),
        (),
        group=RELOADING,
        help="Do not watch the files or directories that match; repeat it for several. Hidden "
        "ones, caches, node_modules and virtual environments never are watched.",
    )

    worker_connections: int = option(
        integer(1),
        1000,
        group=LIMITS,
        help="Client connections open at once, idle ones included. Beyond it clients wait in "
        "the kernel; none is refused. Each takes a file descriptor.",
        reason="Fits under the usual limit of 1024 file descriptors; gunicorn has the same.",
    )
    max_in_flight: int | None = option(
        optional(integer(1), "auto"),
        None,
        group=LIMITS,
        help="Connections that need the application now; beyond it no more are accepted, so that "
        "another process can take them. auto: the number of threads for WSGI, no limit for ASGI.",
        reason="A WSGI request that finds no free thread waits better where another process can "
        "reach it; how much an ASGI application can juggle only its author knows.",
    )
    threads: int | None = option(
        optional(integer(1, 10_000), "auto"),
        None,
        group=LIMITS,
        help="WSGI requests answered at once, mounted ones included, each in its own thread. More "
        "if the application mostly waits (database, network). auto: 4 for each CPU, at most 32.",
        reason="Enough to keep a CPU busy while most threads wait; a container's CPU limit counts.",
    )
    max_head_size: int = option(
        size(128),
        64 * 1024,
        group=LIMITS,
        help="Size of a request line with all headers. Larger ones are answered 431.",
        reason="Room for long cookies and tokens, and a bound on what a stranger can make the "
        "server keep.",
    )
    max_headers: int = option(
        integer(1),
        100,
        group=LIMITS,
        help="Headers in one request. More are answered 431.",
        reason="Browsers send 10 to 20, proxies add a few; gunicorn and Apache stop at 100 too.",
    )
    max_header_size: int | None = option(
        optional(size(128)),
        None,
        group=LIMITS,
        help="Size of one header, name and value. Larger ones are answered 431. none: only "
        "max_head_size bounds it.",
        reason="One bound on the whole is enough to protect the server.",
    )
    max_target_size: int = option(
        size(16),
        16 * 1024,
        group=LIMITS,
        help="Size of the path with its query. Longer ones are answered 414.",
        reason="Twice what common proxies let through.",
    )
    max_body_size: int | None = option(
        optional(size(0)),
        2**30,
        group=LIMITS,
        help="Size of a request body. Larger ones are answered 413. none: unlimited.",
        reason="Large enough for uploads, small enough that one client cannot fill a disk.",
    )
    max_body_memory: int = option(
        size(0),
        2**20,
        group=LIMITS,
        help="A WSGI request body up to this size is kept in memory; a larger one goes to a "
        "temporary file until a thread is free.",
        reason="Forms and JSON stay in memory, uploads do not.",
    )
    parking_delay: float = option(
        seconds(0),
        0.1,
        group=LIMITS,
        help="A connection that has sent nothing for this long no longer counts as in flight, "
        "until its request is complete.",
        reason="Longer than a request needs to follow its connection, shorter than anybody "
        "notices.",
    )

    header_timeout: float = option(
        seconds(_SHORTEST),
        30.0,
        group=TIMEOUTS,
        help="From the first byte of a request to the end of its headers; also how long a new "
        "connection may stay silent.",
        reason="Slow phones need seconds; only an attack needs more than half a minute.",
    )
    body_timeout: float = option(
        seconds(_SHORTEST),
        30.0,
        group=TIMEOUTS,
        help="Silence while a request body is arriving.",
        reason="Any upload that still moves may take as long as it needs.",
    )
    write_timeout: float = option(
        seconds(_SHORTEST),
        60.0,
        group=TIMEOUTS,
        help="No progress while the client should read its response.",
        reason="A paused download is taken up again within a minute, or not at all.",
    )
    keep_alive: float = option(
        seconds(0),
        75.0,
        group=TIMEOUTS,
        help="How long an idle connection stays open for the next request. Keep it above the "
        "idle timeout of the proxy in front. 0: every response closes its connection.",
        reason="Above the 60 seconds of common load balancers: who closes first must not be us, "
        "or requests get lost on the way.",
    )
    request_timeout: float | None = option(
        optional(seconds(_SHORTEST)),
        None,
        group=TIMEOUTS,
        help="How long the application may take. Then the client gets 504 and the log shows where "
        "the request was. none: no limit.",
        reason="Only you know what your slowest report needs.",
    )
    queue_timeout: float | None = option(
        optional(seconds(_SHORTEST)),
        None,
        group=TIMEOUTS,
        help="How long a WSGI request may wait for a free thread before it is answered 503 with "
        "Retry-After. none: no limit.",
        reason="A request whose client has left is dropped anyway; refusing the others is a "
        "decision for you to make.",
    )
    startup_timeout: float = option(
        seconds(_SHORTEST),
        60.0,
        group=TIMEOUTS,
        help="For importing the application and its ASGI start-up.",
        reason="Large applications import for ten seconds on a busy machine.",
    )
    graceful_timeout: float = option(
        seconds(0),
        25.0,
        group=TIMEOUTS,
        help="From the stop signal to the exit, whatever the application does. Keep it below the "
        "time your platform waits before it kills.",
        reason="Below the 30 seconds that Kubernetes waits.",
    )
    shutdown_delay: float = option(
        seconds(0),
        0.0,
        group=TIMEOUTS,
        help="Go on serving for this long after the stop signal, so that load balancers notice. "
        "Part of graceful_timeout.",
        reason="Only needed where traffic is routed by a system that learns late.",
    )

    ws_max_size: int = option(
        size(1),
        16 * 2**20,
        group=WEBSOCKET,
        help="Size of one message, decompressed. A larger one closes the WebSocket with 1009.",
        reason="What uvicorn and hypercorn let through.",
    )
    ws_max_queue: int = option(
        integer(1),
        32,
        group=WEBSOCKET,
        help="Messages that wait for the application; at more, or at 64k of them, the client has "
        "to wait.",
        reason="Enough to keep the application busy while the next bytes are on their way.",
    )
    ws_ping_interval: float | None = option(
        optional(seconds(_SHORTEST)),
        20.0,
        group=WEBSOCKET,
        help="Time between two pings to a client. none: no pings.",
        reason="Well below the 60 seconds after which common proxies close a silent connection.",
    )
    ws_ping_timeout: float | None = option(
        optional(seconds(_SHORTEST)),
        20.0,
        group=WEBSOCKET,
        help="Silence behind a ping after which the client counts as gone. none: it never does.",
        reason="Phones change networks within seconds.",
    )
    ws_handshake_timeout: float | None = option(
        optional(seconds(_SHORTEST)),
        30.0,
        group=WEBSOCKET,
        help="How long the application may take to accept or refuse a WebSocket. Then the client "
        "gets 504. none: no limit.",
        reason="Long enough to ask a database who that is; the client waits and sees nothing.",
    )
    ws_deflate: bool = option(
        switch(),
        True,  # noqa: FBT003 - the default value stands second in every declaration
        group=WEBSOCKET,
        help="Compress messages for clients that offer it. It takes 43k to 71k of memory for each "
        "WebSocket that has carried messages both ways.",
        reason="Browsers offer it, and the messages of most applications are text.",
    )

    log_level: Literal["debug", "info", "warning", "error", "critical"] = option(
        choice("debug", "info", "warning", "error", "critical", metavar="LEVEL"),
        "info",
        group=LOGGING,
        help="The least important messages to log: debug, info, warning, error or critical.",
        reason="A handful of lines at start and stop, and one for each trouble.",
    )
    log_format: Literal["text", "json"] = option(
        choice("text", "json"),
        "text",
        group=LOGGING,
        help="Lines for people (coloured on a terminal) or one JSON object a line for machines.",
        reason="The first reader is a person.",
    )
    log_config: str | None = option(
        optional(path()),
        None,
        group=LOGGING,
        help="A JSON or TOML file for logging.config.dictConfig, in place of the built-in logging.",
    )
    access_log: bool = option(
        switch(),
        False,  # noqa: FBT003 - the default value stands second in every declaration
        group=LOGGING,
        help="Log every request.",
        reason="The proxy in front usually does, and it costs a part of every request.",
    )
    access_log_format: str = option(
        text("FORMAT", expects="combined, common, json or a format string such as '%(h)s %(r)s'"),
        "combined",
        group=LOGGING,
        help="combined, common, json, or a format string with gunicorn's atoms such as "
        "'%(h)s %(r)s %(s)s %(L)s'.",
        reason="The format that log tools know best.",
    )
    server_header: bool = option(
        switch(),
        True,  # noqa: FBT003 - the default value stands second in every declaration
        group=LOGGING,
        help="Name the server in every response (`Server: asgibridge`).",
        reason="It helps to tell who answered, and gives no version away.",
    )

    def __post_init__(self) -> None:
        """Check every value and replace text by what it means."""
        given = {name: getattr(self, name) for name in OPTIONS}
        clean, mistakes = examine(given, place=str)
        if mistakes:
            raise SettingsError(mistakes)
        for name, value in clean.items():
            object.__setattr__(self, name, value)

    @property
    def is_supervised(self) -> bool:
        """Whether a supervisor is wanted: for several workers, or to replace the only one."""
        recycling = (self.max_requests, self.max_rss, self.max_uss, self.max_lifetime)
        return (
            self.workers > 1
            or self.preload
            or self.reload
            or any(limit is not None for limit in (*recycling, self.worker_timeout))
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where to listen, in the notation of `bind`, whichever settings said so."""
        if self.bind:
            return self.bind
        if self.uds is not None:
            return (f"unix:{self.uds}",)
        if self.fd is not None:
            return (f"fd://{self.fd}",)
        host = f"[{self.host}]" if ":" in self.host and self.host[0] != "[" else self.host
        return (f"{host}:{self.port}",)


OPTIONS: Final[Mapping[str, Option]] = options_of(Config)
"""All settings, by name, in the order of help and reference."""


def examine(
    values: Mapping[str, object], place: Callable[[str], str]
) -> tuple[dict[str, Any], list[str]]:
    """Check *values* one by one, then what they say together.

    Args:
        values: Settings by name; those that are missing have their defaults.
        place: Says where the value of a name was given.

    Returns:
        All settings that are right, and one line for each mistake.
    """
    clean, mistakes = convert(OPTIONS, values, place)
    for name, declared in OPTIONS.items():
        if name not in values:
            clean[name] = declared.default
    return clean, [*mistakes, *broken_rules(clean, place)]

"""A real gunicorn with our worker class: what its users have set up is honoured."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.answers import REQUEST, AnswerCut, read_answer
from support.commands import environment
from support.gunicorns import (
    dial,
    gunicorn_command,
    port_of,
    running_gunicorn,
    worker_pids,
)
from support.tls import issue
from support.waiting import until
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

if TYPE_CHECKING:
    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"

apps = pytest.mark.parametrize("app", ["stopping_wsgi:app", "stopping_asgi:app"])


def ask(command: RunningCommand, request: bytes) -> bytes:
    """Send *request* and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port_of(command)), timeout=20) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer


def get(path: str = "/", *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


def waiting_in_kernel(port: int) -> int:
    """How many clients of the listener nobody has accepted: `rx_queue` in /proc/net/tcp."""
    listening = f":{port:04X} 00000000:0000 0A "
    for line in Path("/proc/net/tcp").read_text().splitlines():
        if listening in line:
            return int(line.split()[4].split(":")[1], 16)
    raise AssertionError("nobody listens there")


def failing_start(*args: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Start gunicorn where it cannot; answer its exit code and its log."""
    done = subprocess.run(
        gunicorn_command("--bind", "127.0.0.1:0", *args),
        cwd=APPS,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


# --- limits


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's queue from /proc")
@pytest.mark.parametrize(
    ("app", "limit", "path"),
    [
        ("stopping_wsgi:app", ("--threads", "3"), b"slow?30"),
        ("stopping_wsgi:app", ("--worker-connections", "3", "--threads", "9"), b"slow?30"),
        ("stopping_asgi:app", ("--worker-connections", "3"), b"waits"),
    ],
    ids=["threads", "worker_connections of WSGI", "worker_connections of ASGI"],
)
async def test_exactly_the_cap_is_served_and_the_others_wait_in_the_kernel(
    app: str, limit: tuple[str, ...], path: bytes
) -> None:
    """[GATE-1] [GATE-2]."""
    with (
        running_gunicorn("--graceful-timeout", "0", *limit, app, cwd=APPS) as command,
        ExitStack() as stack,
    ):
        callers = [dial(command, stack) for _ in range(6)]
        for each in callers:
            each.sendall(REQUEST % path)
        text = f"in /{path.decode().partition('?')[0]}"
        command.wait_for_lines(text, 3)
        await until(lambda: waiting_in_kernel(port_of(command)) == 3)
        assert len([line for line in command.log_lines if text in line]) == 3


@apps
def test_requests_beyond_its_limits_are_refused(app: str) -> None:
    with running_gunicorn(
        *("--limit-request-line", "200", "--limit-request-fields", "5"),
        *("--limit-request-field_size", "150", app),
        cwd=APPS,
    ) as command:
        longest = "/" + "a" * (200 - len("GET / HTTP/1.1"))
        fields = [f"X-{number}: y" for number in range(3)]  # beside Host and Connection
        largest = "X-A: " + "a" * (150 - len("X-A: \r\n"))
        statuses = [
            ask(command, request)[9:12]
            for request in (
                get(longest),
                get(longest + "a"),
                get("/", *fields),
                get("/", *fields, "X: y"),
                get("/", largest),
                get("/", largest + "a"),
            )
        ]
    assert statuses == [b"200", b"414", b"200", b"431", b"200", b"431"]


@apps
def test_keepalive_0_closes_after_each_response(app: str) -> None:
    with (
        running_gunicorn("--keep-alive", "0", app, cwd=APPS) as command,
        ExitStack() as stack,
    ):
        sock = dial(command, stack)
        sock.sendall(REQUEST % b"")
        assert b"connection: close" in read_answer(sock)
        assert sock.recv(1) == b""


@apps
def test_an_idle_connection_is_closed_after_keepalive(app: str) -> None:
    with (
        running_gunicorn("--keep-alive", "1", app, cwd=APPS) as command,
        ExitStack() as stack,
    ):
        sock = dial(command, stack)
        sock.sendall(REQUEST % b"")
        assert b"connection: close" not in read_answer(sock)
        sock.settimeout(5)
        assert sock.recv(1) == b""


@apps
def test_a_unix_socket_is_served(app: str, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with (
        running_gunicorn("--bind", f"unix:{path}", app, cwd=APPS, workers=2),
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(REQUEST % b"")
        assert read_answer(sock).startswith(b"http/1.1 200")


def test_the_rest_of_the_settings_comes_from_our_variables() -> None:
    with running_gunicorn(
        "--env", "ASGIBRIDGE_REQUEST_TIMEOUT=300ms", "stopping_wsgi:app", cwd=APPS
    ) as command:
        assert ask(command, get("/slow?5")).startswith(b"HTTP/1.1 504")


@pytest.mark.parametrize(("trusted", "scheme"), [("127.0.0.1", "https"), ("10.0.0.1", "http")])
def test_a_proxy_is_believed_if_it_is_trusted(trusted: str, scheme: str) -> None:
    with running_gunicorn(
        "--forwarded-allow-ips", trusted, "wsgi_cases:environ_dump", cwd=APPS
    ) as command:
        answer = ask(command, get("/", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.7"))
    assert f'"wsgi.url_scheme": "{scheme}"'.encode() in answer
    assert (b"192.0.2.7" in answer.split(b"REMOTE_ADDR")[1][:20]) == (scheme == "https")


def test_a_mount_point_is_known_to_the_application() -> None:
    with running_gunicorn(
        "wsgi_cases:environ_dump", cwd=APPS, env={"SCRIPT_NAME": "/shop"}
    ) as command:
        assert b"/shop" in ask(command, get("/shop/environ"))


def test_websockets_are_served_within_their_limit() -> None:
    """Also without keep-alive, which is about requests."""
    with running_gunicorn(
        *("--keep-alive", "0", "--websocket-max-message-size", "1000"),
        "apps.websocket_cases:echo",
        cwd=APPS.parent,
    ) as command:
        url = f"ws://127.0.0.1:{port_of(command)}/"
        with connect(url) as client:
            client.send("x" * 1000)
            assert client.recv(timeout=20) == "x" * 1000
            client.send("x" * 1001)
            with pytest.raises(ConnectionClosedError) as closed:
                client.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


# --- TLS


def ask_securely(command: RunningCommand, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port_of(command)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(REQUEST % b"")
        return read_answer(sock)


@apps
def test_certificate_files_are_honoured(app: str) -> None:
    papers = issue()
    with running_gunicorn(
        "--certfile", papers.cert, "--keyfile", papers.key, app, cwd=APPS, workers=2
    ) as command:
        assert ask_securely(command, papers.trust()).startswith(b"http/1.1 200")


def test_client_certificates_are_required_if_so_set() -> None:
    papers = issue()
    with running_gunicorn(
        *("--certfile", papers.cert, "--keyfile", papers.key, "--ca-certs", papers.authority),
        *("--cert-reqs", "2", "--ciphers", "ECDHE+AESGCM", "stopping_asgi:app"),
        cwd=APPS,
    ) as command:
        assert ask_securely(command, papers.trust(shows_client=True)).startswith(b"http/1.1 200")
        with pytest.raises((ssl.SSLError, ConnectionError, AnswerCut)):
            ask_securely(command, papers.trust())


# --- what cannot be


@pytest.mark.parametrize(
    ("args", "env", "text", "code"),
    [
        pytest.param(
            ("--access-logfile", "-", "--access-logformat", "%(z)s", "stopping_asgi:app"),
            {},
            "unknown atom %(z)s",
            1,
            id="an unknown atom",
        ),
        pytest.param(
            ("stopping_asgi:app",),
            {"ASGIBRIDGE_THREADS": "4"},
            "environment ASGIBRIDGE_THREADS: gunicorn decides this; use its threads instead",
            1,
            id="a variable for what gunicorn decides",
        ),
        pytest.param(
            ("--protocol", "uwsgi", "stopping_asgi:app"),
            {},
            "gunicorn's protocol='uwsgi': asgibridge speaks HTTP only",
            1,
            id="another protocol",
        ),
        pytest.param(
            ("--keyfile", __file__, "stopping_asgi:app"),
            {},
            "gunicorn's keyfile: there is no certificate to go with it",
            1,
            id="a key without a certificate",
        ),
        pytest.param(
            ("stopping_asgi:say",),
            {},
            "an application is called with",
            4,
            id="what is no application",
        ),
        pytest.param(("failing_startup:app",), {}, "no database", 3, id="a failing start-up"),
    ],
)
def test_what_cannot_be_served_stops_gunicorn_with_the_reason(
    args: tuple[str, ...], env: dict[str, str], text: str, code: int
) -> None:
    exit_code, log = failing_start(*args, env=env)
    assert exit_code == code
    assert text in log
    assert "Traceback" not in log


def test_settings_without_meaning_are_told_of_once() -> None:
    with running_gunicorn(
        *("--permit-obsolete-folding", "--http-parser", "python"),
        *("--threads", "2", "stopping_asgi:app"),
        cwd=APPS,
        workers=2,
    ) as command:
        told = [line for line in command.log_lines if "has no effect" in line]
    assert len(told) == 3
    assert "permit_obsolete_folding has no effect with asgibridge: folded headers" in told[0]
    assert "http_parser" in told[1]
    assert "threads" in told[2]


def test_defaults_are_not_told_of() -> None:
    with running_gunicorn("stopping_asgi:app", cwd=APPS) as command:
        pass
    assert "WARNING" not in "\n".join(command.log_lines)


def test_without_gunicorn_the_module_says_what_to_install() -> None:
    code = "import sys; sys.modules['gunicorn'] = None; import asgibridge.gunicorn"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "run `pip install gunicorn`, or serve without it: `asgibridge serve`" in done.stderr


# --- logs


@apps
def test_access_lines_are_gunicorns(app: str) -> None:
    form = '%(h)s "%(r)s" %(s)s %(b)s %({x-colour}i)s %({content-length}o)s %(p)s'
    with running_gunicorn(
        "--access-logfile", "-", "--access-logformat", form, app, cwd=APPS
    ) as command:
        ask(command, get("/?a=b", "X-Colour: red"))
        line = command.wait_for_output("GET /?a=b")
        pid = worker_pids(command)[0]
    assert line == f'127.0.0.1 "GET /?a=b HTTP/1.1" 200 5 red 5 <{pid}>'


async def test_log_files_are_reopened_on_usr1(tmp_path: Path) -> None:
    access, errors = tmp_path / "access.log", tmp_path / "error.log"
    (tmp_path / "conf.py").write_text(
        f"accesslog = {str(access)!r}\nerrorlog = {str(errors)!r}\ncontrol_socket_disable = True\n"
        f"import pathlib, sys\n"
        f"def post_worker_init(worker): sys.stderr.write(f'ready pid={{worker.pid}} \\n')\n"
    )
    with running_gunicorn(
        *("-c", str(tmp_path / "conf.py"), "--bind", f"unix:{tmp_path}/s", "stopping_asgi:app"),
        cwd=APPS,
    ) as command:
        for number in (1, 2):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(20)
                sock.connect(f"{tmp_path}/s")
                sock.sendall(REQUEST % b"%d" % number)
                read_answer(sock)
            line = f"GET /{number} "
            await until(lambda: line in access.read_text())  # noqa: B023 - called at once
            if number == 1:
                access.rename(tmp_path / "access.1")
                errors.rename(tmp_path / "error.1")
                command.signal(signal.SIGUSR1)
                await until(access.exists)
    assert "GET /1 " not in access.read_text()


@apps
def test_a_logger_class_of_ones_own_decides(app: str) -> None:
    with running_gunicorn(
        *("--logger-class", "gunicorn_logger.QuietLogger", "--access-logfile", "-", app), cwd=APPS
    ) as command:
        ask(command, get("/health"))
        ask(command, get("/page?x=1", "User-Agent: test"))
        line = command.wait_for_output("/page")
    assert '"GET /page?x=1 HTTP/1.1" 200 5 "-" "test"' in line
    assert "/health" not in "\n".join(command.output_lines)


def test_statsd_hears_of_every_request() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(10)
        host = f"127.0.0.1:{statsd.getsockname()[1]}"
        with running_gunicorn("--statsd-host", host, "stopping_asgi:app", cwd=APPS) as command:
            ask(command, get())
            heard = set()
            while "gunicorn.request.status.200:1|c|@1.0" not in heard:
                heard.add(statsd.recv(1024).decode())
    assert "gunicorn.requests:1|c|@1.0" in heard


@apps
def test_our_records_reach_the_error_log_from_its_level_on(app: str) -> None:
    with running_gunicorn("--log-level", "debug", app, cwd=APPS) as command:
        ask(command, b"GET / HTTP/1.1\r\n\r\n")
        line = command.wait_for_log("refused status=400")
    assert "] [DEBUG] refused status=400" in line


# --- hooks


@apps
def test_hooks_are_called(app: str) -> None:
    with running_gunicorn("-c", "gunicorn_hooks.py", app, cwd=APPS) as command:
        ask(command, get("/a%20b?c=d", "X-Colour: red"))
        command.wait_for_log("hook post_request")
        refused = ask(command, get("/refused"))
        command.wait_for_lines("hook post_request", 2)
        pid = worker_pids(command)[0]
        command.signal(signal.SIGTERM)
        assert command.wait(20) == 0
    kind, status = ("environ", "200 OK") if "wsgi" in app else ("scope", "200")
    said = [line for line in command.log_lines if line.startswith("hook ")]
    assert said == [
        "hook post_worker_init False",
        f"hook pre_request {pid} GET /a%20b?c=d /a b c=d red",
        f"hook post_request {pid} GET /a%20b?c=d {kind} {status} 5",
        f"hook post_request {pid} GET /refused {kind}  0",
        "hook worker_exit True",
    ]
    assert refused.startswith(b"HTTP/1.1 500")


@apps
def test_the_hooks_of_a_quick_and_of_a_hard_end_are_called(app: str) -> None:
    with running_gunicorn("-c", "gunicorn_hooks.py", app, cwd=APPS) as command:
        command.signal(signal.SIGQUIT)
        assert command.wait(20) == 0
    assert "hook worker_int False" in command.log_lines
    if "asgi" in app:
        with (
            running_gunicorn("-c", "gunicorn_hooks.py", "--timeout", "1", app, cwd=APPS) as command,
            ExitStack() as stack,
        ):
            dial(command, stack).sendall(REQUEST % b"blocks")
            command.wait_for_log("hook worker_abort False", 10)
            command.wait_for_log("hook worker_exit True")


# --- development


def test_the_reloader_restarts_the_worker(tmp_path: Path) -> None:
    code = "async def app(scope, receive, send):\n    if scope['type'] != 'http': raise TypeError\n"
    code += "    await send({'type': 'http.response.start', 'status': STATUS})\n"
    code += "    await send({'type': 'http.response.body'})\n"
    (tmp_path / "changing.py").write_text(code.replace("STATUS", "200"))
    with running_gunicorn(
        "--reload", "--reload-engine", "poll", "changing:app", cwd=tmp_path
    ) as command:
        assert ask(command, get()).startswith(b"HTTP/1.1 200")
        (tmp_path / "changing.py").write_text(code.replace("STATUS", "203 "))
        command.wait_for_log("stopping reason=reload", 20)
        command.wait_for_lines("ready pid=", 2, 20)
        assert ask(command, get()).startswith(b"HTTP/1.1 203")

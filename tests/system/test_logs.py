"""What the installed command logs: start, stop, and one record for every request.

Point 12 of the foundation.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from support.commands import installed_script, running_command

if TYPE_CHECKING:
    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"
PATIENCE: Final = 20.0
COLOUR: Final = "\x1b["

loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def dial(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionError):
        while piece := sock.recv(65536):
            data += piece
    return data


# --- the general log


@loops
def test_the_start_tells_where_and_with_what(loop: str) -> None:
    with running_command(
        *("--app-dir", str(APPS), "--loop", loop, "--threads", "3"),
        *("--worker-connections", "77", "stopping_wsgi:app"),
    ) as command:
        listening, ready = command.log_lines[:2]
        assert re.search(r"INFO +listening on http://127\.0\.0\.1:[1-9][0-9]*$", listening)
        facts = dict(word.split("=", 1) for word in ready.split("INFO")[1].split()[1:])
        assert facts["pid"] == str(command.pid)
        assert facts["interface"] == "wsgi"
        assert facts["threads"] == "3"
        assert facts["worker_connections"] == "77"
        assert facts["max_in_flight"] == "3"
        assert facts["loop"] == loop
        assert facts["app"] == "stopping_wsgi:app"


@loops
def test_the_stop_tells_what_was_served_and_how_long_it_took(loop: str) -> None:
    with running_command("--app-dir", str(APPS), "--loop", loop, "stopping_wsgi:app") as command:
        for _ in range(3):
            httpx.get(command.url)
        command.signal(signal.SIGTERM)
        assert command.wait(PATIENCE) == 0
        stopping, stopped = command.log_lines[-2:]
        assert "stopping signal=SIGTERM " in stopping
        assert re.search(r"stopped requests=3 drained=[0-9.]+s cut=0$", stopped)


@pytest.mark.parametrize("app", ["stopping_wsgi", "stopping_asgi"])
def test_json_is_json_line_by_line_even_with_tracebacks_and_stacks(app: str) -> None:
    with running_command(
        *("--app-dir", str(APPS), "--log-format", "json", "--access-log"),
        *("--graceful-timeout", "1", f"{app}:app"),
    ) as command:
        address = json.loads(command.log_lines[0])["message"].removeprefix("listening on ")
        httpx.get(address + '/"quoted"\\?x=\u20ac')
        path = "/stuck" if app == "stopping_wsgi" else "/ignores"
        with dial(address) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            command.wait_for_log(f"in {path}")
            command.signal(signal.SIGTERM)
            assert command.wait(PATIENCE) == 1
        said = {f"in {path}", "cancellation ignored", "shutting down"}  # by the application itself
        records = [json.loads(line) for line in command.log_lines if line not in said]
        assert {"time", "level", "logger", "message", "pid", "thread"} <= set(records[0])
        assert [record["message"].split()[0] for record in records[:2]] == ["listening", "ready"]
        assert any(f"GET {path}" in record["message"] for record in records)
        lines = [json.loads(line) for line in command.output_lines]
        assert len(lines) == 2


# --- the access log


class Traffic:
    """One request of every kind, and what the log should say of it: status and whether cut."""

    expected: Final = (
        ("GET / HTTP/1.1", 200),
        ("HEAD / HTTP/1.1", 200),
        ("GET /missing HTTP/1.1", 404),
        ("GET /streamed HTTP/1.1", 200),
        ("GET /fails HTTP/1.1", 500),
        ("GET /cut HTTP/1.1", 200),
        ("-", 400),
        ("GET /overdue HTTP/1.1", 504),
    )

    def __init__(self, command: RunningCommand) -> None:
        with httpx.Client(base_url=command.url) as client:
            client.get("/")
            client.head("/")
            client.get("/missing")
            client.get("/streamed")
            client.get("/fails")
        for request in (
            b"GET /cut HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET /overdue HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            with dial(command.url) as sock:
                sock.sendall(request)
                read_all(sock)


SITE: Final = """
import threading

overdue = threading.Event()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise RuntimeError("raised by the application")
    if path == "/overdue":
        overdue.wait(0.6)
    status = "404 Not Found" if path == "/missing" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    if path in ("/streamed", "/cut"):
        return parts(path)
    return [b"hello"]

def parts(path):
    yield b"one "
    if path == "/cut":
        raise RuntimeError("raised in the middle")
    yield b"two"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "logged_site.py").write_text(SITE)
    return tmp_path


def access_lines(site: Path, fmt: str, loop: str) -> list[str]:
    """Run the traffic, stop right after the last answer, and return the access log."""
    with running_command(
        *("--access-log", "--access-log-format", fmt, "--loop", loop, "--threads", "4"),
        *("--request-timeout", "0.3", "logged_site:app"),
        cwd=site,
    ) as command:
        Traffic(command)
        command.signal(signal.SIGTERM)
        command.wait(PATIENCE)
        return command.output_lines


@loops
def test_combined_has_one_line_for_every_request_of_any_fate(site: Path, loop: str) -> None:
    lines = access_lines(site, "combined", loop)
    pattern = re.compile(r'^127\.0\.0\.1 - - \[[^]]+\] "([^"]*)" (\d+) (\d+|-) "-" "[^"]*"$')
    found = [pattern.match(line) for line in lines]
    assert all(found), lines
    seen = [(match[1].replace("- - HTTP/-", "-"), int(match[2])) for match in found if match]
    assert sorted(seen) == sorted(Traffic.expected)


@loops
def test_json_tells_which_were_cut(site: Path, loop: str) -> None:
    records: list[dict[str, Any]] = [json.loads(line) for line in access_lines(site, "json", loop)]
    assert len(records) == len(Traffic.expected)
    statuses = sorted(record["status"] for record in records)
    assert statuses == sorted(status for _, status in Traffic.expected)


@loops
def test_atoms_are_filled_in_for_all(site: Path, loop: str) -> None:
    lines = access_lines(site, "%(m)s|%(U)s|%(s)s|%(L)s", loop)
    found = sorted((line.split("|")[1], line.split("|")[2]) for line in lines)
    assert ("/overdue", "504") in found
    assert ("/cut", "200") in found
    assert len(found) == len(Traffic.expected)
    assert all(float(line.split("|")[3]) >= 0 for line in lines)


@loops
def test_a_request_that_the_stop_cut_has_its_record_too(loop: str) -> None:
    """Whether the loop cuts it, or the process is ended because the loop is stuck itself."""
    for app, path in (("stopping_wsgi", "/stuck"), ("stopping_asgi", "/blocks")):
        with running_command(
            *("--app-dir", str(APPS), "--loop", loop, "--access-log"),
            *("--access-log-format", "%(m)s %(U)s %(s)s", "--graceful-timeout", "0.5"),
            f"{app}:app",
        ) as command:
            assert httpx.get(command.url + "/first").status_code == 200
            with dial(command.url) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                command.wait_for_log(f"in {path}")
                command.signal(signal.SIGTERM)
                assert command.wait(PATIENCE) == 1
            assert command.output_lines == ["GET /first 200", f"GET {path} -"]


# --- colours


def run_on_a_terminal(**env: str) -> str:
    """Serve the demo with stderr on a pseudo terminal; return what it shows until `ready`."""
    ours, theirs = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "PORT"}}
    try:
        with subprocess.Popen(
            [str(installed_script()), "serve", "--port", "0"],
            stderr=theirs,
            stdin=subprocess.DEVNULL,
            env={**kept, "TERM": "xterm-256color", **env},
        ) as process:
            shown = ""
            try:
                while "loop=" not in shown:
                    shown += os.read(ours, 4096).decode()
            finally:
                process.terminate()
                process.wait(PATIENCE)
            return shown
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_gets_colours() -> None:
    shown = run_on_a_terminal()
    assert COLOUR in shown
    assert "listening on http://127.0.0.1:" in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_gets_none_if_it_says_so(env: dict[str, str]) -> None:
    assert COLOUR not in run_on_a_terminal(**env)


def test_a_pipe_gets_no_colours() -> None:
    with running_command("--app-dir", str(APPS), "stopping_wsgi:app") as command:
        assert COLOUR not in "\n".join(command.log_lines)

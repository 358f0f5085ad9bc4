"""Workers in what surrounds them: scripts, service managers, containers, shared imports, files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import psutil
import pytest
from support.commands import installed_script, running_command, running_program
from support.visitors import ask, everybody

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS: Final = Path(__file__).parent.parent / "apps"
TWO: Final = ("--app-dir", str(APPS), "--workers", "2", "--threads", "1")
# Seconds; only a test that fails waits so long.
PATIENCE: Final = 20.0


# --- preload


def test_preload_imports_once_for_all() -> None:
    with running_command(*TWO, "--preload", "workers_wsgi:app") as command:
        assert everybody(command.url, 2) == {str(pid) for pid in command.workers}
        assert ask(command.url, "/imported-by").text == str(command.pid)
        # A successor has it from there too.
        os.kill(command.workers[0], signal.SIGKILL)
        command.wait_for_lines("ready after=", 3)
        assert {ask(command.url, "/imported-by").text for _ in range(9)} == {str(command.pid)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_during_the_import_stops(number: signal.Signals, tmp_path: Path) -> None:
    """[STOP-1] The same as without workers."""
    place = tmp_path / "socket"
    with running_command(
        *(*TWO, "--preload", "--bind", f"unix:{place}", "slow_import:app"), until="importing"
    ) as command:
        command.signal(number)
        assert command.wait(PATIENCE) == 0
        message = f"stopped before the start was complete signal={number.name}"
        assert message in command.log_lines[-1]
        assert not place.exists()


def test_without_preload_each_worker_imports_for_itself() -> None:
    with running_command(*TWO, "workers_wsgi:app") as command:
        assert ask(command.url, "/imported-by").text in {str(pid) for pid in command.workers}


def test_preload_refuses_threads_that_the_import_has_started() -> None:
    """They would be missing in the workers, perhaps with locks that nobody gives back."""
    with running_command(
        *(*TWO, "--preload", "workers_wsgi:app"),
        env={"STARTS_A_THREAD": "1"},
        until="cannot be forked",
    ) as command:
        assert command.wait(PATIENCE) == 3
        message = command.log_lines[-1]
        assert "1 thread(s) (from-import) started on import of workers_wsgi:app" in message
        assert "or do without preload" in message
        assert "started" not in command.log.replace(message, "")


def test_an_import_for_all_that_fails_ends_the_server_at_once(tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    flag.write_text("raise")
    with running_command(
        *(*TWO, "--preload", "workers_wsgi:app"), env={"BROKEN": str(flag)}, until="raised"
    ) as command:
        assert command.wait(PATIENCE) == 3
        assert command.log.count("RuntimeError: broken on purpose") == 2  # traceback and message


# --- a script of one's own


SCRIPT: Final = """\
import atexit, os, sys
import asgibridge

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

def say(what):
    sys.stderr.write(f"{what} in {os.getpid()}\\n")

print("begun")
atexit.register(say, "exit handler")
code = asgibridge.run(app, port=0, workers=2, threads=1)
say(f"code={code} after run()")
"""


def test_what_follows_run_in_a_script_happens_once(tmp_path: Path) -> None:
    """Workers end where they are; neither the script's end nor its exit handlers are theirs."""
    (tmp_path / "serve.py").write_text(SCRIPT)
    with running_program([sys.executable, str(tmp_path / "serve.py")]) as command:
        workers = command.workers
        assert everybody(command.url, 2) == {str(pid) for pid in workers}
        os.kill(workers[0], signal.SIGTERM)
        command.wait_for_log("gone code=0")
        assert "exit handler" not in command.log
        command.signal(signal.SIGTERM)
        assert command.wait(PATIENCE) == 0
        told = [line for line in command.log_lines if " in " in line and "INFO" not in line]
        assert told == [
            f"code=0 after run() in {command.pid}",
            f"exit handler in {command.pid}",
        ]
        assert command.output_lines == ["begun"]


# --- Unix sockets


def test_the_file_of_a_unix_socket_is_removed_once_in_the_end(tmp_path: Path) -> None:
    """Not by the first worker that goes."""
    path = tmp_path / "site.sock"
    with running_command(*TWO, "--uds", str(path), "workers_wsgi:app") as command:
        os.kill(command.workers[0], signal.SIGTERM)
        command.wait_for_log("gone code=0")
        os.kill(command.workers[0], signal.SIGKILL)
        command.wait_for_lines("ready after=", 4)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://site/").text in {str(pid) for pid in command.workers}
        command.signal(signal.SIGTERM)
        assert command.wait(PATIENCE) == 0
        assert not path.exists()
        assert "cannot" not in command.log


# --- service managers


# As systemd does between fork and exec: the first descriptor, and for whom it is.
ACTIVATION: Final = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_workers_serve_a_socket_that_a_service_manager_has_opened() -> None:
    """Socket activation: sd_listen_fds(3).  It outlives the server, as its clients do."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        words = [sys.executable, "-c", ACTIVATION, str(number), str(installed_script()), "serve"]
        port = listening.getsockname()[1]
        with running_program([*words, *TWO, "workers_wsgi:app"], pass_fds=[number]) as command:
            assert command.url.rstrip("/") == f"http://127.0.0.1:{port}"
            assert everybody(command.url, 2) == {str(pid) for pid in command.workers}
            command.signal(signal.SIGTERM)
            assert command.wait(PATIENCE) == 0
        # Queued for the next server.
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()


class Manager:
    """The end of NOTIFY_SOCKET that a service manager holds."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def wait_for(self, name: str) -> dict[str, str]:
        """Answer the next message that has *name*."""
        while True:
            text = self._socket.recv(4096).decode()
            fields = dict(line.split("=", 1) for line in text.splitlines())
            if name in fields:
                return fields


@contextmanager
def managed(tmp_path: Path) -> Iterator[tuple[Manager, dict[str, str]]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(PATIENCE)
        # Every second or so.
        yield Manager(sock), {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"}


def test_a_service_manager_is_told_of_start_life_reload_and_stop(tmp_path: Path) -> None:
    """Type=notify-reload, by the supervisor alone: sd_notify(3)."""
    with (
        managed(tmp_path) as (manager, env),
        running_command(*TWO, "workers_wsgi:app", env=env) as command,
    ):
        ready = manager.wait_for("READY")
        assert (ready["READY"], ready["MAINPID"]) == ("1", str(command.pid))
        for _ in range(2):
            assert manager.wait_for("WATCHDOG")["WATCHDOG"] == "1"
        command.signal(signal.SIGHUP)
        reloading = manager.wait_for("RELOADING")
        assert reloading["RELOADING"] == "1"
        assert reloading["MONOTONIC_USEC"].isdecimal()
        assert manager.wait_for("READY")["READY"] == "1"
        command.signal(signal.SIGTERM)
        assert manager.wait_for("STOPPING")["STOPPING"] == "1"
        assert command.wait(PATIENCE) == 0


def test_a_service_manager_is_told_that_a_reload_has_failed(tmp_path: Path) -> None:
    """Otherwise it would wait for the end of the reload, and end the service."""
    flag = tmp_path / "broken"
    with (
        managed(tmp_path) as (manager, env),
        running_command(*TWO, "workers_wsgi:app", env={**env, "BROKEN": str(flag)}) as command,
    ):
        manager.wait_for("READY")
        flag.write_text("raise")
        command.signal(signal.SIGHUP)
        manager.wait_for("RELOADING")
        assert manager.wait_for("READY")["STATUS"] == "restart given up"


def test_a_process_without_a_supervisor_tells_the_service_manager_too(tmp_path: Path) -> None:
    with (
        managed(tmp_path) as (manager, env),
        running_command("--app-dir", str(APPS), "workers_wsgi:app", env=env) as command,
    ):
        assert manager.wait_for("READY")["MAINPID"] == str(command.pid)
        for _ in range(2):
            assert manager.wait_for("WATCHDOG")["WATCHDOG"] == "1"
        command.signal(signal.SIGTERM)
        assert manager.wait_for("STOPPING")["STOPPING"] == "1"
        assert command.wait(PATIENCE) == 0


# --- containers


UNSHARE: Final = ("unshare", "--fork", "--kill-child", "--pid", "--mount-proc")


def why_no_namespaces() -> str:
    """Say why this process cannot have one of its own; "" if it can."""
    if shutil.which("unshare") is None:
        return "unshare(1) is not installed"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def test_as_process_1_it_reaps_strangers_and_stops() -> None:
    """[PROC-5] Orphans of its workers become its children; nobody else would reap them."""
    if reason := why_no_namespaces():
        pytest.skip(reason)
    words = [*UNSHARE, str(installed_script()), "serve", "--port", "0", *TWO, "workers_wsgi:app"]
    with running_program(words) as command:
        assert " ready pid=1 workers=2" in command.wait_for_log("ready pid=")
        (server,) = psutil.Process(command.pid).children()
        for _ in range(3):
            ask(command.url, "/orphan")
        command.wait_for_lines("an orphan ends", 3)
        deadline = time.monotonic() + PATIENCE
        while len(left := server.children()) > 2:
            assert time.monotonic() < deadline, left
        assert everybody(command.url, 2) == {str(pid) for pid in command.workers}
        server.send_signal(signal.SIGTERM)
        assert command.wait(PATIENCE) == 0

"""nginx in front of a server, as people run it: its own folder, its own port, stopped with the run.

It never asks a second time (`proxy_next_upstream off`), so whatever the server loses becomes a 502
that the clients see, also when a kept upstream connection ends at the moment it is used: nginx
itself does not tell that race from lost work.  Its error log is counted by kind.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Front", "NginxError", "configuration", "in_front", "kinds_of_errors"]

READY_TIMEOUT: Final = 5.0
STOP_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.02
KEPT_CONNECTIONS: Final = 16
# What nginx writes to its error log -> what it means.
ERRORS: Final = {
    "upstream prematurely closed connection": "closed before the answer",
    "Connection reset by peer": "reset",
    "Connection refused": "refused",
    "upstream timed out": "timed out",
    "upstream prematurely closed": "cut in the answer",
}
CONFIGURATION: Final = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream server {{
    server 127.0.0.1:{upstream} max_fails=0;
{keepalive}
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
{connection}
      proxy_next_upstream off;
      proxy_read_timeout 30s;
    }}
  }}
}}
"""


class NginxError(Exception):
    """nginx is missing or did not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """nginx at work."""

    port: int
    folder: Path

    def errors(self) -> dict[str, int]:
        """Return what it has had to complain about, by kind."""
        log = self.folder / "error.log"
        return kinds_of_errors(log.read_text(encoding="utf-8", errors="replace"))


def configuration(folder: Path, port: int, upstream: int, *, is_kept: bool) -> str:
    """Write nginx's configuration; *is_kept*: upstream connections are used again."""
    # As root nginx would change to a user who may not enter the folder.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    kept = (
        f"    keepalive {KEPT_CONNECTIONS};\n"
        "    keepalive_requests 1000000;\n    keepalive_timeout 60s;"
    )
    return CONFIGURATION.format(
        user=user,
        folder=folder,
        port=port,
        upstream=upstream,
        keepalive=kept if is_kept else "",
        connection='      proxy_set_header Connection "";' if is_kept else "",
    )


def kinds_of_errors(log: str) -> dict[str, int]:
    """Count the lines of an error log by what they mean."""
    found: Counter[str] = Counter()
    for line in log.splitlines():
        kind = next((kind for text, kind in ERRORS.items() if text in line), "other")
        found[kind] += 1
    return dict(found)


@contextlib.contextmanager
def in_front(port: int, upstream: int, *, is_kept: bool) -> Iterator[Front]:
    """Start nginx on *port* before the server on port *upstream*; stop it on leaving.

    Raises:
        NginxError: It is not installed, or did not start.
    """
    if shutil.which("nginx") is None:
        raise NginxError("nginx is not installed; on Debian: apt install nginx-light")
    with tempfile.TemporaryDirectory(prefix="loadtests-nginx-") as name:
        folder = Path(name)
        path = folder / "nginx.conf"
        path.write_text(configuration(folder, port, upstream, is_kept=is_kept), encoding="utf-8")
        # In a session of its own: Ctrl-C comes to us alone, and we end it.
        process = subprocess.Popen(
            ["nginx", "-p", name, "-c", str(path), "-e", str(folder / "error.log")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_ready(process, port, folder)
            yield Front(port=port, folder=folder)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(POLL_INTERVAL)
    log = folder / "error.log"
    told = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    raise NginxError(f"nginx did not start: {told.strip()[-500:]}")

"""A running server: started in a session of its own, ready within a bound, always stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Final

from loadtests.measure import ProcessGone
from loadtests.scenarios import HERE
from loadtests.servers import SERVERS, Launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["RunningServer", "StartFailed", "free_port", "running"]

APPS: Final = HERE / "apps"
# Seconds.  A cold import of everything on a busy machine takes a few.
READY_TIMEOUT: Final = 30.0
POLL_INTERVAL: Final = 0.05
ANSWER_TIMEOUT: Final = 5.0
STOP_TIMEOUT: Final = 10.0
GREETING: Final = b"Hello, world!\n"
# What would change a server's settings behind our back.
FOREIGN_SETTINGS: Final = ("ASGIBRIDGE_", "GRANIAN_", "GUNICORN_", "UVICORN_", "UWSGI_", "LISTEN_")
FOREIGN_NAMES: Final = frozenset({"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"})


class StartFailed(Exception):  # noqa: N818  (a fact, like the names in asgibridge.errors)
    """A server did not start, or answered wrongly."""


class RunningServer:
    """One server process and its children; `running()` makes it."""

    def __init__(self, name: str, launch: Launch, core: int | None) -> None:
        """Say what to start; nothing happens yet."""
        self.name = name
        self.url = f"http://{launch.bind}/"
        self._launch = launch
        self._core = core
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (stop() closes it)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._launch.port

    @property
    def pid(self) -> int:
        """The leader of the process tree."""
        if self._process is None:
            raise AssertionError("pid before start()")
        return self._process.pid

    def start(self) -> None:
        """Start the process."""
        pin = [] if self._core is None else ["taskset", "--cpu-list", str(self._core)]
        command = [*pin, *SERVERS[self.name].command(self._launch)]
        with _signals_held():  # no process without an owner
            self._process = subprocess.Popen(
                command,
                cwd=APPS,
                env=_environment(self._launch),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, post_bytes: int) -> None:
        """Ask until the server answers, and check the answer.

        Raises:
            StartFailed: It ended, or gave no answer in time, or the wrong one.
        """
        deadline = time.monotonic() + READY_TIMEOUT
        while True:
            is_answered = self._try_answer(post_bytes)
            # Looked at even after an answer: it may have come from a stranger on the port.
            if self._process is not None and self._process.poll() is not None:
                code = self._process.returncode
                raise StartFailed(f"ended with exit code {code}: {self._last_words()}")
            if is_answered:
                return
            if time.monotonic() > deadline:
                bound = f"{READY_TIMEOUT:.0f} s"
                raise StartFailed(f"no answer within {bound}: {self._last_words()}")
            time.sleep(POLL_INTERVAL)

    def check_alive(self, post_bytes: int) -> None:
        """Make sure that the server outlived the load: the leader runs, a request is answered.

        wrk does not count requests that are still unanswered when it ends, and children might
        have served on without their leader.

        Raises:
            ProcessGone: It has ended, or is stuck.
        """
        if self._process is None or self._process.poll() is not None:
            raise ProcessGone(f"the server ended under load: {self._last_words()}")
        if not self._try_answer(post_bytes):
            raise ProcessGone(f"the server answers no more after the load: {self._last_words()}")

    def _try_answer(self, post_bytes: int) -> bool:
        """Send one request; return whether it was answered.

        Raises:
            StartFailed: The answer is not what the application gives.
        """
        body = b"x" * post_bytes
        client = http.client.HTTPConnection("127.0.0.1", self._launch.port, timeout=ANSWER_TIMEOUT)
        with contextlib.closing(client):
            try:
                client.request("POST" if body else "GET", "/", body or None)
                response = client.getresponse()
                got = response.read()
            except (OSError, http.client.HTTPException):
                return False
        if response.status != 200 or got != (body or GREETING):
            fact = f"answered {response.status} with {len(got)} bytes {got[:40]!r}"
            raise StartFailed(f"{fact}; that is not what the application gives")
        return True

    def ask_to_stop(self, bound: float) -> float | None:
        """Send SIGTERM and return how many seconds passed until the exit; None: over *bound*."""
        if self._process is None:
            raise AssertionError("ask_to_stop() before start()")
        asked = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(bound)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - asked

    def stop(self) -> None:
        """End the process and all it started: SIGTERM, a bounded wait, SIGKILL for the rest."""
        with _signals_held():
            if self._process is not None:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._output.close()

    def _last_words(self) -> str:
        """Return the end of what the server printed."""
        self._output.seek(0)
        text = self._output.read().decode(errors="replace").replace(str(HERE.parent), ".")
        lines = text.strip().splitlines()
        return " | ".join(line.strip() for line in lines[-4:]) or "it printed nothing"


@contextlib.contextmanager
def running(
    name: str, launch: Launch, *, core: int | None = None, post_bytes: int = 0
) -> Iterator[RunningServer]:
    """Start server *name*, give it out once it answers, stop it on leaving, whatever happened.

    Raises:
        StartFailed: It did not start, or answered wrongly.
    """
    server = RunningServer(name, launch, core)
    try:
        server.start()
        server.wait_ready(post_bytes)
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Return a port on which nothing listens.

    A new one for each start also keeps the TIME_WAIT sockets of one run out of the next.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(launch: Launch) -> dict[str, str]:
    """Return our environment without the settings of servers, with what `under_a2wsgi` reads."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN_SETTINGS) and name not in FOREIGN_NAMES
    }
    return {**kept, "LOADTESTS_APP": launch.app, "LOADTESTS_THREADS": str(launch.threads)}


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the block is done, then raise KeyboardInterrupt.

    Handlers, unlike a blocked mask, are not inherited by what the block starts.
    """
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt

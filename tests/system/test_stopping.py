"""The installed command stops in bounded time, whatever the application and its clients do.

[STOP-1], [STOP-2]; see test_stopping_under_load for [STOP-3].
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
import pytest
from support.commands import RunningCommand, installed_script, running_command

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS: Final = Path(__file__).parent.parent / "apps"
GRACE: Final = 1.5
# Seconds by which a loaded machine may be late.
SLACK: Final = 1.5

loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@contextmanager
def serving(app: str, loop: str, *args: str, grace: float = GRACE, **env: str) -> Iterator[Stop]:
    with (
        running_command(
            *("--app-dir", str(APPS), "--loop", loop, "--graceful-timeout", str(grace)),
            *args,
            f"{app}:app",
            env=env,
        ) as command,
        ExitStack() as stack,
    ):
        yield Stop(command, stack)


class Stop:
    """A running command, its clients, and the time that it takes to stop."""

    def __init__(self, command: RunningCommand, stack: ExitStack) -> None:
        self.command = command
        self._stack = stack

    def dial(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Connect a client, which stays until the end of the test."""
        parts = urlsplit(self.command.url)
        sock = self._stack.enter_context(socket.socket())
        sock.settimeout(10)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect((parts.hostname, parts.port))
        return sock

    def ask(self, path: str, *, receive_buffer: int | None = None) -> socket.socket:
        sock = self.dial(receive_buffer=receive_buffer)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return sock

    def occupy(self, path: str) -> socket.socket:
        """Send a request and wait until the application has it."""
        sock = self.ask(path, receive_buffer=4096)
        self.command.wait_for_log(f"in {path}")
        return sock

    def idle(self) -> socket.socket:
        """Leave a client that has had an answer and keeps its connection."""
        sock = self.ask("/")
        assert read_response(sock).endswith(b"hello")
        return sock

    def stop(self, *numbers: signal.Signals) -> tuple[int, float]:
        """Send signals; return the exit code and the seconds to the end."""
        begun = time.monotonic()
        for number in numbers or (signal.SIGTERM,):
            self.command.signal(number)
        code = self.command.wait(20)
        return code, time.monotonic() - begun

    @property
    def log(self) -> str:
        return "\n".join(self.command.log_lines)


def read_response(sock: socket.socket) -> bytes:
    """Read one response with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += received(sock)
    return head + b"\r\n\r\n" + body


def received(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    assert data, "the server closed in the middle of a response"
    return data


# --- nothing in the way


@loops
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("app", ["stopping_wsgi", "stopping_asgi"])
def test_any_of_the_three_signals_stops_a_server_with_idle_clients_at_once(
    app: str, number: signal.Signals, loop: str
) -> None:
    """[STOP-1] An idle connection holds nobody up, and nothing is cut."""
    with serving(app, loop, grace=20) as server:
        idle = server.idle()
        code, seconds = server.stop(number)
        assert (code, idle.recv(1)) == (0, b"")
        assert seconds < SLACK
        assert f"stopping signal={number.name}" in server.log
        assert "stopped requests=1 drained=0." in server.log
        assert "Traceback" not in server.log


@loops
def test_a_request_in_flight_is_answered_with_connection_close(loop: str) -> None:
    """[STOP-1]."""
    with serving("stopping_wsgi", loop, grace=20) as server:
        client = server.occupy("/slow")
        server.command.signal(signal.SIGTERM)
        answer = read_response(client)
        assert answer.endswith(b"hello")
        assert b"connection: close" in answer.lower()
        assert server.command.wait(10) == 0


@loops
def test_a_connection_whose_answer_promised_keep_alive_is_closed_behind_it(loop: str) -> None:
    """[STOP-1] The head was sent before the signal came."""
    with serving("stopping_wsgi", loop, grace=20) as server:
        client = server.occupy("/drips")
        code, seconds = server.stop()
        assert code == 0
        assert seconds < 0.5 + SLACK
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        assert b"connection: close" not in answer.lower()
        assert answer.endswith(b"2\r\nlo\r\n0\r\n\r\n")


@loops
def test_work_behind_an_answer_is_waited_for(loop: str) -> None:
    """[STOP-1] What a WSGI application does in `close()` and an ASGI one after its last message."""
    with serving("stopping_asgi", loop, grace=20) as server:
        assert read_response(server.ask("/background")).endswith(b"hello")
        code, _ = server.stop()
        assert code == 0
        assert "background work done" in server.log
    with serving("stopping_wsgi", loop, grace=20) as server:
        server.ask("/closes-slowly")
        server.command.wait_for_log("closing")
        code, _ = server.stop()
        assert code == 0
        assert "closed" in server.command.log_lines


@loops
def test_clients_that_are_owed_nothing_hold_the_stop_up_but_are_not_missed(loop: str) -> None:
    """[STOP-1] Half a head is no request, and a silent client has not asked for anything."""
    with serving("stopping_wsgi", loop) as server:
        server.dial()
        server.dial().sendall(b"GET / HTTP/1.1\r\nHo")
        server.idle()
        code, seconds = server.stop()
        assert code == 0
        assert seconds < GRACE + SLACK


# --- each alone, and all together


@loops
@pytest.mark.parametrize(
    ("app", "path", "culprit"),
    [
        ("stopping_wsgi", "/stuck", "in stuck_in_a_thread: time.sleep(FOREVER)"),
        ("stopping_wsgi", "/large", "GET /large"),
        ("stopping_asgi", "/large", "GET /large"),
        ("stopping_asgi", "/blocks", "in app: time.sleep(FOREVER)"),
        ("stopping_asgi", "/blocks-in-c", "in block_in_c: libc.pthread_mutex_lock(mutex)"),
        ("stopping_asgi", "/ignores", "in ignore_cancellation: await asyncio.sleep(FOREVER)"),
        ("stopping_asgi", "/waits", "in app: await asyncio.sleep(FOREVER)"),
    ],
)
def test_what_does_not_end_is_named_and_cut(app: str, path: str, culprit: str, loop: str) -> None:
    """[STOP-1] With stacks, at the deadline; the exit code tells that something was cut."""
    with serving(app, loop) as server:
        server.occupy(path)
        code, seconds = server.stop()
        assert code == 1
        assert seconds < GRACE + SLACK
        assert culprit in server.log


@loops
def test_a_request_that_no_thread_has_begun_is_refused_rather_than_cut(loop: str) -> None:
    """[STOP-1] Its client learns that it may ask again."""
    with serving("stopping_wsgi", loop, "--threads", "1", "--max-in-flight", "2") as server:
        stuck = server.occupy("/stuck")
        waiting = server.ask("/")
        code, _ = server.stop()
        head = read_response(waiting).lower()
        assert head.startswith(b"http/1.1 503 ")
        assert b"retry-after: 1" in head
        assert b"connection: close" in head
        assert (code, stuck.recv(1)) == (1, b"")


@loops
def test_half_a_body_is_cut_at_the_deadline(loop: str) -> None:
    """[STOP-1]."""
    with serving("stopping_wsgi", loop) as server:
        client = server.dial()
        client.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        # The body is waited for when its connection has been parked, which a second one tells.
        server.idle()
        code, seconds = server.stop()
        assert code == 1
        assert seconds < GRACE + SLACK
        assert "POST /upload" in server.log


@loops
def test_an_event_stream_is_told_to_leave_before_the_cut(loop: str) -> None:
    """[STOP-1] `http.disconnect` near the end."""
    with serving("stopping_asgi", loop) as server:
        server.occupy("/stream")
        code, seconds = server.stop()
        assert "told to leave" in server.log
        assert code == 0
        assert seconds < GRACE + SLACK


@loops
@pytest.mark.parametrize("app", ["stopping_wsgi", "stopping_asgi"])
@pytest.mark.parametrize("path", ["/thread", "/executor"])
def test_threads_that_the_application_left_do_not_keep_the_process(
    app: str, path: str, loop: str
) -> None:
    """[STOP-1] The interpreter would join them for ever."""
    with serving(app, loop) as server:
        read_response(server.ask(path))
        code, seconds = server.stop()
        assert code == 1
        assert seconds < GRACE + SLACK
        assert "the time to stop is over: ending the process now" in server.log
        assert "time.sleep(FOREVER)" in server.log or "self._target(*self._args" in server.log


@loops
def test_a_stuck_shutdown_of_the_application_is_cut(loop: str) -> None:
    """[STOP-1] Inside its own slice, with its stack."""
    with serving("stopping_asgi", loop, STUCK="shutdown") as server:
        code, seconds = server.stop()
        assert code == 1
        assert seconds < GRACE + SLACK
        assert "the application's shutdown took longer" in server.log
        assert "in stay_for_ever: await asyncio.sleep(FOREVER)" in server.log


@loops
def test_all_of_it_together_ends_in_time(loop: str) -> None:
    """[STOP-1]."""
    with serving("stopping_wsgi", loop, "--threads", "4", "--max-in-flight", "50") as server:
        for path in ("/thread", "/executor"):
            read_response(server.ask(path))
        idle = server.idle()
        server.dial().sendall(b"GET / HTT")
        server.dial().sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        for path in ("/large", "/stuck"):
            server.occupy(path)
        code, seconds = server.stop()
        assert (code, idle.recv(1)) == (1, b"")
        assert seconds < GRACE + SLACK
        assert "in stuck_in_a_thread" in server.log
    with serving("stopping_asgi", loop, STUCK="shutdown") as server:
        read_response(server.ask("/thread"))
        server.idle()
        server.dial().sendall(b"GET / HTT")
        server.dial().sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        for path in ("/large", "/ignores", "/stream", "/waits", "/blocks"):
            server.occupy(path)
        code, seconds = server.stop()
        assert code == 1
        assert seconds < GRACE + SLACK
        assert "in app: time.sleep(FOREVER)" in server.log


# --- more than one signal


@loops
@pytest.mark.parametrize("app", ["stopping_wsgi", "stopping_asgi"])
@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGQUIT,),
    ],
)
def test_a_second_signal_or_sigquit_ends_at_once(
    numbers: tuple[signal.Signals, ...], app: str, loop: str
) -> None:
    """[STOP-2]."""
    path = "/stuck" if app == "stopping_wsgi" else "/ignores"
    with serving(app, loop, grace=20) as server:
        server.occupy(path)
        for number in numbers[:-1]:
            server.command.signal(number)
            server.command.wait_for_log("stopping signal=")
        code, seconds = server.stop(numbers[-1])
        assert code == 1
        assert seconds < SLACK
        assert f"GET {path}" in server.log


@loops
def test_signals_again_and_again_do_not_postpone_the_end(loop: str) -> None:
    """[STOP-2]."""
    with serving("stopping_asgi", loop, grace=20) as server:
        server.occupy("/blocks")
        begun = time.monotonic()
        for _ in range(200):
            try:
                server.command.signal(signal.SIGTERM)
                server.command.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        assert server.command.wait(0) == 1
        assert time.monotonic() - begun < 1 + SLACK


# --- before the start is complete


@loops
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_import_or_the_startup_stops(number: signal.Signals, loop: str) -> None:
    """[STOP-1] Long before there is anything to drain."""
    for app, mark in (("slow_import", "importing"), ("stopping_asgi", "in startup")):
        with starting(app, loop) as process:
            assert process.stderr is not None
            next(line for line in process.stderr if mark in line)
            process.send_signal(number)
            _, log = process.communicate(timeout=10)
            assert (process.returncode, "Traceback" in log) == (0, False)
            assert "stopped before the start was complete" in log


@loops
def test_a_signal_as_the_very_first_thing_stops(loop: str) -> None:
    """[STOP-1] Even before Python runs a line of ours; then it is the signal that ends it."""
    with starting("slow_import", loop) as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode in {0, -signal.SIGTERM}


@contextmanager
def starting(app: str, loop: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [
            *(str(installed_script()), "serve", "--loop", loop, "--port", "0"),
            *("--app-dir", str(APPS), "--graceful-timeout", str(GRACE), f"{app}:app"),
        ],
        env={**os.environ, "STUCK": "startup"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@loops
def test_a_failed_start_ends_although_the_application_left_a_thread(
    loop: str, tmp_path: Path
) -> None:
    """[STOP-1] One line, exit code 3, in bounded time."""
    (tmp_path / "site_with_thread.py").write_text(
        "import threading\nthreading.Event\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "from stopping_wsgi import app\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                *(str(installed_script()), "serve", "--loop", loop, "--app-dir", str(tmp_path)),
                *("--graceful-timeout", "1", "--port", str(taken.getsockname()[1])),
                "site_with_thread:app",
            ],
            env={**os.environ, "PYTHONPATH": str(APPS)},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 3
    assert "in use" in done.stderr


# --- the delay


@loops
def test_during_the_delay_everything_goes_on_with_connection_close(loop: str) -> None:
    """[STOP-1] New clients and kept ones are served until load balancers have learned of it."""
    with serving("stopping_wsgi", loop, "--shutdown-delay", "1", grace=10) as server:
        kept = server.idle()
        server.command.signal(signal.SIGTERM)
        server.command.wait_for_log("stopping signal=SIGTERM")
        for client in (server.ask("/"), kept):
            if client is kept:
                kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"connection: close" in read_response(client).lower()
        in_flight = server.occupy("/slow")
        assert read_response(in_flight).endswith(b"hello")
        assert server.command.wait(10) == 0


@loops
def test_a_second_signal_ends_the_delay(loop: str) -> None:
    """[STOP-2]."""
    with serving("stopping_wsgi", loop, "--shutdown-delay", "15", grace=20) as server:
        server.command.signal(signal.SIGTERM)
        server.command.wait_for_log("stopping signal=SIGTERM")
        code, seconds = server.stop()
        assert code == 0
        assert seconds < SLACK


@loops
def test_requests_that_begin_at_the_end_of_the_delay_are_answered(loop: str) -> None:
    """[STOP-1] A moment without connections during the delay is not the end of the stop."""
    with serving("stopping_wsgi", loop, "--shutdown-delay", "0.7", grace=10) as server:
        server.command.signal(signal.SIGTERM)
        server.command.wait_for_log("stopping signal=SIGTERM")
        httpx.get(server.command.url)
        in_flight = server.occupy("/slow")
        assert read_response(in_flight).endswith(b"hello")
        assert server.command.wait(10) == 0


# --- the loop's own errors


@loops
def test_errors_in_callbacks_go_to_the_log_with_their_traceback(loop: str) -> None:
    with serving("stopping_asgi", loop) as server:
        read_response(server.ask("/callback"))
        server.command.wait_for_log("RuntimeError: raised in a callback")
        code, _ = server.stop()
        assert code == 0
        assert "fail_in_a_callback" in server.log

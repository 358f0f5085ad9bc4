"""A supervisor and its workers stop together, in bounded time, whoever is told first.

[STOP-1], [STOP-2], [PROC-5]; see test_stopping for a process without a supervisor.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psutil
import pytest
from support.commands import running_command
from support.visitors import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"
TWO: Final = ("--app-dir", str(APPS), "--workers", "2", "--threads", "1")
# Seconds; only a test that fails waits so long.
PATIENCE: Final = 20.0
# Seconds by which a loaded machine may be late.
SLACK: Final = 1.5


class Request:
    """One that is under way in a thread of its own."""

    def __init__(self, command: RunningCommand, path: str, count: int = 1) -> None:
        """Send it, and wait until the application has *count* of its kind."""
        self.answer: Answer | None = None
        self._thread = threading.Thread(target=self._ask, args=(command.url, path), daemon=True)
        self._thread.start()
        command.wait_for_lines(f"in {path.partition('?')[0]} ", count)

    def result(self) -> Answer | None:
        """Wait for its end: the answer, or None if there was none."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.answer

    def _ask(self, url: str, path: str) -> None:
        try:
            self.answer = ask(url, path)
        except OSError:
            return


def stops_within(command: RunningCommand, seconds: float) -> int:
    begun = time.monotonic()
    code = command.wait(PATIENCE)
    assert time.monotonic() - begun < seconds
    return code


def refuses(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


# --- one signal


@pytest.mark.parametrize(
    ("number", "send", "app", "loop"),
    [
        (signal.SIGTERM, "signal", "workers_wsgi:app", "uvloop"),
        (signal.SIGINT, "signal", "workers_asgi:app", "asyncio"),
        (signal.SIGTERM, "signal_group", "workers_asgi:app", "uvloop"),
        (signal.SIGINT, "signal_group", "workers_wsgi:app", "asyncio"),
    ],
)
def test_one_signal_is_one_graceful_stop_even_if_the_whole_group_hears_it(
    number: signal.Signals, send: str, app: str, loop: str
) -> None:
    """[STOP-1] A terminal signals the group with Ctrl-C, systemd does with KillMode=control-group.

    The workers leave it to the supervisor: what is in flight is answered, once each.
    """
    with running_command(*TWO, "--loop", loop, app) as command:
        requests = [Request(command, "/slow?0.7", count) for count in (1, 2)]
        getattr(command, send)(number)
        answers = [request.result() for request in requests]
        assert [each and each.status for each in answers] == [200, 200]
        assert [each and each.closes for each in answers] == [True, True]
        assert command.wait(PATIENCE) == 0
        assert len(re.findall(r"stopping signal=\w+", command.log)) == 1
        assert len(command.wait_for_lines("stopping reason=the server stops", 2)) == 2
        assert len(command.wait_for_lines("gone code=0", 2)) == 2
        assert "to be replaced" not in command.log
        assert "Traceback" not in command.log
        assert refuses(command.url)
        if app == "workers_asgi:app":
            assert len(command.wait_for_lines("shutting down pid=", 2)) == 2


def test_the_listeners_are_closed_as_soon_as_nobody_takes_clients_any_more() -> None:
    """[STOP-1] Whoever comes later is refused, and can try elsewhere."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        request = Request(command, "/slow?1.5")
        command.signal(signal.SIGTERM)
        command.wait_for_lines("stopping reason=the server stops", 2)
        command.wait_for_log("gone code=0")  # the idle one, with its copies of the listeners
        deadline = time.monotonic() + PATIENCE
        while not refuses(command.url):
            assert time.monotonic() < deadline
        assert request.answer is None
        assert request.result() is not None


@pytest.mark.parametrize(
    ("numbers", "send"),
    [
        pytest.param((signal.SIGTERM, signal.SIGTERM), "signal", id="SIGTERM twice"),
        pytest.param((signal.SIGINT, signal.SIGINT), "signal_group", id="SIGINT twice to all"),
        pytest.param((signal.SIGQUIT,), "signal", id="SIGQUIT"),
        pytest.param((signal.SIGQUIT,), "signal_group", id="SIGQUIT to all"),
    ],
)
def test_a_second_signal_or_sigquit_ends_all_at_once(
    numbers: tuple[signal.Signals, ...], send: str
) -> None:
    """[STOP-2] The exit code tells that something was cut, and the log what."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        for count in (1, 2):
            Request(command, "/stuck", count)
        for number in numbers[:-1]:
            getattr(command, send)(number)
            command.wait_for_lines("stopping reason=the server stops", 2)
        getattr(command, send)(numbers[-1])
        assert stops_within(command, 1 + SLACK) == 1
        assert command.log.count("in stuck_in_a_thread: time.sleep(FOREVER)") >= 2


def test_the_whole_stop_takes_no_longer_than_one_may_take() -> None:
    """[STOP-1] Workers stop side by side; stuck threads are named, and left behind."""
    with running_command(*TWO, "--graceful-timeout", "1", "workers_wsgi:app") as command:
        for count in (1, 2):
            Request(command, "/stuck", count)
        command.signal(signal.SIGTERM)
        assert stops_within(command, 1 + SLACK) == 1
        assert command.log.count("in stuck_in_a_thread: time.sleep(FOREVER)") >= 2
        assert "signal=SIGKILL" not in command.log


def test_a_loop_that_is_blocked_does_not_keep_the_server() -> None:
    """[STOP-1] Its worker cannot even hear the order."""
    with running_command(*TWO, "--graceful-timeout", "1", "workers_asgi:app") as command:
        Request(command, "/blocks")
        command.signal(signal.SIGTERM)
        assert stops_within(command, 1 + SLACK) == 1
        assert "in app: time.sleep(" in command.log


def test_a_worker_that_does_not_even_run_is_killed() -> None:
    """[STOP-1] Stopped by a debugger, say: half a second beyond its deadline."""
    with running_command(*TWO, "--graceful-timeout", "1", "workers_wsgi:app") as command:
        frozen = command.workers[0]
        psutil.Process(frozen).suspend()
        command.signal(signal.SIGTERM)
        assert stops_within(command, 1.5 + SLACK) == 1
        assert f"pid={frozen} killed: it has had its time to stop" in command.log
        assert f"pid={frozen} gone signal=SIGKILL" in command.log


# --- before the start is complete


@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGTERM, "signal"),
        (signal.SIGTERM, "signal_group"),
        (signal.SIGINT, "signal_group"),
        (signal.SIGQUIT, "signal_group"),
    ],
)
def test_a_stop_while_the_workers_import_is_at_once_and_clean(
    number: signal.Signals, send: str, tmp_path: Path
) -> None:
    """[STOP-1]."""
    with running_command(
        *(*TWO, "workers_wsgi:app"), env={"WAITS_FOR": str(tmp_path / "nothing")}, until="importing"
    ) as command:
        command.wait_for_lines("importing", 2)
        getattr(command, send)(number)
        assert stops_within(command, SLACK) == 0
        assert "Traceback" not in command.log
        assert command.log.count("stopped before the start was complete") == 2


def test_a_stop_while_the_application_is_imported_for_all_is_at_once(tmp_path: Path) -> None:
    """[STOP-1] There are no workers yet."""
    with running_command(
        *(*TWO, "--preload", "workers_wsgi:app"),
        env={"WAITS_FOR": str(tmp_path / "nothing")},
        until="importing",
    ) as command:
        command.signal(signal.SIGTERM)
        assert stops_within(command, SLACK) == 0
        assert "Traceback" not in command.log
        assert "started" not in command.log


# --- without a supervisor


@pytest.fixture
def orphan() -> Iterator[Callable[[RunningCommand], None]]:
    """Kill the supervisor; see in the end that no worker has outlived it."""
    ends: list[int] = []

    def kill(command: RunningCommand) -> None:
        ends.extend(os.pidfd_open(pid) for pid in command.workers)
        command.signal(signal.SIGKILL)

    yield kill
    assert len(ends) == 2
    for end in ends:
        assert select.select([end], [], [], PATIENCE)[0], "a worker has outlived its server"
        os.close(end)


def test_workers_without_a_supervisor_finish_what_is_in_flight_and_leave(
    orphan: Callable[[RunningCommand], None],
) -> None:
    """[PROC-5] The port is free for the next server."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        requests = [Request(command, "/slow?0.7", count) for count in (1, 2)]
        orphan(command)
        command.wait_for_lines("the supervisor is gone", 2)
        answers = [request.result() for request in requests]
        assert [each and each.status for each in answers] == [200, 200]
        command.wait_for_lines("stopped requests=1 ", 2)
        assert command.wait(PATIENCE) == -signal.SIGKILL  # and nobody holds its log
        port = command.url.rpartition(":")[2].strip("/")
        with running_command(*TWO, "--port", port, "workers_wsgi:app") as again:
            assert ask(again.url).status == 200


def test_workers_without_a_supervisor_leave_although_they_are_stuck(
    orphan: Callable[[RunningCommand], None],
) -> None:
    """[PROC-5] [STOP-1] Within `graceful_timeout`, as ever."""
    with running_command(*TWO, "--graceful-timeout", "1", "workers_wsgi:app") as command:
        Request(command, "/stuck")
        orphan(command)
        begun = time.monotonic()
        assert command.wait(PATIENCE) == -signal.SIGKILL
        assert time.monotonic() - begun < 1 + SLACK
        assert "in stuck_in_a_thread: time.sleep(FOREVER)" in command.log


def test_workers_that_are_importing_leave_when_the_supervisor_is_gone(tmp_path: Path) -> None:
    """[PROC-5]."""
    with running_command(
        *(*TWO, "workers_wsgi:app"), env={"WAITS_FOR": str(tmp_path / "nothing")}, until="importing"
    ) as command:
        command.wait_for_lines("importing", 2)
        command.signal(signal.SIGKILL)
        command.wait_for_lines("stopped before the start was complete", 2)


# --- one process alone


def test_a_process_without_a_supervisor_takes_sighup_as_a_stop() -> None:
    """[STOP-1] Its terminal is gone, or somebody wants a new process; gracefully, though."""
    with running_command("--app-dir", str(APPS), "workers_wsgi:app") as command:
        request = Request(command, "/slow?0.5")
        command.signal(signal.SIGHUP)
        answer = request.result()
        assert (answer and answer.status) == 200
        assert command.wait(PATIENCE) == 0
        assert "stopping signal=SIGHUP" in command.log

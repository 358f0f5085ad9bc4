"""A real gunicorn starts, reloads, recycles and stops workers of our class under load.

See `support.visitors.Visitors` for what counts as let down.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from support.answers import REQUEST, read_answer
from support.gunicorns import dial, running_gunicorn, url_of
from support.visitors import Visitors

APPS: Final = Path(__file__).parent.parent / "apps"

apps = pytest.mark.parametrize("app", ["stopping_wsgi:app", "stopping_asgi:app"])


@apps
def test_a_reload_under_load_lets_nobody_down(app: str) -> None:
    """Not even a kept connection is closed when its next request is due.  [STOP-3]."""
    with (
        running_gunicorn("--threads", "4", app, cwd=APPS, workers=2) as command,
        Visitors(url_of(command), count=6) as visitors,
    ):
        for generation in (1, 2):
            visitors.wait_for(200)
            command.signal(signal.SIGHUP)
            command.wait_for_lines("ready pid=", 2 + 2 * generation, 20)
            command.wait_for_lines("Worker exiting", 2 * generation, 20)
        visitors.wait_for(200)
        visitors.leave()
        assert visitors.let_down == []


@apps
@pytest.mark.parametrize("workers", [1, 2])
def test_recycling_under_load_lets_nobody_down(app: str, workers: int) -> None:
    """[STOP-3]."""
    with (
        running_gunicorn(
            *("--threads", "4", "--max-requests", "150", "--max-requests-jitter", "50", app),
            cwd=APPS,
            workers=workers,
        ) as command,
        Visitors(url_of(command), count=6) as visitors,
    ):
        command.wait_for_lines("Worker exiting", 4, 20)
        command.wait_for_lines("ready pid=", 4 + workers, 20)
        visitors.wait_for(50)
        visitors.leave()
        assert visitors.let_down == []
    gone = [line for line in command.log_lines if "stopping reason=max_requests=" in line]
    assert len(gone) >= 4
    assert all(150 <= int(line.split("max_requests=")[1].split()[0]) <= 200 for line in gone)


def test_a_slow_request_survives_a_reload_and_the_queue_goes_to_the_new(tmp_path: Path) -> None:
    """One thread for both generations: those who wait are the new worker's."""
    (tmp_path / "gunicorn.conf.py").write_text("graceful_timeout = 5\n")
    with (
        running_gunicorn(
            *("-c", str(tmp_path / "gunicorn.conf.py"), "stopping_wsgi:app"), cwd=APPS
        ) as command,
        ExitStack() as stack,
    ):
        slow = dial(command, stack)
        slow.sendall(REQUEST % b"slow?1.5")
        command.wait_for_log("in /slow")
        waiting = [dial(command, stack) for _ in range(3)]
        for each in waiting:
            each.sendall(REQUEST % b"")
        command.signal(signal.SIGHUP)
        for each in waiting:
            read_answer(each)
        assert "Worker exiting" not in "\n".join(command.log_lines)  # the slow one goes on
        read_answer(slow)
        command.wait_for_log("Worker exiting")


@apps
def test_term_answers_what_is_in_flight_and_in_the_queue(app: str) -> None:
    with (
        running_gunicorn(app, cwd=APPS, workers=2) as command,
        ExitStack() as stack,
    ):
        callers = [dial(command, stack) for _ in range(6)]
        for each in callers:
            each.sendall(REQUEST % b"slow?0.2")
        command.wait_for_lines("in /slow", 2)
        command.signal(signal.SIGTERM)
        for each in callers:
            read_answer(each)
        assert command.wait(20) == 0


def test_a_start_can_be_stopped() -> None:
    with running_gunicorn(
        "stopping_asgi:app", cwd=APPS, env={"STUCK": "startup"}, until="in startup"
    ) as command:
        command.signal(signal.SIGTERM)
        assert command.wait(10) == 0


@apps
def test_a_stop_is_over_in_time_whatever_the_application_does(app: str) -> None:
    path = b"stuck" if "wsgi" in app else b"ignores"
    with (
        running_gunicorn("--graceful-timeout", "2", app, cwd=APPS) as command,
        ExitStack() as stack,
    ):
        dial(command, stack).sendall(REQUEST % path)
        command.wait_for_log(f"in /{path.decode()}")
        command.signal(signal.SIGTERM)
        assert command.wait(8) == 0
    log = "\n".join(command.log_lines)
    assert "the time to stop is over in_flight=1" in log
    assert "SIGKILL" not in log  # it went by itself


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_quit_and_int_do_not_wait_for_requests(number: signal.Signals) -> None:
    with (
        running_gunicorn("stopping_asgi:app", cwd=APPS) as command,
        ExitStack() as stack,
    ):
        dial(command, stack).sendall(REQUEST % b"waits")
        command.wait_for_log("in /waits")
        command.signal(number)
        assert command.wait(8) == 0


@pytest.mark.parametrize("path", ["blocks", "blocks-in-c"])
def test_a_worker_whose_loop_is_blocked_is_replaced(path: str) -> None:
    with (
        running_gunicorn("--timeout", "2", "stopping_asgi:app", cwd=APPS) as command,
        ExitStack() as stack,
    ):
        dial(command, stack).sendall(REQUEST % path.encode())
        command.wait_for_log(f"in /{path}")
        command.wait_for_log("WORKER TIMEOUT", 10)
        command.wait_for_lines("ready pid=", 2, 10)
        again = dial(command, stack)
        again.sendall(REQUEST % b"")
        read_answer(again)
    if path == "blocks":  # Python is not asked in the other case
        log = "\n".join(command.log_lines)
        assert "aborted: no sign of life for 2 s" in log
        assert "stopping_asgi.py" in log


def test_a_worker_without_threads_that_come_back_is_replaced() -> None:
    """[WSGI-7] The stuck one has answered 504, and its successor serves."""
    with (
        running_gunicorn(
            *("--graceful-timeout", "1", "stopping_wsgi:app"),
            cwd=APPS,
            env={"ASGIBRIDGE_REQUEST_TIMEOUT": "300ms"},
        ) as command,
        ExitStack() as stack,
    ):
        dial(command, stack).sendall(REQUEST % b"stuck")
        command.wait_for_log("stopping reason=all threads are overdue")
        command.wait_for_lines("ready pid=", 2, 10)
        again = dial(command, stack)
        again.sendall(REQUEST % b"")
        read_answer(again)


def test_a_busy_but_living_worker_is_not_killed() -> None:
    with (
        running_gunicorn("--timeout", "1", "stopping_wsgi:app", cwd=APPS) as command,
        ExitStack() as stack,
    ):
        caller = dial(command, stack)
        caller.sendall(REQUEST % b"slow?3")
        read_answer(caller)
        assert "WORKER TIMEOUT" not in "\n".join(command.log_lines)


@pytest.mark.skipif(sys.platform != "linux", reason="init adopts orphans at once there")
def test_workers_leave_when_the_arbiter_is_gone() -> None:
    with running_gunicorn("stopping_asgi:app", cwd=APPS, workers=2) as command:
        os.kill(command.pid, signal.SIGKILL)
        command.wait_for_lines("stopping reason=the arbiter is gone", 2, 10)
        command.wait_for_lines("Worker exiting", 2, 10)


@apps
def test_a_preloaded_application_is_served_by_every_worker(app: str) -> None:
    with (
        running_gunicorn("--preload", app, cwd=APPS, workers=2) as command,
        Visitors(url_of(command)) as visitors,
    ):
        visitors.wait_for(50)
        command.signal(signal.SIGHUP)
        command.wait_for_lines("Worker exiting", 2, 20)
        visitors.wait_for(50)
        visitors.leave()
        assert visitors.let_down == []

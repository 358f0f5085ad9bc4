"""Workers that have come of age, or are in trouble, are replaced; nobody is let down for it.

[PROC-1], [PROC-4], [WSGI-7], and [STOP-3] throughout: clients come anew and on kept connections all
the time, and each of their requests has to be answered.
"""

from __future__ import annotations

import http.client
import itertools
import re
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.commands import running_command
from support.visitors import Answer, Visitors, ask

if TYPE_CHECKING:
    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"
# Seconds; only a test that fails waits so long.
PATIENCE: Final = 30.0
AT_ONCE: Final = ("--min-lifetime", "0")


def reasons(command: RunningCommand) -> list[str]:
    return re.findall(r"to be replaced reason=(.+?) requests=", command.log)


def successors_come_first(command: RunningCommand, wanted: int) -> bool:
    """Say whether as many served as were wanted at every moment from the first `ready` on."""
    count = lowest = 0
    is_complete = False
    for step in re.findall(r"pid=\d+ (ready|retires|died)\b", command.log):
        count += 1 if step == "ready" else -1
        is_complete |= count == wanted
        if is_complete:
            lowest = min(lowest or count, count)
    return lowest == wanted


def served(line: str) -> int:
    return int(line.split("served=")[1].split("s", maxsplit=1)[0])


# --- old age


@pytest.mark.parametrize(
    ("workers", "options", "path", "reason"),
    [
        (1, ("--max-requests", "40", "--max-requests-jitter", "0"), "/", "max_requests"),
        (2, ("--max-requests", "40", "--max-requests-jitter", "0"), "/", "max_requests"),
        (2, ("--max-rss", "45"), "/leaks", "max_rss"),
        (1, ("--max-uss", "30"), "/leaks", "max_uss"),
        (2, ("--max-lifetime", "1"), "/", "max_lifetime"),
    ],
    ids=["requests of one", "requests of two", "memory", "unshared memory", "time"],
)
def test_a_worker_that_has_come_of_age_is_replaced_and_nobody_notices(
    workers: int, options: tuple[str, ...], path: str, reason: str
) -> None:
    """[PROC-1] [STOP-3] Even the only one, under steady load."""
    with (
        running_command(
            *("--app-dir", str(APPS), "--workers", str(workers), "--threads", "4", *AT_ONCE),
            *(*options, "workers_wsgi:app"),
        ) as command,
        Visitors(command.url, path=path) as visitors,
    ):
        command.wait_for_lines("gone code=0", 2, PATIENCE)
        visitors.wait_for(20)
        visitors.leave()
        assert visitors.let_down == []
        assert {*reasons(command)} == {reason}
        assert len(visitors.pids) >= workers + 1
        assert successors_come_first(command, workers)
        fates = re.findall(r"pid=\d+ (started|retires|gone)", command.log)[workers:]
        assert fates[:6] == ["started", "retires", "gone"] * 2  # one at a time


def test_an_asgi_application_is_recycled_just_as_well() -> None:
    """[PROC-1] [STOP-3] On plain asyncio, and shut down as it ought to be."""
    with (
        running_command(
            *("--app-dir", str(APPS), "--workers", "2", "--loop", "asyncio", *AT_ONCE),
            *("--max-requests", "40", "workers_asgi:app"),
        ) as command,
        Visitors(command.url) as visitors,
    ):
        command.wait_for_lines("gone code=0", 2, PATIENCE)
        visitors.wait_for(20)
        visitors.leave()
        assert visitors.let_down == []
        assert len(command.wait_for_lines("shutting down pid=", 2)) >= 2


def test_a_worker_serves_out_its_requests_before_it_asks_for_a_successor() -> None:
    """[PROC-1] One too few changes nothing."""
    with running_command(
        *("--app-dir", str(APPS), *AT_ONCE, "--max-requests-jitter", "0"),
        *("--max-requests", "3", "workers_wsgi:app"),
    ) as command:
        for _ in range(2):
            first = ask(command.url).text
        wait_until_noted(command, 2)
        assert "to be replaced" not in command.log
        assert ask(command.url).text == first
        assert "requests=3 " in command.wait_for_log("to be replaced reason=max_requests")
        command.wait_for_log("gone code=0")
        assert ask(command.url).text != first
        command.signal(signal.SIGUSR2)
        command.wait_for_log("workers wanted=1 started=2 died=0 recycled=1 (max_requests: 1)")


def wait_until_noted(command: RunningCommand, requests: int) -> None:
    """Wait until the worker has looked at its count, which it does once a second."""
    deadline = time.monotonic() + PATIENCE
    for number in itertools.count(1):
        command.signal(signal.SIGUSR2)
        if f" requests={requests} " in command.wait_for_lines(" stage=ready ", number)[-1]:
            return
        assert time.monotonic() < deadline


def test_nobody_is_recycled_before_the_minimum_lifetime() -> None:
    """[PROC-1] A limit that is too low must not become a storm."""
    with (
        running_command(
            *("--app-dir", str(APPS), "--workers", "1", "--min-lifetime", "2"),
            *("--max-requests", "1", "--max-rss", "1", "workers_wsgi:app"),
        ) as command,
        Visitors(command.url) as visitors,
    ):
        lines = command.wait_for_lines("to be replaced", 2, PATIENCE)
        visitors.leave()
        assert visitors.let_down == []
        assert [served(line) >= 2 for line in lines] == [True] * len(lines)


# --- trouble


class Asking:
    """A request in a thread of its own."""

    def __init__(self, url: str, path: str) -> None:
        self._answers: list[Answer] = []
        self._thread = threading.Thread(
            target=lambda: self._answers.append(ask(url, path)), daemon=True
        )
        self._thread.start()

    def answer(self) -> Answer:
        self._thread.join(PATIENCE)
        return self._answers[0]


def test_overdue_requests_in_all_threads_have_the_worker_replaced() -> None:
    """[WSGI-7] They get 504, their stacks are logged; whoever else is served is not disturbed."""
    with running_command(
        *("--app-dir", str(APPS), "--workers", "2", "--threads", "1", "--graceful-timeout", "2"),
        *("--request-timeout", "1", "workers_wsgi:app"),
    ) as command:
        overdue = Asking(command.url, "/stuck")
        stuck = int(command.wait_for_log("in /stuck").split("pid=")[1])
        with Visitors(command.url) as visitors:
            assert overdue.answer().status == 504
            command.wait_for_log(f"pid={stuck} gone")
            visitors.leave()
        assert visitors.let_down == []
        assert reasons(command) == ["overdue requests hold all threads"]
        assert "request overdue method=GET target=/stuck" in command.log
        assert "in stuck_in_a_thread: time.sleep(FOREVER)" in command.log
        assert stuck not in command.workers
        assert len(command.workers) == 2
        assert successors_come_first(command, 2)


def test_one_overdue_request_beside_a_free_thread_is_borne() -> None:
    """[WSGI-7] Neighbours are never ended for it."""
    with running_command(
        *("--app-dir", str(APPS), "--workers", "2", "--threads", "2"),
        *("--request-timeout", "1", "--graceful-timeout", "1", "workers_wsgi:app"),
    ) as command:
        before = command.workers
        assert ask(command.url, "/stuck").status == 504
        with Visitors(command.url) as visitors:
            visitors.wait_for(100)
        assert visitors.let_down == []
        assert "to be replaced" not in command.log
        assert command.workers == before


def test_a_worker_whose_loop_is_blocked_is_replaced() -> None:
    """[PROC-4] After `worker_timeout`; new clients are served by the others."""
    with running_command(
        *("--app-dir", str(APPS), "--workers", "2", "--graceful-timeout", "1"),
        *("--worker-timeout", "1", "workers_asgi:app"),
    ) as command:
        blocking = threading.Thread(target=given_up, args=(command.url, "/blocks"), daemon=True)
        blocking.start()
        blocked = int(command.wait_for_log("in /blocks").split("pid=")[1])
        with Visitors(command.url) as visitors:
            command.wait_for_log(f"pid={blocked} gone")
            visitors.leave()
        blocking.join(PATIENCE)
        assert visitors.let_down == []
        assert reasons(command) == ["its loop does not turn"]
        assert "in app: time.sleep(" in command.log
        assert blocked not in command.workers
        assert successors_come_first(command, 2)


def given_up(url: str, path: str) -> None:
    """Ask, and be let down."""
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(url, path)


def test_a_blocked_loop_is_told_with_its_stack_even_if_nobody_is_replaced() -> None:
    """[PROC-4] After five seconds, and again when it is over."""
    with running_command(
        *("--app-dir", str(APPS), "--workers", "2", "workers_asgi:app")
    ) as command:
        assert ask(command.url, "/blocks?6.5").status == 200
        told = command.wait_for_log("the loop is blocked for=")
        assert " WARNING " in told
        assert "no request moves; where it is:" in told
        command.wait_for_log('in app: time.sleep(float(scope["query_string"]')
        assert 5 < float(command.wait_for_log("turns again").split("blocked=")[1].rstrip("s")) < 9
        assert "to be replaced" not in command.log

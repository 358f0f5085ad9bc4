"""Workers behind one socket: who serves, who comes when one has died, who may not start.

[PROC-2]; see test_workers_restarting for [PROC-3], test_workers_stopping for [PROC-5].
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.commands import CommandEnded, running_command
from support.visitors import Visitors, ask, everybody

if TYPE_CHECKING:
    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"
TWO: Final = ("--app-dir", str(APPS), "--workers", "2", "--threads", "2")
# Seconds; only a test that fails waits so long.
PATIENCE: Final = 20.0

# Each interface and each loop; the supervisor has neither.
both = pytest.mark.parametrize(
    ("app", "loop"), [("workers_wsgi:app", "uvloop"), ("workers_asgi:app", "asyncio")]
)


def texts(pids: list[int]) -> set[str]:
    return {str(pid) for pid in pids}


# --- serving


@both
def test_all_workers_answer_at_one_address(app: str, loop: str) -> None:
    with running_command(
        *("--app-dir", str(APPS), "--workers", "3", "--loop", loop), app
    ) as command:
        assert len(command.urls) == 1
        assert len(command.workers) == 3
        assert everybody(command.url, 3) == texts(command.workers)


def test_one_line_tells_when_all_are_ready_and_with_what() -> None:
    with running_command(*TWO, "workers_wsgi:app") as command:
        before, ready = command.log_lines[-2:]
        assert re.search(r"worker=\d pid=\d+ ready after=\d+\.\d\ds$", before)
        facts = dict(word.split("=", 1) for word in ready.split(" ready ")[1].split())
        assert facts["pid"] == str(command.pid)
        assert facts["workers"] == "2"
        assert facts["app"] == "workers_wsgi:app"
        assert facts["interface"] == "wsgi"
        assert facts["threads"] == "2"
        assert f"[{command.pid}]" in ready
        assert command.pid not in command.workers


def test_requests_that_one_worker_has_no_room_for_are_taken_by_the_other() -> None:
    """[GATE-2] One of them is full with slow requests; nobody waits behind these."""
    with running_command(*TWO, "--threads", "1", "workers_wsgi:app") as command:
        with Visitors(command.url, count=1, path="/slow?1") as slow:
            first = command.wait_for_log("in /slow")
            second = command.wait_for_lines("in /slow", 2)[1]
            assert first.split("pid=")[1] != second.split("pid=")[1]
            slow.leave()
        assert slow.let_down == []


# --- dying


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    """[PROC-2] The log names the signal; the other one goes on serving meanwhile."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        dead, alive = command.workers
        os.kill(dead, signal.SIGKILL)
        line = command.wait_for_log("died")
        assert re.search(
            rf" ERROR .*worker=\d pid={dead} died signal=SIGKILL served=\d+\.\ds$", line
        )
        assert ask(command.url).status == 200
        command.wait_for_lines("ready after=", 3)
        assert len(command.workers) == 2
        assert everybody(command.url, 2) == texts(command.workers)
        assert alive in command.workers
        assert "waiting " not in command.log


def test_what_ends_a_worker_from_inside_is_told_by_its_exit_code() -> None:
    """[PROC-2] An `os._exit` of the application, say."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        with pytest.raises((ConnectionError, OSError)):
            ask(command.url, "/dies")
        assert "died code=9 " in command.wait_for_log("died")
        command.wait_for_lines("ready after=", 3)
        assert everybody(command.url, 2) == texts(command.workers)


def test_quick_deaths_in_a_row_make_the_pause_longer() -> None:
    """[PROC-2] None, then twice as long each time."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        for death in range(1, 5):
            os.kill(command.workers[-1], signal.SIGKILL)
            command.wait_for_lines("died", death)
            command.wait_for_lines("ready after=", 2 + death)
        waits = [line.split("waiting ")[1] for line in command.log_lines if "waiting " in line]
        assert waits == [f"{each} before the next start" for each in ("0.25s", "0.5s", "1s")]
        assert ask(command.url).status == 200


# --- starts that fail


def broken(tmp_path: Path, how: str = "raise") -> Path:
    flag = tmp_path / "broken"
    flag.write_text(how)
    return flag


def test_an_application_that_cannot_be_imported_ends_the_server(tmp_path: Path) -> None:
    """[PROC-2] With its traceback and exit code 3, after three tries and not many more."""
    with running_command(
        *(*TWO, "workers_wsgi:app"),
        env={"BROKEN": str(broken(tmp_path))},
        until="could not start",
    ) as command:
        assert command.wait(PATIENCE) == 3
        failures = command.wait_for_lines("could not start", 3)
        assert 3 <= len(failures) <= 4  # two start at a time
        end = command.log.rpartition("reason=no worker can start")[2]
        assert "RuntimeError: broken on purpose" in end
        assert "RuntimeError: broken on purpose" in command.log_lines
        assert "in come_to_life" in end
        # The last one: the other worker may have been interrupted at an odd moment, and said so.
        assert "asgibridge/" not in end.rpartition("Traceback")[2].split("RuntimeError")[0]
        assert command.log_lines[-1].startswith("asgibridge: importing workers_wsgi raised")


def test_an_end_before_ready_without_a_word_is_a_failed_start_too(tmp_path: Path) -> None:
    """[PROC-2] A crash on import, say."""
    with running_command(
        *(*TWO, "workers_wsgi:app"),
        env={"BROKEN": str(broken(tmp_path, "exit"))},
        until="could not start",
    ) as command:
        assert command.wait(PATIENCE) == 3
        assert "it ended before it was ready (code=7)" in command.log_lines[-1]


def test_a_start_that_takes_too_long_is_a_failed_start(tmp_path: Path) -> None:
    """[PROC-2] Even an import that never returns."""
    with running_command(
        *(*TWO, "--startup-timeout", "0.1", "workers_wsgi:app"),
        env={"WAITS_FOR": str(tmp_path / "nothing")},
        until="could not start",
    ) as command:
        assert command.wait(PATIENCE) == 3
        assert "the start took longer than 0.1 s" in command.log


def test_no_start_succeeds_any_more_but_the_others_go_on_serving(tmp_path: Path) -> None:
    """[PROC-2] They must not be ended for one that cannot start; it is tried again and again."""
    flag = tmp_path / "broken"
    with running_command(*TWO, "workers_wsgi:app", env={"BROKEN": str(flag)}) as command:
        broken(tmp_path)
        dead, alive = command.workers
        os.kill(dead, signal.SIGKILL)
        command.wait_for_lines("could not start", 4)
        pauses = [line.split("waiting ")[1] for line in command.log_lines if "waiting " in line]
        assert pauses[:3] == [f"{each} before the next start" for each in ("0.25s", "0.5s", "1s")]
        assert command.workers == [alive]
        assert ask(command.url).text == str(alive)
        assert "RuntimeError: broken on purpose" in command.log
        flag.unlink()
        command.wait_for_lines("ready after=", 3)
        assert everybody(command.url, 2) == texts(command.workers)


def test_a_listener_that_cannot_be_opened_ends_the_server_before_any_worker_starts() -> None:
    with running_command(*TWO, "workers_wsgi:app") as first:
        port = first.url.rpartition(":")[2].strip("/")
        with (
            pytest.raises(CommandEnded, match="in use") as ended,
            running_command(*TWO, "--port", port, "workers_wsgi:app"),
        ):
            pass  # never entered
        assert "started" not in str(ended.value)


# --- what operators ask of it


@both
def test_sigterm_to_one_worker_has_it_replaced_and_lets_nobody_down(app: str, loop: str) -> None:
    """[STOP-3] [PROC-1] Its successor is ready first."""
    with running_command(*TWO, "--loop", loop, app) as command, Visitors(command.url) as visitors:
        visitors.wait_for(20)
        leaving, staying = command.workers
        os.kill(leaving, signal.SIGTERM)
        command.wait_for_log(f"pid={leaving} gone code=0")
        visitors.wait_for(20)
        visitors.leave()
        assert visitors.let_down == []
        assert staying in command.workers
        assert in_this_order(
            command,
            f"pid={leaving} to be replaced reason=it was sent SIGTERM",
            f"pid={command.workers[-1]} ready",
            f"pid={leaving} retires",
            f"pid={leaving} gone",
        )


def test_sigterm_to_all_workers_at_once_replaces_one_after_the_other() -> None:
    """[PROC-1] One at a time."""
    with running_command(*TWO, "workers_wsgi:app") as command, Visitors(command.url) as visitors:
        before = command.workers
        for pid in before:
            os.kill(pid, signal.SIGTERM)
        command.wait_for_lines("gone code=0", 2)
        visitors.leave()
        assert visitors.let_down == []
        fates = re.findall(r"pid=\d+ (started|retires|gone)", command.log)
        assert fates == ["started", "started", *("started", "retires", "gone") * 2]


def test_sigttin_and_sigttou_change_how_many_serve() -> None:
    """[PROC-3]."""
    with running_command(*TWO, "workers_wsgi:app") as command:
        command.signal(signal.SIGTTIN)
        command.wait_for_log("workers wanted=3 before=2")
        command.wait_for_lines("ready after=", 3)
        assert everybody(command.url, 3) == texts(command.workers)
        for wanted in (2, 1):
            command.signal(signal.SIGTTOU)
            command.wait_for_log(f"workers wanted={wanted} before={wanted + 1}")
        command.wait_for_lines("gone code=0", 2)
        assert len(command.workers) == 1
        command.signal(signal.SIGTTOU)
        command.wait_for_log("workers wanted=1 before=1")
        assert ask(command.url).text == str(command.workers[0])


def in_this_order(command: RunningCommand, *texts: str) -> bool:
    """Say whether the log has all of *texts*, each later than the one before."""
    place = 0
    for text in texts:
        found = command.log.find(text, place)
        if found < 0:
            return False
        place = found + len(text)
    return True

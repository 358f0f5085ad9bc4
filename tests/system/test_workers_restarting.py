"""New settings and code without a stop, and what else operators ask of a server.  [PROC-3]"""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.commands import running_command
from support.visitors import Visitors, ask, everybody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commands import RunningCommand

APPS: Final = Path(__file__).parent.parent / "apps"
SETTINGS: Final = {"workers": 2, "threads": 2, "app_dir": str(APPS), "app": "workers_wsgi:app"}


CODE: Final = """\
VERSION = {!r}

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [VERSION.encode()]
"""


def settle(directory: Path, **changed: object) -> None:
    """Write the settings file."""
    lines = [f"{name} = {value!r}\n" for name, value in {**SETTINGS, **changed}.items()]
    (directory / "asgibridge.toml").write_text("".join(lines))


@contextmanager
def serving(directory: Path, **env: str) -> Iterator[RunningCommand]:
    settle(directory)
    with running_command(cwd=directory, env=env) as command:
        yield command


def hang_up(command: RunningCommand, *, serves: int) -> None:
    """Ask for a restart and wait for its end: two have gone, and *serves* new ones are ready."""
    command.signal(signal.SIGHUP)
    command.wait_for_lines("gone code=0", 2)
    command.wait_for_lines("ready after=", 2 + serves)


# --- SIGHUP


def test_a_restart_replaces_all_workers_and_lets_nobody_down(tmp_path: Path) -> None:
    """[STOP-3] One after the other, each successor first."""
    with serving(tmp_path) as command, Visitors(command.url) as visitors:
        visitors.wait_for(20)
        before = command.workers
        hang_up(command, serves=2)
        visitors.wait_for(20)
        visitors.leave()
        assert visitors.let_down == []
        assert not {*before} & {*command.workers}
        fates = re.findall(r"pid=\d+ (started|retires|gone)", command.log)
        assert fates == ["started", "started", *("started", "retires", "gone") * 2]
        assert command.log.count("retires reason=restart") == 2
        assert everybody(command.url, 2) == {str(pid) for pid in command.workers}


def test_a_restart_takes_new_settings_and_new_code(tmp_path: Path) -> None:
    (tmp_path / "site_of_two_versions.py").write_text(CODE.format("old"))
    settle(tmp_path, app="site_of_two_versions:app", app_dir=str(tmp_path))
    with running_command(cwd=tmp_path) as command:
        assert ask(command.url).text == "old"
        settle(
            tmp_path, app="site_of_two_versions:app", app_dir=str(tmp_path), workers=3, threads=5
        )
        # Of another length, or Python might take the compiled old one for it.
        (tmp_path / "site_of_two_versions.py").write_text(CODE.format("the new one"))
        hang_up(command, serves=3)
        assert len(command.workers) == 3
        assert ask(command.url).text == "the new one"
        command.signal(signal.SIGUSR2)
        assert len(command.wait_for_lines(" busy=0/5 ", 3)) == 3


def test_a_restart_takes_fewer_workers(tmp_path: Path) -> None:
    with serving(tmp_path) as command:
        settle(tmp_path, workers=1)
        hang_up(command, serves=1)
        assert len(command.workers) == 1
        assert everybody(command.url, 2) == {str(pid) for pid in command.workers}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"threads": "many"}, "threads"),
        ({"host": "127.0.0.2"}, "where to listen cannot change; stop and start instead"),
    ],
    ids=["broken settings", "another address"],
)
def test_a_restart_that_cannot_be_is_refused(
    settings: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    with serving(tmp_path) as command:
        before = command.workers
        settle(tmp_path, **settings)
        command.signal(signal.SIGHUP)
        assert complaint in command.wait_for_log("restart refused")
        assert command.workers == before
        assert everybody(command.url, 2) == {str(pid) for pid in before}
        # And a later one, put right, is not.
        settle(tmp_path)
        hang_up(command, serves=2)
        assert not {*before} & {*command.workers}


def test_an_application_that_fails_to_load_leaves_the_old_ones_serving(tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    with serving(tmp_path, BROKEN=str(flag)) as command, Visitors(command.url) as visitors:
        before = command.workers
        flag.write_text("raise")
        command.signal(signal.SIGHUP)
        command.wait_for_log("restart given up, everything stays as it is")
        assert "RuntimeError: broken on purpose" in command.log
        visitors.wait_for(20)
        visitors.leave()
        assert visitors.let_down == []
        assert command.workers == before
        assert visitors.pids <= {str(pid) for pid in before}
        flag.unlink()
        hang_up(command, serves=2)
        assert everybody(command.url, 2) == {str(pid) for pid in command.workers}


def test_after_a_restart_given_up_the_old_settings_hold(tmp_path: Path) -> None:
    """A worker that dies then is replaced by one like it."""
    with serving(tmp_path) as command:
        settle(tmp_path, threads=7, app="no_such_module:app")
        command.signal(signal.SIGHUP)
        command.wait_for_log("restart given up")
        command.wait_for_log("could not start")
        os.kill(command.workers[0], signal.SIGKILL)
        command.wait_for_lines("ready after=", 3)
        command.signal(signal.SIGUSR2)
        assert len(command.wait_for_lines(" busy=0/2 ", 2)) == 2


# --- SIGUSR1


LOGGING: Final = """\
version = 1
disable_existing_loggers = false
[formatters.plain]
format = "%(process)d %(levelname)s %(message)s"
[handlers.file]
class = "logging.FileHandler"
filename = "FILE"
formatter = "plain"
[handlers.console]
class = "logging.StreamHandler"
formatter = "plain"
[loggers.asgibridge]
level = "INFO"
handlers = ["file", "console"]
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_sigusr1_reopens_log_files_in_every_process(workers: int, tmp_path: Path) -> None:
    file = tmp_path / "site.log"
    (tmp_path / "logging.toml").write_text(LOGGING.replace("FILE", str(file)))
    with running_command(
        *("--app-dir", str(APPS), "--workers", str(workers), "--log-config", "logging.toml"),
        "workers_wsgi:app",
        cwd=tmp_path,
    ) as command:
        file.rename(tmp_path / "site.log.1")
        command.signal(signal.SIGUSR1)
        processes = {command.pid, *command.workers}
        command.wait_for_lines("log files reopened", len(processes))
        command.signal(signal.SIGTERM)
        assert command.wait(20) == 0
        told = file.read_text()
        for pid in processes:
            assert f"{pid} INFO log files reopened count=1\n" in told
        assert "stopping" not in (tmp_path / "site.log.1").read_text()


# --- SIGUSR2


def test_sigusr2_shows_every_worker_even_one_whose_loop_is_blocked() -> None:
    with running_command(
        *("--app-dir", str(APPS), "--workers", "2", "--graceful-timeout", "1", "workers_asgi:app")
    ) as command:
        with pytest.raises(TimeoutError):
            ask(command.url, "/blocks", timeout=0.5)
        blocked = int(command.wait_for_log("in /blocks").split("pid=")[1])
        command.signal(signal.SIGUSR2)
        command.wait_for_log("workers wanted=2")
        command.wait_for_lines(" all threads:", 2)
        command.wait_for_log("in app: time.sleep(")
        for pid in command.workers:
            assert re.search(rf"worker=\d pid={pid} stage=ready age=\d+s rss=", command.log)
            assert f"[{pid}] all threads:" in command.log
        # What is in flight, by the one that can tell nothing itself.
        assert "GET /blocks" in command.log
        assert blocked in command.workers


def test_sigusr2_to_a_process_alone_shows_it() -> None:
    with running_command("--app-dir", str(APPS), "workers_wsgi:app") as command:
        command.signal(signal.SIGUSR2)
        command.wait_for_log(" all threads:")
        command.wait_for_log("thread 'MainThread'")
        assert ask(command.url).status == 200

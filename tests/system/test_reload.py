"""Development reload: changed code answers the next request, whatever state the old one was in."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import psutil
import pytest
from support.commands import running_command
from support.visitors import Visitors, ask, dial

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from support.commands import RunningCommand

# Seconds; only a test that fails waits so long.
PATIENCE: Final = 20.0
# Seconds that an application gets to finish, as the documentation says.
GRACE: Final = 2.0
# Seconds by which a loaded machine may be late.
SLACK: Final = 2.0

CODE: Final = """\
import sys, time
{preface}
ANSWER = {answer!r}

def app(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        sys.stderr.write("in /stuck\\n")
        sys.stderr.flush()
        time.sleep(3600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [ANSWER.encode()]
"""


def write(directory: Path, answer: str, *, preface: str = "") -> None:
    """Write the application; of another length each time, or Python might take it for the old."""
    (directory / "edited_site.py").write_text(CODE.format(answer=answer, preface=preface))


@contextmanager
def serving(directory: Path, *args: str) -> Iterator[RunningCommand]:
    write(directory, "old")
    with running_command("--reload", *args, "edited_site:app", cwd=directory) as command:
        assert "reloading when files change in" in command.log
        assert ask(command.url).text == "old"
        yield command


def send(url: str) -> socket.socket:
    """Send a request, and leave its answer for later."""
    sock = dial(url)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return sock


def answer_to(sock: socket.socket) -> str:
    data = b""
    with sock:
        while piece := sock.recv(65536):
            data += piece
    return data.partition(b"\r\n\r\n")[2].decode()


def test_changed_code_answers_and_nobody_is_let_down(tmp_path: Path) -> None:
    """Requests that come meanwhile wait for the new code, be it as slow to import as it likes."""
    with serving(tmp_path) as command, Visitors(command.url) as visitors:
        visitors.wait_for(20)
        write(tmp_path, "the new one", preface="time.sleep(0.5)")
        assert "edited_site.py" in command.wait_for_log("reloading changed=")
        command.wait_for_log("gone code=0")
        assert answer_to(send(command.url)) == "the new one"
        visitors.wait_for(20)
        visitors.leave()
        assert visitors.let_down == []
        assert visitors.pids == {"old", "the new one"}
        # And once more: everything is watched as before.
        write(tmp_path, "newest")
        command.wait_for_lines("ready after=", 3)
        assert ask(command.url).text == "newest"


def test_a_mistake_is_shown_and_once_it_is_mended_the_code_serves(tmp_path: Path) -> None:
    """Requests wait for that too."""
    with serving(tmp_path) as command:
        write(tmp_path, "never", preface="def broken(:")
        command.wait_for_log("waiting for the next change")
        assert "def broken(:" in command.log
        assert "SyntaxError" in command.log
        waiting = send(command.url)
        write(tmp_path, "mended it")
        assert answer_to(waiting) == "mended it"
        command.signal(signal.SIGTERM)
        assert command.wait(PATIENCE) == 0


def test_a_mistake_at_the_very_start_is_waited_for_as_well(tmp_path: Path) -> None:
    """Who has just begun to write an application need not start the server again and again."""
    write(tmp_path, "never", preface="raise RuntimeError('not yet')")
    with running_command(
        "--reload", "edited_site:app", cwd=tmp_path, until="waiting for the next change"
    ) as command:
        assert "RuntimeError: not yet" in command.log
        # The files may be watched a moment later than the first start fails: save until it is seen.
        while "reloading changed=" not in command.log:
            write(tmp_path, "ready now")
            with suppress(TimeoutError):
                command.wait_for_log("reloading changed=", 0.2)
        command.wait_for_log("ready pid=")
        assert ask(command.url).text == "ready now"


def test_an_application_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    with serving(tmp_path) as command:
        hanging = send_to_the_hanging(command)
        begun = time.monotonic()
        write(tmp_path, "the new one")
        assert ask(command.url).text in {"old", "the new one"}
        command.wait_for_lines("ready after=", 2, GRACE + SLACK + 1)
        assert GRACE - 0.5 < time.monotonic() - begun < GRACE + SLACK + 1
        assert ask(command.url).text == "the new one"
        assert "GET /stuck" in command.log
        hanging.close()


def send_to_the_hanging(command: RunningCommand) -> socket.socket:
    sock = dial(command.url)
    sock.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
    command.wait_for_log("in /stuck")
    return sock


def test_only_the_files_that_were_asked_for_are_watched(tmp_path: Path) -> None:
    for name in ("pages", "drafts", "elsewhere"):
        (tmp_path / name).mkdir()
    with serving(
        tmp_path,
        *("--reload-dir", "pages", "--reload-dir", "drafts"),
        *("--reload-include", "*.py", "--reload-include", "*.html"),
        *("--reload-exclude", "drafts", "--reload-exclude", "*.generated.html"),
    ) as command:
        for unwanted in (
            *("elsewhere/b.html", "drafts/b.html", "pages/b.txt", "pages/b.generated.html"),
            *("pages/.hidden.html", "edited_site.py"),
        ):
            (tmp_path / unwanted).write_text("# changed\n" + CODE.format(answer="x", preface=""))
        (tmp_path / "pages" / "a.html").write_text("changed")
        line = command.wait_for_log("reloading changed=")
        assert line.split("changed=")[1] == str(tmp_path / "pages" / "a.html")
        command.wait_for_lines("ready after=", 2)
        assert command.log.count("reloading changed=") == 1


def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    write(tmp_path, "old")
    with running_command(
        *("--reload", "--reload-dir", "pages", "edited_site:app"),
        cwd=tmp_path,
        until="reload cannot watch",
    ) as command:
        assert command.wait(PATIENCE) == 3
        assert "pages: no such directory; correct it" in command.log_lines[-1]


def test_without_watchfiles_the_message_says_what_to_install(tmp_path: Path) -> None:
    """None in `sys.modules` is how Python marks a module that cannot be imported."""
    write(tmp_path, "old")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['watchfiles'] = None\n")
    with running_command(
        *("--reload", "edited_site:app"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        until="watchfiles",
    ) as command:
        assert command.wait(PATIENCE) == 3
        assert command.log_lines[-1] == (
            "asgibridge: reload needs watchfiles; run `pip install 'asgibridge[reload]'`"
        )


@pytest.mark.parametrize(
    ("number", "send_signal", "code"),
    [
        pytest.param(signal.SIGINT, "signal_group", 0, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, "signal", 0, id="SIGTERM"),
        pytest.param(signal.SIGKILL, "signal", -9, id="SIGKILL"),
    ],
)
def test_all_three_processes_end(
    number: signal.Signals, send_signal: str, code: int, tmp_path: Path
) -> None:
    """[PROC-5] The supervisor, the worker, and the one that watches the files."""
    with serving(tmp_path) as command:
        children = psutil.Process(command.pid).children()
        assert len(children) == 2
        ends = [os.pidfd_open(each.pid) for each in children]
        getattr(command, send_signal)(number)
        assert command.wait(PATIENCE) == code
        for end in ends:
            assert select.select([end], [], [], PATIENCE)[0]
            os.close(end)
        assert "Traceback" not in command.log
        assert "nobody watches" not in command.log

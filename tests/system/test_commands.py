"""The driver of the installed command keeps its own promises."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
from support.commands import CommandEnded, installed_script, running_command

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

LOUD_CHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child started", file=sys.stderr)
print("to stdout")
"""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    (tmp_path / "hello_site.py").write_text(HELLO)
    return tmp_path


def test_command_is_ready_when_the_block_is_entered(hello: Path) -> None:
    with running_command("hello_site:app", cwd=hello) as command:
        assert httpx.get(command.url).text == "hello"
        assert command.urls == [command.url]
        assert f"pid={command.pid}" in command.wait_for_log("ready pid=")


def test_command_listens_where_the_arguments_say(hello: Path) -> None:
    with running_command("--uds", "site.sock", "hello_site:app", cwd=hello) as command:
        assert command.url.startswith("unix:")
        transport = httpx.HTTPTransport(uds=str(hello / "site.sock"))
        with httpx.Client(transport=transport) as client:
            assert client.get("http://site/").text == "hello"


def test_settings_of_the_caller_do_not_reach_the_command(
    hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGIBRIDGE_THREADS", "nonsense")
    monkeypatch.setenv("PORT", "1")
    with running_command("hello_site:app", cwd=hello) as command:
        assert httpx.get(command.url).text == "hello"


def test_env_reaches_the_command(hello: Path) -> None:
    with running_command("hello_site:app", cwd=hello, env={"ASGIBRIDGE_THREADS": "3"}) as command:
        assert "threads=3" in command.wait_for_log("ready pid=")


def test_signal_and_exit_code_and_the_whole_log_are_seen(hello: Path) -> None:
    with running_command("hello_site:app", cwd=hello) as command:
        command.signal(signal.SIGTERM)
        assert command.wait(10) == 0
        assert "stopped " in command.log_lines[-1]


def test_a_command_that_cannot_start_tells_its_own_log(tmp_path: Path) -> None:
    (tmp_path / "broken_site.py").write_text("raise RuntimeError('no such boiler')\n")
    with (
        pytest.raises(CommandEnded, match="no such boiler"),
        running_command("broken_site:app", cwd=tmp_path),
    ):
        pass  # never entered


def test_waiting_for_a_line_that_does_not_come_is_bounded(hello: Path) -> None:
    with running_command("hello_site:app", cwd=hello) as command:
        with pytest.raises(TimeoutError, match="ready pid="):
            command.wait_for_log("never said", timeout=0.05)
        assert httpx.get(command.url).text == "hello"


def test_wait_is_bounded_while_the_command_runs(hello: Path) -> None:
    with (
        running_command("hello_site:app", cwd=hello) as command,
        pytest.raises(subprocess.TimeoutExpired),
    ):
        command.wait(0.05)


def test_a_command_that_does_not_stop_is_killed(hello: Path) -> None:
    with running_command("hello_site:app", cwd=hello, stop_timeout=0.1) as command:
        command.signal(signal.SIGSTOP)  # SIGTERM stays pending, as for a process that hangs
    assert command.wait(0) == -signal.SIGKILL


def test_what_the_command_started_ends_with_it(tmp_path: Path) -> None:
    """The child holds stderr open, so the driver's end would fail if the child lived on."""
    (tmp_path / "child_site.py").write_text(LOUD_CHILD + HELLO)
    with running_command("child_site:app", cwd=tmp_path) as command:
        command.wait_for_log("child started")
        assert command.output_lines == ["to stdout"]


def test_a_missing_script_is_told_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    with pytest.raises(FileNotFoundError, match="/nowhere/bin/asgibridge is missing"):
        installed_script()

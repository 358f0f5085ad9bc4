"""Drive the installed command: start it, wait for its log, signal it, and always end it.

    with running_command("flask_site:app", "--app-dir", str(APPS)) as command:
        httpx.get(command.url)
        command.signal(signal.SIGTERM)
        assert command.wait(10) == 0

Nothing here polls a port: the command's own log says when it is ready.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "READY",
    "START_TIMEOUT",
    "CommandEnded",
    "RunningCommand",
    "environment",
    "installed_script",
    "running_command",
    "running_program",
]

# Seconds.  Importing Django on a loaded machine of two cores takes a few.
START_TIMEOUT: Final = 40.0
# Seconds from SIGTERM to SIGKILL: most tests leave nothing open, so a good server needs far less.
STOP_TIMEOUT: Final = 10.0
# Seconds for a reader thread to meet the end of a pipe that nobody holds any more.
DRAIN_TIMEOUT: Final = 5.0
# One of these says where to listen; without any of them a free port is asked for.
PLACES: Final = frozenset({"--bind", "--fd", "--host", "--port", "--uds"})
# The whole of it: "address already in use" has "ready " inside.
READY: Final = "ready pid="
# What the supervisor says of a worker that comes or goes.
_WORKER: Final = re.compile(r"worker=\d+ pid=(\d+) (ready|retires|gone|died|killed)\b")
# Settings of whoever runs the tests would change what the command does.
FOREIGN_SETTINGS: Final = frozenset(
    {
        *("HOST", "PORT", "WEB_CONCURRENCY", "LISTEN_FDS", "LISTEN_PID"),
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    }
)


class CommandEnded(Exception):  # noqa: N818 - an event to tell, as EOFError would be
    """The command ended before its log said what the test waits for."""


class _Lines:
    """The lines of one pipe, gathered by a thread of its own.

    Thread: the reader appends, any other may look; `_changed` guards both.
    """

    def __init__(self, pipe: IO[str], name: str) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(pipe,), name=name, daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def all(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    def all_with(self, text: str) -> list[str]:
        # Needs: self._changed.
        return [line for line in self._lines if text in line]

    def wait_for(self, text: str, timeout: float, count: int = 1) -> list[str]:
        """Wait until *count* lines contain *text*, and answer all that do.

        Raises:
            CommandEnded: the pipe ended without so many.
            TimeoutError: *timeout* seconds went by without so many.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or len(self.all_with(text)) >= count, timeout
            )
            found = self.all_with(text)
            ended = self._ended
        if len(found) >= count:
            return found
        log = "\n".join(self.all())
        wanted = text if count == 1 else f"{text} {count} times"
        if ended:
            raise CommandEnded(f"the command ended before it logged {wanted!r}; its log:\n{log}")
        raise TimeoutError(f"no {wanted!r} in the log within {timeout} s:\n{log}")

    def join(self, timeout: float) -> bool:
        """Say whether the end of the pipe was met within *timeout* seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


class RunningCommand:
    """A started `asgibridge serve`: where it listens, what it logs, how it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdout = _Lines(process.stdout, "command stdout")
        self._stderr = _Lines(process.stderr, "command stderr")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def urls(self) -> list[str]:
        """Every listener, as the log names it."""
        mark = "listening on "
        return [line.split(mark, 1)[1].strip() for line in self.log_lines if mark in line]

    @property
    def url(self) -> str:
        """The first listener."""
        return self.urls[0]

    @property
    def log_lines(self) -> list[str]:
        """What it wrote to stderr until now."""
        return self._stderr.all()

    @property
    def output_lines(self) -> list[str]:
        """What it wrote to stdout until now."""
        return self._stdout.all()

    def wait_for_log(self, text: str, timeout: float = 10.0) -> str:
        """Wait for the first line on stderr that contains *text*, and answer it.

        Raises:
            CommandEnded: stderr ended without such a line.
            TimeoutError: *timeout* seconds went by without one.
        """
        return self._stderr.wait_for(text, timeout)[0]

    def wait_for_lines(self, text: str, count: int, timeout: float = 10.0) -> list[str]:
        """Wait until *count* lines on stderr contain *text*, and answer all that do.

        Raises:
            CommandEnded: stderr ended without so many.
            TimeoutError: *timeout* seconds went by without so many.
        """
        return self._stderr.wait_for(text, timeout, count)

    def wait_for_output(self, text: str, timeout: float = 10.0) -> str:
        """Wait for the first line on stdout that contains *text*, and answer it.

        Raises:
            CommandEnded: stdout ended without such a line.
            TimeoutError: *timeout* seconds went by without one.
        """
        return self._stdout.wait_for(text, timeout)[0]

    @property
    def log(self) -> str:
        """What it wrote to stderr until now, as one text."""
        return "\n".join(self.log_lines)

    @property
    def workers(self) -> list[int]:
        """The workers that serve, as its log tells: ready, and neither gone nor told to go."""
        serving: list[int] = []
        for line in self.log_lines:
            told = _WORKER.search(line)
            if told is None:
                continue
            pid, what = int(told[1]), told[2]
            if what == "ready":
                serving.append(pid)
            elif pid in serving:
                serving.remove(pid)
        return serving

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the command and all it has started, as a terminal does."""
        os.killpg(self._process.pid, number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone, as a service manager does."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait for its end and answer the exit code; the log is complete then.

        Raises:
            subprocess.TimeoutExpired: it still ran after *timeout* seconds.
        """
        code = self._process.wait(timeout)
        self._stderr.join(DRAIN_TIMEOUT)
        self._stdout.join(DRAIN_TIMEOUT)
        return code

    def end(self, timeout: float) -> None:
        """End the command and whatever it started: politely for *timeout* seconds, then at once."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        # The group outlives its leader while a child of the command is left.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._stderr.join(DRAIN_TIMEOUT), "somebody outside the group holds stderr"
        assert self._stdout.join(DRAIN_TIMEOUT), "somebody outside the group holds stdout"


def installed_script() -> Path:
    """Answer the console script of the environment that runs the tests.

    Raises:
        FileNotFoundError: the package is not installed there.
    """
    script = Path(sys.executable).with_name("asgibridge")
    if not script.is_file():
        raise FileNotFoundError(f"{script} is missing: install the package where the tests run")
    return script


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """Answer the environment of the tests, without settings for a server, and with *extra*."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN_SETTINGS and not name.startswith("ASGIBRIDGE_")
    }
    # A pipe makes Python buffer what an application prints; a test waits for it.
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}


@contextmanager
def running_command(
    *args: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stop_timeout: float = STOP_TIMEOUT,
    until: str = READY,
) -> Iterator[RunningCommand]:
    """Run `asgibridge serve` with *args* until the block is left, ready when it is entered.

    Listens on a free port of 127.0.0.1 unless *args* say where.

    Args:
        *args: options and the application, as after `asgibridge serve`.
        cwd: where it starts; the directory of the tests' caller by default.
        env: variables beside those of the tests.
        stop_timeout: seconds between SIGTERM and SIGKILL when the block is left.
        until: what its log has said when the block is entered.

    Raises:
        CommandEnded: it ended before it was ready; the message carries its log.
        TimeoutError: it was not ready in time.
    """
    place = () if any(arg.split("=", 1)[0] in PLACES for arg in args) else ("--port", "0")
    words = [str(installed_script()), "serve", *place, *args]
    with running_program(
        words, cwd=cwd, env=env, stop_timeout=stop_timeout, until=until
    ) as command:
        yield command


@contextmanager
def running_program(
    words: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stop_timeout: float = STOP_TIMEOUT,
    until: str = READY,
    pass_fds: Sequence[int] = (),
) -> Iterator[RunningCommand]:
    """Run any program that serves, a script that calls `asgibridge.run`, say.

    It leads a process group of its own, so that a signal for the tests does not reach it and
    nothing that it starts is left over.

    Args:
        words: the program and its arguments.
        cwd: as for `running_command`, like the others.
        env: same.
        stop_timeout: same.
        until: same.
        pass_fds: descriptors that it inherits.

    Raises:
        CommandEnded: it ended before it was ready; the message carries its log.
        TimeoutError: it was not ready in time.
    """
    with subprocess.Popen(
        words,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        process_group=0,
        pass_fds=pass_fds,
    ) as process:
        command = RunningCommand(process)
        try:
            command.wait_for_log(until, START_TIMEOUT)
            yield command
        finally:
            command.end(stop_timeout)

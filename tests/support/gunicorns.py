"""A real gunicorn with our worker class, run as its users run it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.commands import READY, START_TIMEOUT, RunningCommand, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RunningGunicorn", "gunicorn_command", "running_gunicorn"]

# Seconds from SIGTERM to SIGKILL for its process group.
STOP_TIMEOUT = 10.0


class RunningGunicorn(RunningCommand):
    """A started gunicorn: where it listens, what it and its workers log, how it ends."""

    @property
    def urls(self) -> list[str]:
        """Every listener, as its log names it."""
        marks = [line for line in self.log_lines if "Listening at: " in line]
        return marks[0].split("Listening at: ")[1].split(" ")[0].split(",") if marks else []

    @property
    def worker_pids(self) -> list[int]:
        """The workers that have become ready, in that order, those that are gone included."""
        found = [line.split(READY)[1] for line in self.log_lines if READY in line]
        return [int(rest.split(" ")[0]) for rest in found]


def gunicorn_command(*args: str) -> list[str]:
    """Answer the command line that starts gunicorn with our worker class."""
    script = Path(sys.executable).with_name("gunicorn")
    # Its control socket would lie in the home directory of whoever runs the tests.
    quiet = ["--no-control-socket"]
    return [str(script), "-k", "asgibridge.gunicorn.Worker", *quiet, *args]


@contextmanager
def running_gunicorn(
    *args: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    workers: int = 1,
    ready: str = READY,
) -> Iterator[RunningGunicorn]:
    """Run gunicorn with *args* until the block is left; *workers* are ready when it is entered.

    Listens on a free port of 127.0.0.1 unless *args* say where.

    Args:
        *args: options and the application.
        cwd: where it starts, and looks for `gunicorn.conf.py` and the application.
        env: variables beside those of the tests.
        workers: how many.
        ready: what each of them logs when it is.

    Raises:
        CommandEnded: it ended before it was ready; the message carries its log.
        TimeoutError: it was not ready in time.
    """
    place = () if "--bind" in args else ("--bind", "127.0.0.1:0")
    with subprocess.Popen(
        gunicorn_command("--workers", str(workers), *place, *args),
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        process_group=0,
    ) as process:
        command = RunningGunicorn(process)
        try:
            command.wait_for_log(ready, START_TIMEOUT, count=workers)
            yield command
        finally:
            command.end(STOP_TIMEOUT)

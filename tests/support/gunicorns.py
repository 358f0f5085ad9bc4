"""A real gunicorn with our worker class, run as its users run it, and clients of exact bytes."""

from __future__ import annotations

import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from support.commands import READY, START_TIMEOUT, running_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import ExitStack

    from support.commands import RunningCommand

__all__ = [
    "dial",
    "gunicorn_command",
    "port_of",
    "running_gunicorn",
    "url_of",
    "worker_pids",
]


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
    until: str = READY,
) -> Iterator[RunningCommand]:
    """Run gunicorn with *args* until the block is left; *workers* are ready when it is entered.

    Listens on a free port of 127.0.0.1 unless *args* say where.

    Args:
        *args: options and the application.
        cwd: where it starts, and looks for `gunicorn.conf.py` and the application.
        env: variables beside those of the tests.
        workers: how many.
        until: what each of them logs when it is ready.

    Raises:
        CommandEnded: it ended before it was ready; the message carries its log.
        TimeoutError: it was not ready in time.
    """
    place = () if "--bind" in args else ("--bind", "127.0.0.1:0")
    words = gunicorn_command("--workers", str(workers), *place, *args)
    with running_program(words, cwd=cwd, env=env, until=until) as command:
        command.wait_for_lines(until, workers, START_TIMEOUT)
        yield command


def url_of(command: RunningCommand) -> str:
    """The first listener, as gunicorn's log names it."""
    line = command.wait_for_log("Listening at: ")
    return line.split("Listening at: ")[1].split(" ")[0].split(",")[0]


def port_of(command: RunningCommand) -> int:
    """The port of the first listener."""
    return int(urlsplit(url_of(command)).port or 0)


def worker_pids(command: RunningCommand) -> list[int]:
    """The workers that have become ready, in that order, those that are gone included."""
    found = [line.split(READY)[1] for line in command.log_lines if READY in line]
    return [int(rest.split(" ")[0]) for rest in found]


def dial(command: RunningCommand, stack: ExitStack) -> socket.socket:
    """Connect a client, until *stack* is left."""
    address = ("127.0.0.1", port_of(command))
    return stack.enter_context(socket.create_connection(address, timeout=20))

"""Development reload: hear of changed files, and forget what was imported from them.

The files are watched by watchfiles, whose watcher is a thread, in a process of its own: so the
supervisor stays without threads, and may fork.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asgibridge.errors import StartError
from asgibridge.supervision.titles import set_title

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asgibridge.config.settings import Config

__all__ = [
    "RELOAD_GRACE",
    "ChangeWatcher",
    "forget_modules",
    "is_own",
    "is_wanted",
    "watched_directories",
]

RELOAD_GRACE: Final = 2.0
"""Seconds that an application gets to finish before its changed code is loaded."""

# Milliseconds between two looks of the watcher at whether its parent still lives.
_LOOK: Final = 1000
# Milliseconds in which changes count as one, after the first: editors and git write many files.
_DEBOUNCE: Final = 300
# Directories whose files nobody edits.
_FOREIGN: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
# What the whole group may hear is for the parent, which then ends the watcher.
_IGNORED: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU),
)


class ChangeWatcher:
    """A process that watches files, and the pipe over which it tells.  Thread: main."""

    def __init__(self, config: Config, release: Callable[[], None]) -> None:
        """Start to watch; *release* lets go, in the child, of what is the parent's.

        Raises:
            StartError: watchfiles is not installed, or a directory is missing.
        """
        if importlib.util.find_spec("watchfiles") is None:
            raise StartError("reload needs watchfiles; run `pip install 'asgibridge[reload]'`")
        directories = watched_directories(config)
        for directory in directories:
            if not directory.is_dir():
                raise StartError(f"reload cannot watch {directory}: no such directory; correct it")
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._received = b""
        parent = os.getpid()
        # No signal may meet the child while it still has the parent's handlers.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            self._pid = os.fork()
            if self._pid == 0:
                try:
                    release()
                    os.close(self._reader)
                    _watch(directories, config, writer, parent)
                finally:
                    os._exit(0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(writer)

    def fileno(self) -> int:
        """Tell the descriptor of the pipe; -1 when there is nothing more to hear."""
        return self._reader

    def take(self) -> list[str]:
        """Return the paths that have changed since the last call, each once.

        Raises:
            EOFError: the watcher has ended.
        """
        try:
            data = os.read(self._reader, 65536)
        except BlockingIOError:
            return []
        if not data:
            self.close()
            raise EOFError
        *lines, self._received = (self._received + data).split(b"\n")
        return sorted({os.fsdecode(line) for line in lines if line})

    def close(self) -> None:
        """Watch no more."""
        if self._reader < 0:
            return
        os.close(self._reader)
        self._reader = -1
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def release(self) -> None:
        """Close the parent's end of the pipe, in a child that has nothing to do with it."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def watched_directories(config: Config) -> list[Path]:
    """Say which directories *config* has watched."""
    return [Path(each).absolute() for each in config.reload_dir or (config.app_dir,)]


def is_own(path: str, directories: Sequence[Path]) -> bool:
    """Say whether *path*, below one of *directories*, is neither hidden nor installed.

    Those that are watched may themselves be hidden, or lie in a hidden one.
    """
    whole = Path(path)
    below = (whole.relative_to(each) for each in directories if whole.is_relative_to(each))
    return any(
        not any(part.startswith(".") or part in _FOREIGN for part in relative.parts)
        for relative in below
    )


def is_wanted(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Say whether a change of *path* matters.

    A pattern matches from the right, as `pathlib.PurePath.match` does; one to exclude may also
    match a directory above.
    """
    whole = Path(path)
    if any(each.match(pattern) for pattern in exclude for each in (whole, *whole.parents)):
        return False
    return any(whole.match(pattern) for pattern in include)


def forget_modules(directories: Iterable[Path]) -> None:
    """Forget every module that was imported from *directories*, so that it is imported anew.

    Only a script that has imported its own code before it called `asgibridge.run` has any.  Its
    main module stays: it is running.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not file or "site-packages" in Path(file).parts:
            continue
        if any(Path(file).is_relative_to(directory) for directory in directories):
            del sys.modules[name]


def _watch(directories: Sequence[Path], config: Config, writer: int, parent: int) -> None:
    """Write the paths that change to *writer*, one a line, until *parent* is gone."""
    from watchfiles import DefaultFilter, watch  # noqa: PLC0415 - it is not installed everywhere

    set_title("watcher", str(config.app or "demo"))
    signal.set_wakeup_fd(-1)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    is_usual = DefaultFilter()  # leaves out what editors and tools write for themselves
    changes = watch(
        *directories,
        watch_filter=lambda change, path: (
            is_usual(change, path)
            and is_own(path, directories)
            and is_wanted(path, config.reload_include, config.reload_exclude)
        ),
        debounce=_DEBOUNCE,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
        raise_interrupt=False,
    )
    for changed in changes:
        if os.getppid() != parent:
            return
        lines = b"".join(os.fsencode(path) + b"\n" for _, path in changed)
        while lines:
            lines = lines[os.write(writer, lines) :]

"""Whether this process may fork: only without other threads, whose locks a child would inherit."""

from __future__ import annotations

import threading
from pathlib import Path

from asgibridge.errors import StartError

__all__ = ["check_threads"]


def check_threads(when: str) -> None:
    """Refuse to fork from a process that has other threads.

    Args:
        when: "before ..." or "on ...", for the message: when they were started.

    Raises:
        StartError: there are some.
    """
    names = [each.name for each in threading.enumerate() if each is not threading.current_thread()]
    count = max(len(names), _native_threads() - 1)
    if count:
        named = f" ({', '.join(names)})" if names else ""
        raise StartError(
            f"workers cannot be forked: {count} thread(s){named} started {when}; start them in the "
            "worker, with the application's first request or start-up event, or do without preload"
        )


def _native_threads() -> int:
    """Count all threads of this process, those of C libraries too; 1 where that is not told."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1

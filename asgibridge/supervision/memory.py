"""How much memory a process has, and how much there is.  psutil reads the former portably."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from asgibridge.config.memory import bytes_of
from asgibridge.process.capacity import cgroup_files

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "available_memory",
    "cgroup_memory",
    "in_megabytes",
    "limit_in_bytes",
    "resident",
    "unshared",
]

# Version 1 writes "no limit" as the largest number of pages: some exabytes.
_UNLIMITED: Final = 2**60


def resident(pid: int) -> int | None:
    """Measure the resident memory of *pid*, in bytes; None if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def unshared(pid: int) -> int | None:
    """Measure what *pid* shares with no other process, in bytes; None if that cannot be told."""
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, AttributeError):  # not on every system
        return None


def available_memory() -> int:
    """Tell how much memory this process and its like may use together, in bytes."""
    return min(cgroup_memory(_read) or _UNLIMITED, int(psutil.virtual_memory().total))


def cgroup_memory(read: Callable[[str], str | None]) -> int | None:
    """Find the limit that the cgroup sets, in bytes; None if it sets none.

    Args:
        read: Reads a file of the system, None if there is none.
    """
    limits = []
    for path in cgroup_files(
        read, "memory", version_1="memory.limit_in_bytes", version_2="memory.max"
    ):
        text = (read(path) or "").strip()
        if text.isdecimal() and int(text) < _UNLIMITED:
            limits.append(int(text))
    return min(limits, default=None)


def limit_in_bytes(limit: str | None, available: Callable[[], int]) -> int | None:
    """Turn a limit as settings hold it, a size or a share such as `80%`, into bytes.

    *available* tells of how much it is a share.
    """
    if limit is None:
        return None
    if limit.endswith("%"):
        return int(available() * float(limit[:-1]) / 100)
    return bytes_of(limit)


def in_megabytes(size: int | None) -> str:
    """Write *size*, in bytes, for the log."""
    return f"{size / 2**20:.1f}MB" if size is not None else "unknown"


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None

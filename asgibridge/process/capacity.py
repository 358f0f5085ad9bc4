"""What this process may use: processors and file descriptors, and the defaults that follow."""

from __future__ import annotations

import math
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "cgroup_files",
    "cpu_quota",
    "default_threads",
    "descriptors_needed",
    "next_descriptor_limit",
    "raise_descriptor_limit",
    "too_few_descriptors",
    "usable_cpus",
]

_MAX_DEFAULT_THREADS: Final = 32
_THREADS_PER_CPU: Final = 4

# Descriptors for all but clients: listeners, the loop, logs, spooled request bodies, and what the
# application opens itself, chiefly a database connection or two per thread.
_DESCRIPTOR_RESERVE: Final = 128

_CGROUPS: Final = "/sys/fs/cgroup"


def usable_cpus(
    *,
    granted: Callable[[], int] | None = None,
    read: Callable[[str], str | None] | None = None,
) -> int:
    """Count the processors this process may keep busy: its affinity, cut by its cgroup's quota.

    Part of a processor counts as a whole one, and there is always at least one.

    Args:
        granted: Counts the processors that the affinity allows; None asks the system.
        read: Reads a file of the system, None if there is none; None reads the real ones.
    """
    cpus = (granted or _granted_cpus)()
    quota = cpu_quota(read or _read)
    if quota is not None:
        cpus = min(cpus, math.ceil(quota))
    return max(1, cpus)


def cpu_quota(read: Callable[[str], str | None]) -> float | None:
    """Find how many processors' time the cgroup allows, None if it sets no limit.

    Args:
        read: Reads a file of the system, None if there is none.
    """
    quotas = []
    for path in cgroup_files(read, "cpu", version_1="cpu.cfs_quota_us", version_2="cpu.max"):
        if path.endswith("cpu.max"):
            quotas.append(_quota_v2(read(path)))
        else:
            quotas.append(_quota_v1(read, path.rpartition("/")[0]))
    return min((quota for quota in quotas if quota is not None), default=None)


def cgroup_files(
    read: Callable[[str], str | None], controller: str, *, version_1: str, version_2: str
) -> Iterator[str]:
    """Yield the paths at which this process's cgroup and those above it may set a limit.

    The limit of every group above holds too.  A container without a cgroup namespace is told
    its path on the host but sees its own group at the root of the mount: hence all of the path
    is tried, the root included, and what does not exist sets no limit.

    Args:
        read: Reads a file of the system, None if there is none.
        controller: `cpu` or `memory`.
        version_1: Name of the file under version 1 of cgroups.
        version_2: The same under version 2.
    """
    for line in (read("/proc/self/cgroup") or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        for group in _lineage(path):
            if not controllers:  # cgroups(7): the one line of version 2
                yield f"{_CGROUPS}{group}/{version_2}"
            elif controller in controllers.split(","):
                # The mount is named by its controllers; distributions link each name to it.
                yield f"{_CGROUPS}/{controllers}{group}/{version_1}"
                if controllers != controller:
                    yield f"{_CGROUPS}/{controller}{group}/{version_1}"


def default_threads(cpus: int) -> int:
    """Say how many threads serve a WSGI application on *cpus* processors.

    Four each, since applications wait for databases and services much of the time; at most 32,
    since they share one interpreter lock.
    """
    return min(_MAX_DEFAULT_THREADS, _THREADS_PER_CPU * cpus)


def descriptors_needed(worker_connections: int) -> int:
    """Count the file descriptors a process with that many client connections may need."""
    return worker_connections + _DESCRIPTOR_RESERVE


def raise_descriptor_limit(needed: int) -> int:
    """Raise this process's limit of open files to *needed*, as far as the hard limit allows.

    Never lowers it.

    Returns:
        The limit in force afterwards, less than *needed* if the system refuses more.
        `sys.maxsize` stands for no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = next_descriptor_limit(_finite(soft), _finite(hard), needed)
    if wanted != _finite(soft):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a bound below an infinite hard limit
            return _finite(soft)
    return wanted


def next_descriptor_limit(soft: int, hard: int, needed: int) -> int:
    """Decide the soft limit: *needed* if the present one is lower, within the *hard* one."""
    return max(soft, min(needed, hard))


def too_few_descriptors(*, limit: int, needed: int, worker_connections: int) -> str:
    """Tell the operator that *limit* is lower than *needed*, and what can be done."""
    fitting = worker_connections - (needed - limit)
    other_step = f" or set worker_connections to {fitting} or less" if fitting > 0 else ""
    return (
        f"too few file descriptors: the limit is {limit}, worker_connections={worker_connections} "
        f"needs {needed}; raise the hard limit (`ulimit -n {needed}`, systemd "
        f"LimitNOFILE={needed}, docker --ulimit nofile={needed}){other_step}"
    )


def _granted_cpus() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _lineage(path: str) -> Iterator[str]:
    """Yield *path* and every group above it; the root is the empty string."""
    group = path.rstrip("/")
    while group:
        yield group
        group = group.rpartition("/")[0]
    yield ""


def _quota_v2(text: str | None) -> float | None:
    """Read cpu.max: `$MAX $PERIOD` in microseconds, `max` for no limit."""
    match (text or "").split():
        case [quota, period]:
            return _divide(quota, period)
        case _:
            return None


def _quota_v1(read: Callable[[str], str | None], folder: str) -> float | None:
    quota = read(f"{folder}/cpu.cfs_quota_us") or ""
    period = read(f"{folder}/cpu.cfs_period_us") or ""
    return _divide(quota.strip(), period.strip())  # a quota of -1 is no limit


def _divide(quota: str, period: str) -> float | None:
    if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
        return int(quota) / int(period)
    return None


def _finite(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit

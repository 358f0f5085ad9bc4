"""What a server costs: CPU time of its whole process tree and resident memory, from /proc.

A tree is the leader, its descendants, and whatever else lives in the leader's session (servers are
started as session leaders, so an orphaned child is still found).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Process",
    "ProcessGone",
    "children",
    "connections_dialled",
    "cpu_seconds",
    "parse_stat",
    "process_tree",
    "resident_bytes",
    "serving_process",
]

PROC: Final = Path("/proc")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class ProcessGone(Exception):  # noqa: N818  (a fact, like the names in asgibridge.errors)
    """A process that was to be measured has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One line of /proc/PID/stat, as far as it matters here."""

    pid: int
    parent: int
    session: int
    is_zombie: bool
    """Whether it has ended, and nobody has waited for it yet."""
    own_seconds: float
    """CPU time of its threads, those that have ended included."""
    reaped_seconds: float
    """CPU time of its children that have ended and were waited for."""


def parse_stat(text: str) -> Process:
    """Read /proc/PID/stat, see proc_pid_stat(5).

    The command name, in parentheses, may hold blanks and parentheses: fields count from its end.
    """
    pid = int(text[: text.index(" ")])
    rest = text[text.rindex(")") + 2 :].split()
    utime, stime, cutime, cstime = (int(field) for field in rest[11:15])
    return Process(
        pid=pid,
        parent=int(rest[1]),
        session=int(rest[3]),
        is_zombie=rest[0] == "Z",
        own_seconds=(utime + stime) / TICKS_PER_SECOND,
        reaped_seconds=(cutime + cstime) / TICKS_PER_SECOND,
    )


def process_tree(leader: int) -> list[Process]:
    """Return the living processes of the tree under *leader*."""
    everything: dict[int, Process] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                process = parse_stat((entry / "stat").read_text(encoding="utf-8", errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            everything[process.pid] = process
    members = {pid for pid, process in everything.items() if leader in (pid, process.session)}
    while True:
        children = {p.pid for p in everything.values() if p.parent in members} - members
        if not children:
            return [everything[pid] for pid in sorted(members)]
        members |= children


def children(leader: int) -> list[int]:
    """Return the children of *leader*, those that nobody has waited for yet included.

    Cheaper than `process_tree`, which reads all of /proc: it can be asked under load.
    """
    found: list[int] = []
    try:
        for task in (PROC / str(leader) / "task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended
    return found


def cpu_seconds(tree: Iterable[Process]) -> float:
    """Return the user and system time that *tree* has used since it began.

    A child that ended moves from its own account to its parent's, so differences stay right.
    """
    return sum(process.own_seconds + process.reaped_seconds for process in tree)


def serving_process(before: Iterable[Process], after: Iterable[Process]) -> int:
    """Return the pid of the process that used the most CPU between two looks at one tree.

    Between, not since its start: importing costs a main process more than a few requests do.

    Raises:
        ProcessGone: The tree has ended.
    """
    after = tuple(after)
    if not after:
        raise ProcessGone("the server ended under load")
    used = {process.pid: process.own_seconds for process in before}
    return max(after, key=lambda process: process.own_seconds - used.get(process.pid, 0.0)).pid


def connections_dialled() -> int:
    """Return how many TCP connections this machine has dialled, the loopback's included."""
    lines = (PROC / "net" / "snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])


def resident_bytes(pid: int) -> int:
    """Return the resident set size of process *pid*.

    Raises:
        ProcessGone: It has ended.
    """
    try:
        pages = (PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"process {pid} ended while it was measured") from error
    return int(pages) * PAGE_BYTES

"""How much memory there is, by made-up systems, and how much is used, by this one."""

from __future__ import annotations

import os

from asgibridge.supervision.memory import (
    available_memory,
    cgroup_memory,
    in_megabytes,
    limit_in_bytes,
    resident,
    unshared,
)

V2 = {
    "/proc/self/cgroup": "0::/app/web\n",
    "/sys/fs/cgroup/app/web/memory.max": "max\n",
    "/sys/fs/cgroup/app/memory.max": "536870912\n",
}
V1 = {
    "/proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/1\n",
    "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "104857600\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


def test_the_tightest_limit_of_all_groups_holds() -> None:
    assert cgroup_memory(V2.get) == 512 * 2**20
    assert cgroup_memory(V1.get) == 100 * 2**20


def test_no_group_and_no_limit_are_none() -> None:
    assert cgroup_memory(lambda _: None) is None
    assert cgroup_memory({"/proc/self/cgroup": "0::/\n"}.get) is None


def test_a_share_is_of_what_there_is() -> None:
    assert limit_in_bytes("80%", lambda: 100) == 80
    assert limit_in_bytes("2m", lambda: 100) == 2**21
    assert limit_in_bytes(None, lambda: 100) is None


def test_this_process_uses_some_of_what_there_is() -> None:
    rss, uss = resident(os.getpid()), unshared(os.getpid())
    assert rss is not None
    assert uss is not None
    assert 0 < uss <= rss < available_memory()


def test_a_process_that_is_gone_uses_none() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert resident(child) is None
    assert unshared(child) is None


def test_sizes_for_the_log() -> None:
    assert in_megabytes(3 * 2**19) == "1.5MB"
    assert in_megabytes(None) == "unknown"

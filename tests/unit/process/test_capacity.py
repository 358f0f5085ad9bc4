"""Processors and descriptors: files of cgroups as text, real limits of this process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asgibridge.process.capacity import (
    cpu_quota,
    default_threads,
    descriptors_needed,
    next_descriptor_limit,
    raise_descriptor_limit,
    too_few_descriptors,
    usable_cpus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def cpus_with(files: dict[str, str], *, granted: int = 64) -> int:
    return usable_cpus(granted=lambda: granted, read=files.get)


def v2(quota: str, *, path: str = "/", at: str = "") -> dict[str, str]:
    return {"/proc/self/cgroup": f"0::{path}\n", f"/sys/fs/cgroup{at}/cpu.max": quota + "\n"}


def test_without_cgroups_the_affinity_decides() -> None:
    assert cpus_with({}, granted=6) == 6


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("250000 100000", 3),
        ("10000 100000", 1),
        ("50000 20000", 3),
        ("max 100000", 64),
        ("", 64),
        ("nonsense", 64),
        ("0 100000", 64),
        ("100000 0", 64),
    ],
)
def test_quota_of_version_2_is_rounded_up(quota: str, cpus: int) -> None:
    assert cpus_with(v2(quota)) == cpus


def test_quota_above_the_affinity_changes_nothing() -> None:
    assert cpus_with(v2("800000 100000"), granted=2) == 2


def test_there_is_always_one_cpu() -> None:
    assert cpus_with({}, granted=0) == 1


def test_quota_is_found_in_the_groups_own_folder() -> None:
    files = v2("300000 100000", path="/system.slice/web.service", at="/system.slice/web.service")

    assert cpus_with(files) == 3


def test_tightest_limit_among_the_groups_above_holds() -> None:
    files = v2("400000 100000", path="/a/b/c", at="/a/b/c")
    files["/sys/fs/cgroup/a/b/cpu.max"] = "max 100000"
    files["/sys/fs/cgroup/a/cpu.max"] = "200000 100000"

    assert cpus_with(files) == 2


def test_container_that_is_told_its_path_on_the_host_finds_its_limit_at_the_root() -> None:
    assert cpus_with(v2("200000 100000", path="/docker/4f1d", at="")) == 2


@pytest.mark.parametrize(
    ("controllers", "folder"),
    [("cpu", "cpu"), ("cpu,cpuacct", "cpu,cpuacct"), ("cpu,cpuacct", "cpu")],
)
@pytest.mark.parametrize("group", ["", "/docker/4f1d"])
def test_quota_of_version_1_is_read_wherever_it_is_mounted(
    controllers: str, folder: str, group: str
) -> None:
    files = {
        "/proc/self/cgroup": f"9:name=systemd:/\n4:{controllers}:/docker/4f1d\n3:cpuset:/\n0::/\n",
        f"/sys/fs/cgroup/{folder}{group}/cpu.cfs_quota_us": "150000\n",
        f"/sys/fs/cgroup/{folder}{group}/cpu.cfs_period_us": "100000\n",
    }

    assert cpu_quota(files.get) == 1.5
    assert cpus_with(files) == 2


def test_version_1_writes_minus_one_for_no_limit() -> None:
    files = {
        "/proc/self/cgroup": "4:cpu:/\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }

    assert cpu_quota(files.get) is None


def test_cpuset_and_cpuacct_are_not_the_cpu_controller() -> None:
    files = {
        "/proc/self/cgroup": "4:cpuacct:/\n3:cpuset:/\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }

    assert cpu_quota(files.get) is None


def test_real_machine_grants_between_one_and_all_of_its_cpus() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("cpus", "threads"), [(1, 4), (2, 8), (8, 32), (9, 32), (128, 32)])
def test_default_is_four_threads_a_cpu_up_to_32(cpus: int, threads: int) -> None:
    assert default_threads(cpus) == threads


@pytest.mark.parametrize(
    ("soft", "hard", "needed", "limit"),
    [
        (1024, 4096, 1000, 1024),
        (1024, 4096, 1024, 1024),
        (1024, 4096, 1025, 1025),
        (1024, 4096, 4096, 4096),
        (1024, 4096, 9000, 4096),
        (1024, sys.maxsize, 9000, 9000),
        (sys.maxsize, sys.maxsize, 9000, sys.maxsize),
    ],
)
def test_soft_limit_rises_to_the_need_within_the_hard_one(
    soft: int, hard: int, needed: int, limit: int
) -> None:
    assert next_descriptor_limit(soft, hard, needed) == limit


@pytest.fixture
def soft_limit() -> Iterator[int]:
    """Lower this process's soft limit for one test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_raising_changes_the_real_limit(soft_limit: int) -> None:
    needed = soft_limit + 56

    assert raise_descriptor_limit(needed) == needed
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == needed


def test_limit_that_suffices_is_left_alone(soft_limit: int) -> None:
    assert raise_descriptor_limit(soft_limit - 1) == soft_limit
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft_limit


def test_hard_limit_is_the_end() -> None:
    # In a process of its own: a hard limit can't be raised again.
    script = (
        "import resource\n"
        "from asgibridge.process.capacity import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))\n"
        "print(raise_descriptor_limit(1000), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout == "300 300 300\n"


def test_need_leaves_room_for_more_than_clients() -> None:
    assert descriptors_needed(1000) - 1000 == descriptors_needed(1) - 1 >= 64


def test_message_names_limit_need_and_next_steps() -> None:
    message = too_few_descriptors(limit=1024, needed=1128, worker_connections=1000)

    assert message == (
        "too few file descriptors: the limit is 1024, worker_connections=1000 needs 1128; "
        "raise the hard limit (`ulimit -n 1128`, systemd LimitNOFILE=1128, "
        "docker --ulimit nofile=1128) or set worker_connections to 896 or less"
    )


def test_advised_number_of_connections_fits() -> None:
    fitting = 1000 - (descriptors_needed(1000) - 1024)

    assert descriptors_needed(fitting) == 1024


def test_message_advises_no_impossible_number_of_connections() -> None:
    needed = descriptors_needed(1000)

    message = too_few_descriptors(limit=needed - 1000, needed=needed, worker_connections=1000)

    assert "set worker_connections" not in message
    assert "ulimit -n" in message

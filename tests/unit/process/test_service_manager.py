"""What systemd hears, over the socket that it would open."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asgibridge.process.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(0)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


def test_each_moment_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as sock:
        manager = ServiceManager({"NOTIFY_SOCKET": path})
        manager.ready("workers=2 of 2")
        manager.reloading()
        manager.stopping()
        ready, reloading, stopping = heard(sock)
    assert ready == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=workers=2 of 2"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert stopping == "STOPPING=1\nSTATUS=stopping"


def test_abstract_names_are_understood() -> None:
    name = f"asgibridge-test-{os.getpid()}"
    with listening(f"\0{name}") as sock:
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert len(heard(sock)) == 1


def test_the_watchdog_is_fed_before_half_of_its_time(tmp_path: Path) -> None:
    """The supervisor calls once a second; sd_watchdog_enabled(3) asks for half the interval."""
    path = str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "4711"}
    with listening(path) as sock:
        manager = ServiceManager(environ, pid=4711)
        fed_at = []
        for second in range(20):
            manager.alive(1000.0 + second)
            if heard(sock):
                fed_at.append(second)
    assert fed_at == [0, 4, 8, 12, 16]


def test_another_process_feeds_its_own_watchdog(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}
    with listening(path) as sock:
        ServiceManager(environ, pid=4711).alive(1000.0)
        assert heard(sock) == []


def test_without_a_manager_nothing_happens() -> None:
    manager = ServiceManager({})
    manager.ready("x")
    manager.alive(0.0)


def test_a_manager_that_is_gone_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    manager.ready("x")
    manager.stopping()
    (record,) = caplog.records
    assert "cannot reach NOTIFY_SOCKET" in record.getMessage()

"""The times of pauses, by reason."""

from __future__ import annotations

from asgibridge.net.pauses import PauseReason, PauseTimes


def test_times_add_up_by_reason() -> None:
    times = PauseTimes()
    times.add(PauseReason.RESOURCES, 0.5)
    times.add(PauseReason.RESOURCES, 0.25)
    times.add(PauseReason.MAX_IN_FLIGHT, 1.0)
    assert times.seconds == {
        PauseReason.WORKER_CONNECTIONS: 0.0,
        PauseReason.MAX_IN_FLIGHT: 1.0,
        PauseReason.RESOURCES: 0.75,
    }


def test_each_server_has_times_of_its_own() -> None:
    PauseTimes().add(PauseReason.RESOURCES, 1.0)
    assert sum(PauseTimes().seconds.values()) == 0.0

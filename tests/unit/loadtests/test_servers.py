from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.servers import SERVERS, Launch

PLAIN = Launch(
    python="/venv/bin/python",
    port=1,
    app="working_wsgi:app",
    interface="wsgi",
    threads=4,
    worker_connections=None,
)
WSGI = [name for name, server in SERVERS.items() if "wsgi" in server.interfaces]


@pytest.mark.parametrize("name", WSGI)
def test_nobody_refuses_one_worker(name: str) -> None:
    assert SERVERS[name].refusal(PLAIN) is None


@pytest.mark.parametrize("name", [name for name in WSGI if name != "waitress"])
def test_workers_are_named_on_the_command_line(name: str) -> None:
    launch = replace(PLAIN, workers=7)
    assert SERVERS[name].refusal(launch) is None
    assert "7" in SERVERS[name].command(launch)


def test_what_a_server_does_not_know_is_refused_by_name() -> None:
    launch = replace(PLAIN, workers=4, max_rss_mb=100, max_requests=200)
    assert SERVERS["waitress"].refusal(launch) == "it knows no workers, max_requests, max_rss_mb"
    assert SERVERS["granian"].refusal(launch) == "it knows no max_requests"
    assert SERVERS["asgibridge"].refusal(launch) is None


def test_bounded_peers_take_as_many_connections_as_threads() -> None:
    assert _after(SERVERS["gunicorn-gthread-bounded"].command(PLAIN), "--worker-connections") == [
        "--worker-connections",
        "4",
    ]
    assert _after(SERVERS["granian-bounded"].command(PLAIN), "--backpressure") == [
        "--backpressure",
        "4",
    ]


def _after(command: list[str], flag: str) -> list[str]:
    at = command.index(flag)
    return command[at : at + 2]

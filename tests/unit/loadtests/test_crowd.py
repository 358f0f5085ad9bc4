from __future__ import annotations

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from loadtests.crowd import Crowd, Plan, schedule

if TYPE_CHECKING:
    from collections.abc import Iterator


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/bad" else 200)
        self.send_header("X-Worker", str(os.getpid()))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def plan(port: int, seconds: float) -> Plan:
    paths = {"good": "/", "bad": "/bad"}
    shares = {"good": 9, "bad": 1}
    return Plan(port=port, clients=4, seconds=seconds, is_kept=True, paths=paths, shares=shares)


def test_the_crowd_counts_what_it_sees(port: int) -> None:
    crowd = Crowd(plan(port, seconds=1.0))
    try:
        tally = crowd.tally()
    finally:
        crowd.kill()
    assert 1.0 <= tally.seconds < 10
    assert set(tally.kinds) == {"good"}
    assert {request.cause for request in tally.failed} == {"status 500 or above"}
    assert list(tally.workers) == [str(os.getpid())]


def test_the_crowd_can_be_asked_to_finish_early(port: int) -> None:
    began = time.monotonic()
    crowd = Crowd(plan(port, seconds=300.0))
    try:
        crowd.finish()
        crowd.tally()
    finally:
        crowd.kill()
    assert not crowd.is_running
    assert time.monotonic() - began < 30


def test_chance_is_the_same_for_every_server() -> None:
    one, other = plan(1, seconds=1), plan(2, seconds=1)
    assert schedule(one, 3).random() == schedule(other, 3).random()
    assert schedule(one, 3).random() != schedule(one, 4).random()

from __future__ import annotations

import pytest

from loadtests.stuck import StickError, worker_in


def test_the_worker_is_read_from_the_head() -> None:
    assert worker_in(b"HTTP/1.1 200 OK\r\nx-worker: 12\r\nDate: now") == "12"


def test_a_head_without_a_worker_is_refused() -> None:
    with pytest.raises(StickError, match="no worker"):
        worker_in(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0")

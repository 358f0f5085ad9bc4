"""Who has threads must not fork."""

from __future__ import annotations

import threading

import pytest

from asgibridge.errors import StartError
from asgibridge.supervision.forkable import check_threads


def test_another_thread_is_named_and_refused() -> None:
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait, name="poller")
    thread.start()
    try:
        with pytest.raises(StartError, match=r"thread\(s\) \(.*poller.*\) started on import of x"):
            check_threads("on import of x")
    finally:
        is_over.set()
        thread.join()

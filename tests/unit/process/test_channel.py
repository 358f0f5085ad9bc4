"""Messages arrive whole and in order, and the end of the stream is heard."""

from __future__ import annotations

import pytest

from asgibridge.process.channel import (
    Asked,
    Channel,
    Due,
    Dump,
    Failed,
    Message,
    Ready,
    Reopen,
    Stop,
    Unlistened,
)

MESSAGES: list[Message] = [
    Stop(grace=2.5, is_quick=False, is_retiring=True),
    Dump(),
    Reopen(),
    Ready(summary="app=x:y"),
    Failed(message="no module\nnamed x", trace="Traceback …\n"),
    Due(reason="max_requests"),
    Asked(),
    Unlistened(),
]


def test_every_message_arrives_as_it_was_sent() -> None:
    above, below = Channel.pair()
    for message in MESSAGES:
        below.send(message)
    assert list(above.receive()) == MESSAGES
    for message in MESSAGES:
        above.send(message)
    assert list(below.receive()) == MESSAGES
    above.close()
    below.close()


def test_the_supervisor_never_waits() -> None:
    above, below = Channel.pair()
    assert list(above.receive()) == []
    above.close()
    below.close()


def test_last_words_are_heard_before_the_end() -> None:
    above, below = Channel.pair()
    below.send(Asked())
    below.close()
    heard = list(above.receive())
    with pytest.raises(EOFError):
        heard += list(above.receive())
    assert [Asked()] == heard
    above.close()


def test_a_message_that_comes_in_parts_is_put_together() -> None:
    above, below = Channel.pair()
    below._socket.sendall(b'["due", {"rea')
    assert list(above.receive()) == []
    below._socket.sendall(b'son": "x"}]\n')
    assert [Due(reason="x")] == list(above.receive())
    above.close()
    below.close()


def test_sending_to_the_dead_is_no_error() -> None:
    above, below = Channel.pair()
    above.close()
    below.send(Asked())
    below.close()
    assert below.fileno() == -1


def test_a_traceback_without_end_is_cut() -> None:
    above, below = Channel.pair()
    below.send(Failed(message="m", trace="x" * 10**6))
    (failed,) = above.receive()
    assert isinstance(failed, Failed)
    assert len(failed.trace) == 60_000
    above.close()
    below.close()

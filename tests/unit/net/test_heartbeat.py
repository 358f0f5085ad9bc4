"""When to ping, and when to give a client up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asgibridge.net.deadlines import NEVER
from asgibridge.net.heartbeat import Beat, Heartbeat


def test_a_client_that_answers_is_pinged_at_every_interval() -> None:
    heart = Heartbeat(100.0, interval=20.0, timeout=5.0)
    assert heart.next == 120.0
    assert heart.beat(120.0, is_alive=False) is Beat.PING
    assert heart.next == 125.0
    assert heart.beat(125.0, is_alive=True) is Beat.NOTHING
    assert heart.next == 140.0
    assert heart.beat(140.0, is_alive=False) is Beat.PING


def test_a_client_that_is_silent_behind_a_ping_is_given_up() -> None:
    heart = Heartbeat(0.0, interval=20.0, timeout=5.0)
    assert heart.beat(20.0, is_alive=True) is Beat.PING
    assert heart.beat(25.0, is_alive=False) is Beat.END


def test_a_timeout_longer_than_the_interval_counts_from_the_first_unanswered_ping() -> None:
    heart = Heartbeat(0.0, interval=20.0, timeout=50.0)
    beats = [heart.beat(heart.next, is_alive=False) for _ in range(4)]
    assert beats == [Beat.PING, Beat.PING, Beat.PING, Beat.END]
    assert heart.next == 70.0


def test_equal_times_ping_and_look_in_one() -> None:
    heart = Heartbeat(0.0, interval=20.0, timeout=20.0)
    assert heart.beat(20.0, is_alive=False) is Beat.PING
    assert heart.beat(40.0, is_alive=True) is Beat.PING
    assert heart.beat(60.0, is_alive=False) is Beat.END


def test_what_is_never_due_never_comes() -> None:
    assert Heartbeat(0.0, interval=None, timeout=5.0).next == NEVER
    heart = Heartbeat(0.0, interval=20.0, timeout=None)
    beats = [heart.beat(20.0 * n, is_alive=False) for n in range(1, 100)]
    assert set(beats) == {Beat.PING}


@given(
    interval=st.floats(min_value=0.01, max_value=100),
    timeout=st.floats(min_value=0.01, max_value=100),
    lives=st.lists(st.booleans(), max_size=50),
)
def test_a_client_is_given_up_only_after_a_whole_timeout_of_silence(
    interval: float, timeout: float, lives: list[bool]
) -> None:
    heart = Heartbeat(0.0, interval=interval, timeout=timeout)
    asked = None  # the first ping since the last sign of life
    now = 0.0
    for is_alive in lives:
        assert heart.next > now - 1e-9
        now = heart.next
        if is_alive:
            asked = None
        beat = heart.beat(now, is_alive=is_alive)
        if beat is Beat.END:
            assert asked is not None
            assert now - asked >= timeout - 0.05
            return
        if beat is Beat.PING and asked is None:
            asked = now

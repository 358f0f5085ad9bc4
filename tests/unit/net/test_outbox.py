"""Corners of the outbox; test_outbox_model.py has them in any mixture."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from support.fakes import FakeLoop

from asgibridge.net.outbox import Outbox

if TYPE_CHECKING:
    import pytest


class Parcel:
    def __init__(self, delivered: list[str], name: str, *, fails: bool = False) -> None:
        self._delivered = delivered
        self._name = name
        self._fails = fails

    def deliver(self) -> None:
        self._delivered.append(self._name)
        if self._fails:
            raise ValueError("trouble of one connection")


def test_many_posts_wake_the_loop_once() -> None:
    loop = FakeLoop()
    box, delivered = Outbox(loop.as_loop()), list[str]()
    for name in "abc":
        box.post(Parcel(delivered, name))
    assert len(loop.due()) == 1
    assert not box.is_empty()
    loop.settle()
    assert (delivered, box.is_empty()) == (["a", "b", "c"], True)


def test_trouble_of_one_does_not_keep_back_the_others(caplog: pytest.LogCaptureFixture) -> None:
    loop = FakeLoop()
    box, delivered = Outbox(loop.as_loop()), list[str]()
    box.post(Parcel(delivered, "a", fails=True))
    box.post(Parcel(delivered, "b"))
    with caplog.at_level(logging.ERROR, logger="asgibridge"):
        loop.settle()
    assert (delivered, len(caplog.records)) == (["a", "b"], 1)


def test_posts_to_a_closed_loop_pile_up_nowhere() -> None:
    loop = FakeLoop()
    box, delivered = Outbox(loop.as_loop()), list[str]()
    loop.is_closed = True
    for _ in range(2):
        box.post(Parcel(delivered, "late"))
        assert box.is_empty()

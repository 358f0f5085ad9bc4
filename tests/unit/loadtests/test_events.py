from __future__ import annotations

import pytest

from loadtests.events import Chronicle, proof


def chronicle(*acts: str, alive: tuple[int, ...] = (4,)) -> Chronicle:
    return Chronicle(acts=[(float(n), act) for n, act in enumerate(acts)], alive=list(alive))


@pytest.mark.parametrize("event", ["hup", "kill", "ttin-ttou"])
def test_nothing_done_proves_nothing(event: str) -> None:
    assert "nothing was done" in (proof(event, chronicle(), 8, 4) or "")


def test_without_an_event_there_is_nothing_to_prove() -> None:
    assert proof(None, chronicle(), 2, 4) is None


@pytest.mark.parametrize(
    ("event", "acts", "enough"),
    [("hup", ["SIGHUP"], 8), ("kill", ["SIGKILL"] * 3, 6), ("recycle", [], 5)],
)
def test_replaced_workers_must_have_answered(event: str, acts: list[str], enough: int) -> None:
    assert proof(event, chronicle(*acts), enough, 4) is None
    assert f"at least {enough}" in (proof(event, chronicle(*acts), enough - 1, 4) or "")


def test_workers_must_have_come_and_gone() -> None:
    acts = ["SIGTTIN"] * 2 + ["SIGTTOU"] * 3
    assert "no worker was added" in (proof("ttin-ttou", chronicle(*acts), 4, 4) or "")
    added = chronicle(*acts, alive=(4, 6, 4))
    assert "no worker was taken away" in (proof("ttin-ttou", added, 6, 4) or "")
    assert proof("ttin-ttou", chronicle(*acts, alive=(4, 6, 3)), 6, 4) is None


def test_workers_are_remembered_from_when_they_were_first_seen() -> None:
    seen = Chronicle()
    seen.see([1, 2], now=1.0)
    seen.see([2, 3, 4], now=2.0)
    assert seen.first_seen == {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0}
    assert seen.alive == [2, 3]

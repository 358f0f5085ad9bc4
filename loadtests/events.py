"""What is done to a server under load, and the proof that it happened.

The workers are the children of the process that was started; signals go to that process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from loadtests.measure import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.crowd import Crowd

__all__ = ["STOP", "Chronicle", "happen", "proof"]

HUP: Final = "hup"
KILL: Final = "kill"
MORE_AND_LESS: Final = "ttin-ttou"
RECYCLE: Final = "recycle"
STOP: Final = "stop"
# Two more, three fewer, one more: above and below what was asked for, and back.
STEPS: Final = (
    *(signal.SIGTTIN, signal.SIGTTIN),
    *(signal.SIGTTOU, signal.SIGTTOU, signal.SIGTTOU, signal.SIGTTIN),
)
WATCH_INTERVAL: Final = 0.1
# Seconds: a younger worker is not killed, it may not have served yet.
GROWN_UP: Final = 2.0


@dataclass(slots=True, kw_only=True)
class Chronicle:
    """What was done, when, and how many workers there were."""

    acts: list[tuple[float, str]] = field(default_factory=list)
    """Time of CLOCK_MONOTONIC, and the name of the signal."""
    first_seen: dict[int, float] = field(default_factory=dict)
    """Worker -> when it was first seen."""
    alive: list[int] = field(default_factory=list)
    """How many workers there were at each look."""

    def see(self, workers: list[int], now: float) -> None:
        """Keep what one look at the workers showed."""
        self.alive.append(len(workers))
        for pid in workers:
            self.first_seen.setdefault(pid, now)

    def times(self, name: str) -> list[float]:
        """Return when *name* was done."""
        return [at for at, what in self.acts if what == name]

    def counts(self) -> dict[str, int]:
        """Return how often each thing was done."""
        return dict(Counter(what for _, what in self.acts))


def happen(event: str | None, every: float, leader: int, crowd: Crowd, seconds: float) -> Chronicle:
    """Do *event* to the server every so often while *crowd* is at work; watch the workers.

    The first one comes after half of *every*; the load goes on for *every* after the last one.
    """
    chronicle = Chronicle()
    steps = _steps(event)
    began = time.monotonic()
    due = began + every / 2
    # One seed for all: chance is no advantage.
    chance = random.Random(1)  # noqa: S311  (no secret)
    while crowd.is_running:
        now = time.monotonic()
        workers = children(leader)
        chronicle.see(workers, now)
        if now >= due and now <= began + seconds - every:
            due += every
            _act(next(steps, None), leader, _victims(workers, chronicle, now), chance, chronicle)
        time.sleep(WATCH_INTERVAL)
    return chronicle


def proof(event: str | None, chronicle: Chronicle, answered: int, workers: int) -> str | None:
    """Say why the *event* cannot have had its effect, given how many workers *answered*.

    None: it has, or there was none.
    """
    done = sum(chronicle.counts().values())
    least = min(chronicle.alive, default=0)
    most = max(chronicle.alive, default=0)
    told = f"{answered} workers answered, {least} to {most} were alive"
    expected = 1
    if event in (HUP, KILL, MORE_AND_LESS) and done == 0:
        return "nothing was done to the server; give the run more seconds"
    if event == HUP:
        expected = 2 * workers
    elif event == KILL:
        expected = workers + done - 1
    elif event == RECYCLE:
        expected = workers + 1
    elif event == MORE_AND_LESS:
        if most <= workers:
            return f"no worker was added: {told}"
        if done >= STEPS.index(signal.SIGTTIN, 2) and least >= workers:
            return f"no worker was taken away: {told}"
    if answered < expected:
        return f"at least {expected} different workers should have answered: {told}"
    return None


def _steps(event: str | None) -> Iterator[signal.Signals]:
    """Return the signals for *event*, one after the other; none for what the server does itself."""
    if event == HUP:
        return itertools.repeat(signal.SIGHUP)
    if event == KILL:
        return itertools.repeat(signal.SIGKILL)
    return itertools.cycle(STEPS) if event == MORE_AND_LESS else iter(())


def _victims(workers: list[int], chronicle: Chronicle, now: float) -> list[int]:
    """Return the workers that have been there for a while."""
    return [pid for pid in workers if now - chronicle.first_seen[pid] >= GROWN_UP]


def _act(
    step: signal.Signals | None,
    leader: int,
    victims: list[int],
    chance: random.Random,
    chronicle: Chronicle,
) -> None:
    """Send one signal: to a worker if it is SIGKILL, otherwise to the leader."""
    if step is None or (step is signal.SIGKILL and not victims):
        return
    pid = chance.choice(victims) if step is signal.SIGKILL else leader
    # Before the signal: what fails for it is under way then and ends later.
    at = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, step)
        chronicle.acts.append((at, step.name))

"""A worker as the supervisor sees it: its stage, its channel, its place on the scoreboard."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from asgibridge.supervision.stage import STAGE_MOVES, Reason, Stage, StageEvent, WorkerView

if TYPE_CHECKING:
    from asgibridge.process.channel import Channel
    from asgibridge.supervision.scoreboard import Slot, WorkerStatus

__all__ = ["Worker", "describe_exit"]

logger = logging.getLogger("asgibridge")


class Worker:
    """One forked process.

    All times are by `time.monotonic()`.

    Attributes:
        pid: its process.
        slot: its place on the scoreboard.
        channel: the supervisor's end.
        generation: of the configuration it was started with.
        spawned_at, ready_at: when; `ready_at` is None until it is ready.
        kill_at: when it is killed if it is still there; None for never.
        asked: why it, or somebody else, has asked for its replacement; None if nobody has.
        due: why it is being replaced; None if it is not.
        lifetime: how long it may serve, its jitter included; None for no limit.
        failure: what it said of its failed start: message and traceback; None if nothing.
        is_listening: whether its copies of the listeners are open.
        is_stuck: whether its loop has not turned for a while.
        measure_at: when its memory is measured again.
    """

    def __init__(  # noqa: PLR0913 - what is known when it is forked
        self,
        pid: int,
        slot: Slot,
        channel: Channel,
        *,
        generation: int,
        spawned_at: float,
        kill_at: float,
        lifetime: float | None,
    ) -> None:
        """Note what has just been forked."""
        self.pid = pid
        self.slot = slot
        self.channel = channel
        self.generation = generation
        self.spawned_at = spawned_at
        self.ready_at: float | None = None
        self.kill_at: float | None = kill_at
        self.lifetime = lifetime
        self.asked: Reason | None = None
        self.due: Reason | None = None
        self.failure: tuple[str, str] | None = None
        self.is_listening = True
        self.is_stuck = False
        self.measure_at = 0.0
        self._stage = Stage.SPAWNED

    @property
    def name(self) -> str:
        """What the log calls it: the number of its slot, from 1."""
        return f"worker={self.slot.index + 1} pid={self.pid}"

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        return self._stage

    def move(self, event: StageEvent) -> None:
        """Go on to the next stage.

        Raises:
            IllegalMove: *event* cannot happen now.
        """
        before = self._stage
        self._stage = STAGE_MOVES[before, event]
        logger.debug("%s %s -> %s", self.name, before.value, self._stage.value)

    def view(self) -> WorkerView:
        """Say what decisions are made from."""
        return WorkerView(
            pid=self.pid,
            stage=self._stage,
            generation=self.generation,
            spawned_at=self.spawned_at,
            kill_at=self.kill_at,
            is_due=self.due is not None,
            is_urgent=self.due is not None and self.due.is_trouble,
        )

    def status(self) -> WorkerStatus | None:
        """Read its slot; None if it has not written anything that is whole."""
        return self.slot.read(self.pid)

    def __repr__(self) -> str:
        return f"<Worker {self.name} {self._stage.value}>"


def describe_exit(wait_status: int) -> str:
    """Say how a process ended, from what waitpid(2) tells: `code=3` or `signal=SIGKILL`."""
    if wait_status & 0x7F:
        number = wait_status & 0x7F
        try:
            return f"signal={signal.Signals(number).name}"
        except ValueError:
            return f"signal={number}"
    return f"code={wait_status >> 8 & 0xFF}"

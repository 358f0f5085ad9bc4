"""Who gives way, and to whom.  [GATE-6]"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asgibridge.net.gate import Gate, Standing
from asgibridge.net.sharing import SHARE, SHED_INTERVAL, Sharing

if TYPE_CHECKING:
    from asgibridge.net.pauses import PauseReason


@dataclass(eq=False)
class Member:
    opened_at: float = 0.0
    standing: Standing = Standing.OUTSIDE

    def try_evict(self) -> bool:
        return False


@dataclass
class Acceptor:
    reason: PauseReason | None = None
    somebody_waits: bool = False

    def is_contended(self) -> bool:
        return self.somebody_waits


class Loop(asyncio.SelectorEventLoop):
    """Its time stands still until it is set."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@dataclass
class Scene:
    """A gate for two requests, with one kept-alive connection beside them."""

    is_shared: bool = True
    max_in_flight: int | None = 2
    loop: Loop = field(default_factory=Loop)
    acceptor: Acceptor = field(default_factory=Acceptor)

    def __post_init__(self) -> None:
        self.gate = Gate(worker_connections=10, max_in_flight=self.max_in_flight)
        self.sharing = Sharing(self.loop, self.gate, self.acceptor, is_shared=self.is_shared)
        self.kept = Member(opened_at=self.loop.now)
        self.gate.enter(self.kept)
        self.gate.park(self.kept, is_idle=True)
        for _ in range(2):
            self.gate.enter(Member())
        self.loop.close()


def test_who_has_had_his_share_gives_way_to_those_who_wait() -> None:
    scene = Scene(is_shared=False)
    scene.acceptor.somebody_waits = True
    scene.loop.now += SHARE - 0.01
    assert not scene.sharing.gives_way(scene.kept)
    scene.loop.now += 0.01
    assert scene.sharing.gives_way(scene.kept)
    scene.acceptor.somebody_waits = False
    assert not scene.sharing.gives_way(scene.kept)


def test_of_a_crowd_one_is_sent_elsewhere_at_a_time() -> None:
    scene = Scene()
    assert scene.gate.in_flight >= scene.sharing.crowd
    assert scene.sharing.gives_way(scene.kept)
    assert not scene.sharing.gives_way(scene.kept)
    scene.loop.now += SHED_INTERVAL
    assert scene.sharing.gives_way(scene.kept)


def test_who_was_let_in_by_the_gate_is_no_crowd() -> None:
    scene = Scene()
    fresh = Member(standing=Standing.IN_FLIGHT)
    assert not scene.sharing.gives_way(fresh)


def test_nobody_is_sent_elsewhere_where_there_is_nobody_else() -> None:
    assert not Scene(is_shared=False).sharing.gives_way(Scene(is_shared=False).kept)
    alone = Scene(is_shared=False)
    assert alone.gate.in_flight < alone.sharing.crowd


def test_without_a_limit_there_is_no_crowd() -> None:
    scene = Scene(max_in_flight=None)
    assert scene.gate.in_flight < scene.sharing.crowd
    assert not scene.sharing.gives_way(scene.kept)

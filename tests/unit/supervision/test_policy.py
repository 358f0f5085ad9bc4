"""Every decision of a supervisor, and two models: whatever happens, enough workers serve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgibridge.supervision.policy import (
    FleetView,
    Kill,
    Limits,
    Load,
    Retire,
    Spawn,
    Step,
    backoff,
    limit_reached,
    next_steps,
    with_jitter,
)
from asgibridge.supervision.stage import Reason, Stage, WorkerView

NOW = 1000.0


def worker(  # noqa: PLR0913 - one for each field
    pid: int,
    stage: Stage = Stage.READY,
    *,
    generation: int = 1,
    spawned_at: float = 0.0,
    kill_at: float | None = None,
    is_due: bool = False,
    is_urgent: bool = False,
) -> WorkerView:
    return WorkerView(
        pid=pid,
        stage=stage,
        generation=generation,
        spawned_at=spawned_at,
        kill_at=kill_at,
        is_due=is_due or is_urgent,
        is_urgent=is_urgent,
    )


def steps(
    *workers: WorkerView,
    wanted: int = 2,
    generation: int = 1,
    spawn_at: float = 0.0,
    is_stopping: bool = False,
    may_overlap: bool = True,
) -> list[Step]:
    fleet = FleetView(
        workers=workers,
        wanted=wanted,
        generation=generation,
        spawn_at=spawn_at,
        is_stopping=is_stopping,
        may_overlap=may_overlap,
    )
    return next_steps(fleet, NOW)


def test_those_who_are_missing_are_started_at_once() -> None:
    assert steps(wanted=3) == [Spawn(), Spawn(), Spawn()]
    assert steps(worker(1), worker(2, Stage.SPAWNED), wanted=3) == [Spawn()]


def test_nobody_is_started_before_the_pause_is_over() -> None:
    assert steps(worker(1), spawn_at=NOW + 0.1) == []
    assert steps(worker(1), spawn_at=NOW) == [Spawn()]


def test_a_worker_that_is_due_stays_until_its_successor_serves() -> None:
    """[PROC-1]."""
    due = worker(1, is_due=True)
    assert steps(due, worker(2)) == [Spawn()]
    assert steps(due, worker(2), worker(3, Stage.SPAWNED)) == []
    assert steps(due, worker(2), worker(3)) == [Retire(1)]


def test_one_is_replaced_at_a_time() -> None:
    """[PROC-1]."""
    old = [worker(pid, is_due=True, spawned_at=pid) for pid in (1, 2)]
    assert steps(*old) == [Spawn()]
    assert steps(*old, worker(3)) == [Retire(1)]
    assert steps(worker(1, Stage.RETIRING), old[1], worker(3)) == []
    assert steps(old[1], worker(3)) == [Spawn()]


def test_who_is_in_trouble_is_replaced_without_waiting() -> None:
    """[PROC-4] [WSGI-7]."""
    stuck = [worker(pid, is_urgent=True) for pid in (1, 2)]
    assert steps(*stuck, worker(9, Stage.RETIRING)) == [Spawn(), Spawn()]
    assert steps(*stuck, worker(3), worker(4, Stage.SPAWNED)) == [Retire(1)]
    grown_old = worker(5, is_due=True, spawned_at=-1)
    assert steps(stuck[0], grown_old, worker(3)) == [Retire(1)]


def test_workers_of_an_older_generation_are_replaced_oldest_first() -> None:
    """[PROC-3]."""
    new = worker(9, generation=2, spawned_at=900)
    older, old = worker(1, spawned_at=10), worker(2, spawned_at=20)
    assert steps(older, old, generation=2) == [Spawn()]
    assert steps(old, older, new, generation=2) == [Retire(1)]


def test_who_is_too_many_goes_oldest_first() -> None:
    young, old = worker(1, spawned_at=20), worker(2, spawned_at=10)
    assert steps(young, old, wanted=1) == [Retire(2)]


def test_who_is_due_goes_before_who_is_merely_old() -> None:
    assert steps(worker(1, spawned_at=1), worker(2, spawned_at=9, is_due=True), wanted=1) == [
        Retire(2)
    ]


def test_a_death_is_made_good_while_another_retires() -> None:
    assert steps(worker(1, Stage.RETIRING), worker(2)) == [Spawn()]


def test_without_overlap_the_predecessor_has_to_be_gone() -> None:
    assert steps(worker(1, Stage.RETIRING), wanted=1, may_overlap=False) == []
    assert steps(wanted=1, may_overlap=False) == [Spawn()]


def test_who_has_had_his_time_is_killed() -> None:
    late = worker(1, Stage.RETIRING, kill_at=NOW)
    in_time = worker(2, Stage.RETIRING, kill_at=NOW + 0.01)
    assert steps(late, in_time, is_stopping=True) == [Kill(1)]
    assert steps(worker(1, Stage.SPAWNED, kill_at=NOW), wanted=1) == [Kill(1)]


def test_nobody_is_started_while_the_server_stops() -> None:
    assert steps(worker(1, Stage.RETIRING), wanted=4, is_stopping=True) == []


FATES = st.sampled_from(
    ["becomes ready", "becomes due", "gets stuck", "dies", "leaves", "restart", "more", "fewer"]
)


@given(st.lists(st.tuples(FATES, st.integers(0, 9)), max_size=60))
def test_whatever_happens_no_living_worker_is_told_to_go_before_enough_serve(  # noqa: C901, PLR0912 - a case for each fate
    events: list[tuple[str, int]],
) -> None:
    """[PROC-1] [STOP-3]  Retiring never leaves fewer than wanted, and the fleet comes to rest."""
    wanted, generation, next_pid = 3, 1, 1
    stages: dict[int, Stage] = {}
    due: set[int] = set()
    stuck: set[int] = set()
    generations: dict[int, int] = {}

    def settle() -> None:
        nonlocal next_pid
        for step in next_steps(
            FleetView(
                workers=[
                    worker(
                        pid,
                        stage,
                        generation=generations[pid],
                        spawned_at=pid,
                        is_due=pid in due,
                        is_urgent=pid in stuck,
                    )
                    for pid, stage in stages.items()
                ],
                wanted=wanted,
                generation=generation,
                spawn_at=0.0,
            ),
            NOW,
        ):
            match step:
                case Spawn():
                    stages[next_pid] = Stage.SPAWNED
                    generations[next_pid] = generation
                    next_pid += 1
                case Retire(pid):
                    stages[pid] = Stage.RETIRING
                    ready = [each for each in stages.values() if each is Stage.READY]
                    assert len(ready) >= wanted
                case Kill():
                    raise AssertionError("nobody's time was over")
        serving = [each for each in stages.values() if each in (Stage.SPAWNED, Stage.READY)]
        assert len(serving) >= wanted

    for event, choice in events:
        settle()
        pid = sorted(stages)[choice % len(stages)]
        match event, stages[pid]:
            case "becomes ready", Stage.SPAWNED:
                stages[pid] = Stage.READY
            case "becomes due", Stage.READY:
                due.add(pid)
            case "gets stuck", Stage.READY:
                stuck.add(pid)
            case "dies", _:
                del stages[pid]
            case "leaves", Stage.RETIRING:
                del stages[pid]
            case "restart", _:
                generation += 1
            case "more", _:
                wanted = min(5, wanted + 1)
            case "fewer", _:
                wanted = max(1, wanted - 1)
            case _:
                pass  # it cannot happen to one in that stage

    # Left alone, all become ready and leave as told; then exactly the wanted ones serve.
    for _ in range(100):
        settle()
        for pid, stage in list(stages.items()):
            if stage is Stage.SPAWNED:
                stages[pid] = Stage.READY
            elif stage is Stage.RETIRING:
                del stages[pid]
    assert [Stage.READY] * wanted == list(stages.values())
    assert {generation} == {generations[pid] for pid in stages}
    assert not (due | stuck) & stages.keys()


def test_pauses_grow_with_the_row_of_deaths_and_are_bounded() -> None:
    """[PROC-2]."""
    assert [backoff(deaths) for deaths in (0, 1, 2, 3, 4, 5)] == [0, 0, 0.25, 0.5, 1.0, 2.0]
    assert backoff(10**6) == 15.0


def test_jitter_spreads_to_both_sides() -> None:
    assert [with_jitter(100, 0.1, chance) for chance in (0.0, 0.5, 1.0)] == pytest.approx(
        [90, 100, 110]
    )


@pytest.mark.parametrize(
    ("load", "limits", "expected"),
    [
        (Load(age=100), Limits(), None),
        (Load(age=100, rss=101), Limits(rss=100), Reason.MAX_RSS),
        (Load(age=100, rss=100), Limits(rss=100), None),
        (Load(age=100, uss=101), Limits(uss=100), Reason.MAX_USS),
        (Load(age=100, uss=None), Limits(uss=100), None),
        (Load(age=100, lifetime=99), Limits(), Reason.MAX_LIFETIME),
        (Load(age=100, lifetime=100), Limits(), None),
        (Load(age=100, silence=5.1), Limits(worker_timeout=5), Reason.BLOCKED),
        (Load(age=100, silence=4.9), Limits(worker_timeout=5), None),
        (Load(age=100, silence=99), Limits(), None),
        (Load(age=100, asked=Reason.MAX_REQUESTS), Limits(), Reason.MAX_REQUESTS),
        (Load(age=100, asked=Reason.OVERDUE), Limits(), Reason.OVERDUE),
    ],
)
def test_each_limit_at_its_edge(load: Load, limits: Limits, expected: Reason | None) -> None:
    assert limit_reached(load, limits) is expected


def test_age_waits_for_the_minimum_lifetime_but_trouble_does_not() -> None:
    """[PROC-1]."""
    limits = Limits(rss=100, min_lifetime=10, worker_timeout=5)
    for grown_old in (
        Load(age=9.9, asked=Reason.MAX_REQUESTS),
        Load(age=9.9, rss=101),
        Load(age=9.9, lifetime=1),
    ):
        assert limit_reached(grown_old, limits) is None
    assert limit_reached(Load(age=10, rss=101), limits) is Reason.MAX_RSS
    assert limit_reached(Load(age=1, asked=Reason.SIGTERM), limits) is Reason.SIGTERM
    assert limit_reached(Load(age=1, silence=6), limits) is Reason.BLOCKED

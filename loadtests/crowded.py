"""Take the samples that wrk cannot: several workers, kinds of requests, events, stops, idleness."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from loadtests import events, measure, nginx
from loadtests.crowd import Crowd, Plan
from loadtests.results import Sample
from loadtests.running import free_port
from loadtests.stuck import stuck_workers
from loadtests.tally import beyond_kills

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.events import Chronicle
    from loadtests.running import RunningServer
    from loadtests.scenarios import Case, Scenario
    from loadtests.tally import Tally

__all__ = ["DIRECT", "NGINX", "NGINX_KEPT", "take"]

DIRECT: Final = "direct"
NGINX: Final = "nginx"
NGINX_KEPT: Final = "nginx-kept"
# Seconds: what a server does once after its start and its first requests is not idleness.
SETTLE_SECONDS: Final = 3.0
# Seconds of load before a stop, and how long beyond its grace a stop is waited for.
BEFORE_STOP: Final = 1.5
STOP_SLACK: Final = 10.0
# What the children of a server that has ended may need to follow it, seconds.
LEAVE_SECONDS: Final = 1.0
POLL_INTERVAL: Final = 0.02


def take(
    process: RunningServer, scenario: Scenario, case: Case, number: int, seconds: float
) -> tuple[Sample, list[str]]:
    """Measure *case* on a server that is ready; return the sample and what went wrong.

    Raises:
        CrowdError: The clients failed.
        NginxError: nginx did not start.
        ProcessGone: The server ended.
        StickError: A worker could not be made to stick.
    """
    taker = _Taker(process, scenario, case, number, seconds)
    with _front(case, process.port) as front:
        taker.front = front
        _tally_of(taker.crowd(scenario.warm_up_seconds))
        if case.event == events.STOP:
            return taker.stop()
        taken = taker.idle() if case.is_left_alone else taker.load()
    # Without nginx, whose kept connections may fill a server that is bounded.
    process.check_alive(0)
    return taken


class _Taker:
    """One case on one server."""

    def __init__(
        self, process: RunningServer, scenario: Scenario, case: Case, number: int, seconds: float
    ) -> None:
        self._process = process
        self._scenario = scenario
        self._case = case
        self._round = number
        self._seconds = seconds
        self.front: nginx.Front | None = None

    def crowd(self, seconds: float) -> Crowd:
        """Start the clients."""
        case = self._case
        plan = Plan(
            port=self._process.port if self.front is None else self.front.port,
            clients=case.connections,
            seconds=seconds,
            is_kept=not case.is_connection_per_request,
            paths={name: kind.path for name, kind in case.kinds.items()},
            shares={name: kind.share for name, kind in case.kinds.items()},
            seed=self._round,
        )
        return Crowd(plan)

    @property
    def _is_kept(self) -> bool:
        """Whether the server sees connections that are used again."""
        if self._case.through == DIRECT:
            return not self._case.is_connection_per_request
        return self._case.through == NGINX_KEPT

    def load(self) -> tuple[Sample, list[str]]:
        """Load the server, with the event of the case if there is one."""
        case = self._case
        leader = self._process.pid
        complained = Counter(self.front.errors()) if self.front else Counter[str]()
        before = measure.process_tree(leader)
        crowd = self.crowd(self._seconds)
        with contextlib.ExitStack() as stack:
            stack.callback(crowd.kill)
            chronicle = events.happen(case.event, case.every, leader, crowd, self._seconds)
            tally = crowd.tally()
        after = measure.process_tree(leader)
        complaints = Counter(self.front.errors()) - complained if self.front else Counter[str]()
        sample = self._sample(
            tally,
            chronicle,
            nginx_errors=dict(complaints),
            cpu_seconds=measure.cpu_seconds(after) - measure.cpu_seconds(before),
            rss_bytes=None if case.event else _serving_bytes(before, after),
        )
        facts = [events.proof(case.event, chronicle, len(tally.workers), self._scenario.workers)]
        if case.event is None and tally.failed:
            facts.append(f"requests failed: {sample.failed}")
        return sample, [fact for fact in facts if fact is not None]

    def idle(self) -> tuple[Sample, list[str]]:
        """Leave the server alone and see what that costs."""
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        before = measure.process_tree(self._process.pid)
        time.sleep(self._seconds)
        after = measure.process_tree(self._process.pid)
        passed = time.monotonic() - began
        used = measure.cpu_seconds(after) - measure.cpu_seconds(before)
        sample = Sample(
            server=self._process.name,
            case=self._case.name,
            round=self._round,
            cpu_seconds=used,
            idle_cpu_percent=used / passed * 100,
            rss_bytes=sum(measure.resident_bytes(process.pid) for process in after),
        )
        return sample, []

    def stop(self) -> tuple[Sample, list[str]]:
        """Get a thread of each worker stuck, ask the server to stop, wait for its end."""
        leader = self._process.pid
        grace = self._scenario.graceful_timeout or 0.0
        chronicle = events.Chronicle()
        crowd = self.crowd(self._seconds + grace + STOP_SLACK)
        with contextlib.ExitStack() as stack:
            stack.callback(crowd.kill)
            stack.enter_context(stuck_workers(self._process.port, self._scenario.workers))
            time.sleep(BEFORE_STOP)
            chronicle.see(measure.children(leader), time.monotonic())
            asked = time.monotonic()
            took = self._process.ask_to_stop(grace + STOP_SLACK)
            left = _left(leader)
            chronicle.acts.append((asked, "SIGTERM"))
            crowd.finish()
            tally = crowd.tally()
        # Who comes after the signal may be turned away.
        tally.failed = [request for request in tally.failed if request.started < asked]
        facts = []
        if took is None:
            facts.append(f"it still ran {grace + STOP_SLACK:.0f} s after SIGTERM")
        elif left:
            facts.append(f"{left} of its processes outlived it by {LEAVE_SECONDS:.0f} s")
        return self._sample(tally, chronicle, stop_seconds=took), facts

    def _sample(
        self,
        tally: Tally,
        chronicle: Chronicle,
        *,
        nginx_errors: dict[str, int] | None = None,
        cpu_seconds: float | None = None,
        rss_bytes: int | None = None,
        stop_seconds: float | None = None,
    ) -> Sample:
        """Put together what the clients saw and what was done."""
        total = tally.all_kinds
        kills = chronicle.times("SIGKILL")
        in_flight = None if self._is_kept else self._scenario.threads
        beyond = beyond_kills(tally.failed, kills, in_flight) if kills else None
        return Sample(
            server=self._process.name,
            case=self._case.name,
            round=self._round,
            requests=0 if total is None else total.requests,
            # Of a stop, most of the time nobody serves: there is no rate.
            seconds=tally.seconds if stop_seconds is None else None,
            cpu_seconds=cpu_seconds,
            p50_us=None if total is None else total.p50_us,
            p99_us=None if total is None else total.p99_us,
            p999_us=None if total is None else total.p999_us,
            rss_bytes=rss_bytes,
            stop_seconds=stop_seconds,
            kinds={kind: asdict(latency) for kind, latency in tally.kinds.items()},
            failed=dict(Counter(request.cause for request in tally.failed)),
            failed_beyond_kills=beyond,
            repeated=dict(Counter(request.cause for request in tally.repeated)),
            repeated_after_ms=max((r.after_ms for r in tally.repeated), default=None),
            closed_idle=tally.closed_idle,
            events=chronicle.counts(),
            workers_answered=len(tally.workers),
            workers_least=min(chronicle.alive, default=None),
            workers_most=max(chronicle.alive, default=None),
            nginx_errors=nginx_errors or {},
        )


@contextlib.contextmanager
def _front(case: Case, upstream: int) -> Iterator[nginx.Front | None]:
    """Put nginx before the server if the case wants it."""
    if case.through == DIRECT:
        yield None
        return
    with nginx.in_front(free_port(), upstream, is_kept=case.through == NGINX_KEPT) as front:
        yield front


def _tally_of(crowd: Crowd) -> Tally:
    """Wait for the clients, and end them whatever happens."""
    try:
        return crowd.tally()
    finally:
        crowd.kill()


def _left(leader: int) -> int:
    """Return how many processes of an ended server are still there after a moment."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while left := sum(not process.is_zombie for process in measure.process_tree(leader)):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_INTERVAL)
    return left


def _serving_bytes(before: list[measure.Process], after: list[measure.Process]) -> int:
    return measure.resident_bytes(measure.serving_process(before, after))

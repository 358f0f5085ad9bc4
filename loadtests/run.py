"""Run a scenario: every server in turn, several rounds in rotated order, one sample each."""

from __future__ import annotations

import functools
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from loadtests import crowded, idle, machine, measure, websocket_load, wrk
from loadtests.compare import evaluate
from loadtests.crowd import CrowdError
from loadtests.nginx import NginxError
from loadtests.results import METRICS, Failure, Sample, ScenarioResult
from loadtests.running import StartFailed, free_port, running
from loadtests.scenarios import BEST, ScenarioError
from loadtests.servers import ASGIBRIDGE, SERVERS, Launch
from loadtests.stuck import StickError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.running import RunningServer
    from loadtests.scenarios import Case, Scenario

__all__ = ["Options", "run_scenario"]

# What breaks one measurement, not the run.
BROKEN: Final = (
    *(StartFailed, idle.IdleError, wrk.WrkError, measure.ProcessGone),
    *(CrowdError, NginxError, StickError),
)
# What is told of a sample while the run goes on.
TOLD: Final = (
    *("requests_per_second", "cpu_us", "p50_us", "p99_us", "quick_p99_us", "slow_p99_us"),
    *("rss_mb", "connection_kb", "failed", "failed_beyond_kills", "repeated"),
    *("workers_answered", "stop_seconds", "idle_cpu_percent"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says; None is what the scenario says."""

    python: str
    asgibridge_python: str
    peers: tuple[str, ...] | None = None
    rounds: int | None = None
    seconds: float | None = None

    def python_for(self, server: str) -> str:
        """Return the interpreter that *server* is installed for."""
        return self.asgibridge_python if server == ASGIBRIDGE else self.python


class _Run:
    """One scenario on its way."""

    def __init__(self, scenario: Scenario, options: Options) -> None:
        self._scenario = scenario
        self._options = options
        self._rounds = options.rounds or scenario.rounds
        self._seconds = options.seconds or scenario.seconds
        self._server_core, self._wrk_core = _cores(scenario)
        self._given_up: set[str] = set()
        settings = {
            "is_pinned": scenario.is_pinned,
            "workers": scenario.workers,
            "threads": scenario.threads,
            "worker_connections": scenario.worker_connections,
            "max_requests": scenario.max_requests,
            "max_rss_mb": scenario.max_rss_mb,
            "graceful_timeout": scenario.graceful_timeout,
            "rounds": self._rounds,
            "seconds": self._seconds,
            "warm_up_seconds": scenario.warm_up_seconds,
            "cases": {case.name: asdict(case) for case in scenario.cases},
        }
        self.result = ScenarioResult(name=scenario.name, title=scenario.title, settings=settings)

    def run(self) -> None:
        """Fill the result."""
        chosen = self._options.peers
        servers = [ASGIBRIDGE, *(self._scenario.peers if chosen is None else chosen)]
        for number in range(1, self._rounds + 1):
            # Rotated, so that nobody always runs first, or always behind the same neighbour.
            turn = (number - 1) % len(servers)
            for server in servers[turn:] + servers[:turn]:
                # The cases side by side: figures divide one by another.
                for case in self._scenario.cases:
                    if case.interface in SERVERS[server].interfaces:
                        self._take(server, case, number)
        # A figure about a peer that was left out on purpose is left out too.
        self.result.figures = [
            evaluate(figure, self.result.samples)
            for figure in self._scenario.figures
            if figure.against in (None, *servers) or (figure.against == BEST and servers[1:])
        ]

    def _take(self, server: str, case: Case, number: int) -> None:
        """Take one sample; what goes wrong is a failure of the run, not its end."""
        if server in self._given_up:
            return
        try:
            sample = self._measure(server, case, number)
        except BROKEN as error:
            if isinstance(error, StartFailed):
                self._given_up.add(server)
            self._fail(server, case, number, str(error))
            return
        self.result.samples.append(sample)
        self._say(server, case, number, _told(sample))
        if sample.requests == 0 and not case.is_left_alone:
            self._fail(server, case, number, "not one request was answered")

    def _measure(self, server: str, case: Case, number: int) -> Sample:
        """Start *server*, put the load of *case* on it, stop it.

        Raises:
            StartFailed: It did not start.
            IdleError: Its idle connections were not kept.
            WrkError: The load generator failed; so do CrowdError, NginxError and StickError.
            ProcessGone: It died under the load.
        """
        python = self._options.python_for(server)
        distribution = SERVERS[server].distribution
        if distribution not in machine.versions(python):
            raise StartFailed(f"{distribution} is not installed for the chosen interpreter")
        if case.idle_connections:
            idle.raise_descriptor_limit(case.idle_connections)
        launch = Launch(
            python=python,
            port=free_port(),
            app=case.app,
            interface=case.interface,
            threads=self._scenario.threads,
            worker_connections=self._scenario.worker_connections,
            workers=self._scenario.workers,
            max_requests=self._scenario.max_requests,
            max_rss_mb=self._scenario.max_rss_mb,
            graceful_timeout=self._scenario.graceful_timeout,
            has_websockets=bool(case.websocket),
        )
        refusal = SERVERS[server].refusal(launch)
        if refusal is not None:
            raise StartFailed(refusal)
        with running(server, launch, core=self._server_core, post_bytes=case.post_bytes) as process:
            if case.idle_connections:
                return _weigh(process, launch.port, server, case, number)
            if case.kinds:
                sample, facts = crowded.take(process, self._scenario, case, number, self._seconds)
                for fact in facts:
                    self._fail(server, case, number, fact)
                return sample
            return self._drive(process, launch.port, server, case, number)

    def _drive(
        self, process: RunningServer, port: int, server: str, case: Case, number: int
    ) -> Sample:
        """Warm the server up, then load it, its CPU time taken before and after."""
        drive = self._driver(process, port, case)
        drive(self._scenario.warm_up_seconds)
        dialled = measure.connections_dialled()
        before = measure.process_tree(process.pid)
        outcome = drive(self._seconds)
        after = measure.process_tree(process.pid)
        dialled = measure.connections_dialled() - dialled
        process.check_alive(case.post_bytes)
        errors = {kind: count for kind, count in outcome.errors.items() if count}
        if errors:
            told = ", ".join(f"{kind} {count}" for kind, count in errors.items())
            self._fail(server, case, number, f"errors under load: {told}")
        if case.is_connection_per_request and dialled < outcome.requests:
            told = f"{outcome.requests} requests came over {dialled} connections"
            self._fail(server, case, number, f"{told}; a connection each was asked for")
        return Sample(
            server=server,
            case=case.name,
            round=number,
            requests=outcome.requests,
            seconds=outcome.seconds,
            cpu_seconds=measure.cpu_seconds(after) - measure.cpu_seconds(before),
            p50_us=outcome.p50_us,
            p99_us=outcome.p99_us,
            p999_us=outcome.p999_us,
            rss_bytes=measure.resident_bytes(measure.serving_process(before, after)),
        )

    def _driver(
        self, process: RunningServer, port: int, case: Case
    ) -> Callable[[float], wrk.Outcome]:
        """Return what puts the load of *case* on a server for so many seconds."""
        if case.websocket:
            return functools.partial(websocket_load.drive, port, case, self._wrk_core)
        load = wrk.Load(
            url=process.url,
            script=case.script,
            connections=case.connections,
            core=self._wrk_core,
        )
        return functools.partial(wrk.drive, load)

    def _fail(self, server: str, case: Case, number: int, fact: str) -> None:
        failure = Failure(server=server, case=case.name, round=number, fact=fact)
        self.result.failures.append(failure)
        self._say(server, case, number, f"FAILED: {fact}")

    def _say(self, server: str, case: Case, number: int, fact: str) -> None:
        where = f"{self._scenario.name} {number}/{self._rounds} {server} {case.name}"
        print(f"{where}: {fact}", file=sys.stderr, flush=True)


def run_scenario(scenario: Scenario, options: Options) -> ScenarioResult:
    """Run *scenario* and judge its figures.

    Raises:
        ScenarioError: It wants to be pinned and there is only one core.
        PythonError: An interpreter cannot be run.
    """
    run = _Run(scenario, options)
    run.run()
    return run.result


def _cores(scenario: Scenario) -> tuple[int | None, int | None]:
    """Return the cores of the server and of the load generator.

    Raises:
        ScenarioError: Two are wanted, and there is one.
    """
    if not scenario.is_pinned:
        return None, None
    usable = machine.cores()
    if len(usable) < 2:
        raise ScenarioError(f"{scenario.name} pins server and load to two cores; there is one")
    return usable[0], usable[1]


def _weigh(process: RunningServer, port: int, server: str, case: Case, number: int) -> Sample:
    """Hold idle connections and take their weight."""
    before = measure.process_tree(process.pid)
    grown = idle.bytes_per_connection(
        process.pid, port, case.idle_connections, is_websocket=bool(case.websocket)
    )
    return Sample(
        server=server,
        case=case.name,
        round=number,
        requests=case.idle_connections,
        rss_bytes=measure.resident_bytes(
            measure.serving_process(before, measure.process_tree(process.pid))
        ),
        connection_bytes=grown,
    )


def _told(sample: Sample) -> str:
    """Say the *sample* in one line."""
    parts = []
    for name in TOLD:
        value = METRICS[name].value(sample)
        if value is not None:
            parts.append(f"{METRICS[name].title} {value:,.1f}")
    return ", ".join(parts)

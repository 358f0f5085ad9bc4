"""Scenarios as data: one TOML file each, read into dataclasses, every slip refused by name."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = [
    "BEST",
    "EVENTS",
    "HERE",
    "WAYS",
    "Case",
    "Figure",
    "Kind",
    "Scenario",
    "ScenarioError",
    "find",
    "load",
    "names",
]

HERE: Final = Path(__file__).resolve().parent
DIRECTORY: Final = HERE / "scenarios"
BEST: Final = "best"
WAYS: Final = frozenset({"direct", "nginx", "nginx-kept"})
EVENTS: Final = frozenset({"hup", "kill", "recycle", "stop", "ttin-ttou"})
# Keys of a case that may stand above the cases, for all of them.
SHARED: Final = ("interface", "app", "connections", "kinds", "event", "every")
_T = TypeVar("_T", "Case", "Figure", "Kind", "Scenario")


class ScenarioError(Exception):
    """A scenario is unknown or its file says something that cannot be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of request that the clients of `crowd.py` send."""

    path: str
    share: int = 1
    """How often, relative to the other kinds; chance decides, the same for every server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One load shape: the application, and what the clients do to it."""

    name: str
    app: str
    """`module:attribute` in loadtests/apps."""
    interface: str
    """`wsgi` or `asgi`."""
    script: str = "get"
    """The wrk script in loadtests/lua that makes the request."""
    connections: int = 32
    is_connection_per_request: bool = False
    """Whether each request must have come over a connection of its own; it is checked."""
    idle_connections: int = 0
    """When set, no wrk: so many connections send one request (or message) each, are held, and are
    weighed."""
    websocket: str = ""
    """When set, no wrk but websocket_driver.py: `echo` or `broadcast`, in its words."""
    message_bytes: int = 64
    """The size of a WebSocket message."""
    post_bytes: int = 0
    """When set, the request is a POST of so many bytes, which the application must give back."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    """When set, no wrk: so many `connections` are clients of `crowd.py`, which send these."""
    through: str = "direct"
    """`direct`, `nginx` (an upstream connection for each request) or `nginx-kept`."""
    event: str | None = None
    """What happens under the load: `hup`, `recycle`, `kill`, `ttin-ttou`, `stop`."""
    every: float = 5.0
    """Seconds between two events."""
    is_left_alone: bool = False
    """Whether the measurement begins when the clients are gone: what idleness costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One acceptance figure: how to compute it from the samples of a run, and its bounds."""

    title: str
    metric: str
    """A name from `results.METRICS`."""
    case: str
    against: str | None = None
    """Divide asgibridge's value by this peer's of the same round; `best`: by the best peer's."""
    is_inverted: bool = False
    """Divide the peer's value by asgibridge's instead."""
    relative_to_case: str | None = None
    """Divide once more by the same figure in this case: a ratio of ratios."""
    ideal: float | None = None
    """Divide by this constant: a share of the ideal."""
    must: float | None = None
    aim: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is started, how it is driven, and what asgibridge must reach."""

    name: str
    title: str
    cases: tuple[Case, ...]
    peers: tuple[str, ...]
    figures: tuple[Figure, ...]
    is_pinned: bool = False
    """Server on core 0, load generator on core 1; otherwise the kernel decides."""
    workers: int = 1
    """Processes."""
    threads: int = 8
    """Of each process."""
    worker_connections: int | None = None
    """None: each server's default."""
    max_requests: int | None = None
    """Requests after which a worker is replaced; None: never."""
    max_rss_mb: int | None = None
    """Resident memory, in MB, at which a worker is replaced; None: none."""
    graceful_timeout: float | None = None
    """Seconds that a stop may take; None: each server's default."""
    rounds: int = 3
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    is_in_all: bool = True
    """Whether `all` runs it."""


def names() -> list[str]:
    """Return the names of all scenarios, sorted."""
    return sorted(path.stem for path in DIRECTORY.glob("*.toml"))


def find(name: str) -> Scenario:
    """Load the scenario called *name*.

    Raises:
        ScenarioError: There is none of that name, or its file is wrong.
    """
    path = DIRECTORY / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`python -m loadtests` lists them"
        raise ScenarioError(f"no scenario called {name}; {hint}")
    return load(path)


def load(path: Path) -> Scenario:
    """Read one scenario file.

    Raises:
        ScenarioError: The file names unknown keys, lacks needed ones, or contradicts itself.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    origin = path.name
    shared: dict[str, Any] = {key: table.pop(key) for key in SHARED if key in table}
    cases = tuple(
        _case(name, {**shared, **entry}, origin) for name, entry in table.pop("cases").items()
    )
    figures = tuple(
        _build(Figure, {"case": cases[0].name, **entry}, f"{origin}: figure {number}")
        for number, entry in enumerate(table.pop("figures", []), start=1)
    )
    table["peers"] = tuple(table.get("peers", ()))
    known = {**table, "name": path.stem, "cases": cases, "figures": figures}
    scenario = _build(Scenario, known, origin)
    _check(scenario, origin)
    return scenario


def _case(name: str, table: dict[str, Any], origin: str) -> Case:
    """Make a case and its kinds of requests."""
    kinds = {
        kind: _build(Kind, entry, f"{origin}: kind {kind}")
        for kind, entry in table.pop("kinds", {}).items()
    }
    return _build(Case, {**table, "name": name, "kinds": kinds}, f"{origin}: case {name}")


def _build(kind: type[_T], table: dict[str, Any], origin: str) -> _T:
    """Make a *kind* from *table*; unknown and missing keys are refused with their *origin*."""
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(table.keys() - known.keys())
    if unknown:
        raise ScenarioError(f"{origin}: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    needed = [n for n, f in known.items() if f.default is f.default_factory is MISSING]
    missing = [name for name in needed if name not in table]
    if missing:
        raise ScenarioError(f"{origin}: {', '.join(missing)} missing; add it")
    return kind(**table)


def _check(scenario: Scenario, origin: str) -> None:
    """Refuse a *scenario* whose parts name each other wrongly.

    Raises:
        ScenarioError: A figure names a case or a peer, or a case a script, that is not there.
    """
    cases = {case.name for case in scenario.cases}
    for case in scenario.cases:
        if not (HERE / "lua" / f"{case.script}.lua").is_file():
            raise ScenarioError(f"{origin}: no script {case.script}.lua in loadtests/lua")
        _check_crowd(case, origin)
    for figure in scenario.figures:
        for name in (figure.case, figure.relative_to_case):
            if name is not None and name not in cases:
                raise ScenarioError(f"{origin}: figure {figure.title!r} names no case: {name}")
        if figure.against not in (None, BEST, *scenario.peers):
            raise ScenarioError(f"{origin}: {figure.against} is compared with, but no peer")


def _check_crowd(case: Case, origin: str) -> None:
    """Refuse a *case* that wants from wrk what only `crowd.py` can do.

    Raises:
        ScenarioError: It does, or it names a way or an event that is not there.
    """
    where = f"{origin}: case {case.name}"
    if case.through not in WAYS:
        raise ScenarioError(f"{where}: no way {case.through}; known: {', '.join(sorted(WAYS))}")
    if case.event is not None and case.event not in EVENTS:
        known = ", ".join(sorted(EVENTS))
        raise ScenarioError(f"{where}: no event {case.event}; known: {known}")
    if not case.kinds and (case.through != "direct" or case.event or case.is_left_alone):
        raise ScenarioError(f"{where}: it needs kinds of requests; add [kinds.NAME] with a path")

"""Render results as Markdown: what the terminal shows and what the documentation quotes."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from loadtests.compare import median_of, ratios
from loadtests.results import METRICS
from loadtests.servers import ASGIBRIDGE, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loadtests.results import FigureResult, Results, Sample, ScenarioResult

__all__ = ["render", "render_scenario"]

COLUMNS: Final = (
    *("requests_per_second", "cpu_us", "p50_us", "p99_us", "p999_us"),
    *("quick_p50_us", "quick_p99_us", "slow_p50_us", "slow_p99_us"),
    *("rss_mb", "connection_kb", "workers_answered", "failed", "failed_beyond_kills", "repeated"),
    *("stop_seconds", "idle_cpu_percent"),
)
# Settings that make a server replace or leave its workers.
LIMITS: Final = {
    "max_requests": "recycled at requests",
    "max_rss_mb": "recycled at MB of RSS",
    "graceful_timeout": "graceful timeout in s",
}
# Events that the load test causes, in contrast to those that the server causes itself.
TIMED: Final = ("hup", "kill", "ttin-ttou")
# Metrics for which the ratio to asgibridge is shown beside the value.
COMPARED: Final = ("requests_per_second", "cpu_us", "connection_kb")


def render(results: Results) -> str:
    """Render a whole run."""
    machine = ", ".join(f"{key} {value}" for key, value in results.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    head = [
        "# Load test results",
        f"- made: {results.made_at}",
        f"- commit: {results.commit}",
        f"- command: `{results.command}`",
        f"- machine: {machine}",
        f"- versions: {versions}",
    ]
    parts = ["\n".join([head[0], "", *head[1:]])]
    parts += [render_scenario(scenario) for scenario in results.scenarios]
    return "\n\n".join(parts) + "\n"


def render_scenario(result: ScenarioResult) -> str:
    """Render one scenario: a table of servers for each case, notes, failures, the verdicts."""
    settings = result.settings
    pinned = "pinned (server and load on a core each)" if settings["is_pinned"] else "not pinned"
    facts = (
        f"{_processes(settings)}{settings['threads']} threads, {pinned}, "
        f"rounds: {settings['rounds']} of {settings['seconds']:g} s each; "
        "medians, of failures and stops the worst."
    )
    parts = [f"## {result.name}", f"{result.title}.\n{facts}"]
    for name, case in settings["cases"].items():
        parts += [f"### {name}: {_shape(case)}", _servers(result, name)]
        parts += _observations(result, name)
    parts += _notes(result)
    if result.failures:
        facts = "\n".join(
            f"- {failure.server}, {failure.case}, round {failure.round}: {failure.fact}"
            for failure in result.failures
        )
        parts.append(f"**Failures**\n\n{facts}")
    if result.figures:
        parts.append(_figures(result.figures))
    return "\n\n".join(parts)


def _processes(settings: dict[str, Any]) -> str:
    """Say how many workers there were, and when they had to go.

    Results from before there were several do not tell.
    """
    facts = []
    if settings.get("workers", 1) > 1:
        facts.append(f"{settings['workers']} workers, each with ")
    for key, what in LIMITS.items():
        if settings.get(key) is not None:
            facts.insert(0, f"{what} {settings[key]:g}, ")
    return "".join(facts)


def _shape(case: dict[str, Any]) -> str:
    """Say what a case is, in a few words."""
    if case.get("kinds"):
        return _crowd_shape(case)
    if case["idle_connections"]:
        return f"{case['app']}, {case['idle_connections']} idle connections"
    if case.get("websocket"):
        size = case["message_bytes"]
        return f"{case['app']}, {case['connections']} WebSockets, messages of {size} bytes"
    return f"{case['app']}, {case['connections']} connections, {case['script']}.lua"


def _crowd_shape(case: dict[str, Any]) -> str:
    """The same for the clients of crowd.py."""
    total = sum(kind["share"] for kind in case["kinds"].values())
    kinds = [f"{k['share']} of {total} {k['path']}" for k in case["kinds"].values()]
    each = "a connection for each request" if case["is_connection_per_request"] else "kept alive"
    event = "" if case["event"] is None else f", {case['event']}"
    if case["event"] in TIMED:
        event += f" every {case['every']:g} s"
    if case["is_left_alone"]:
        return "nobody asks"
    way = case["through"]
    return f"{', '.join(kinds)}, {case['connections']} clients, {each}, {way}{event}"


def _observations(result: ScenarioResult, case: str) -> list[str]:
    """Say how requests failed or were repeated, and what was done to the server."""
    has_event = bool(result.settings["cases"][case].get("event"))
    lines = [
        f"- {sample.server}, round {sample.round}: {'; '.join(facts)}."
        for sample in result.samples
        if sample.case == case and (facts := _observed(sample, has_event=has_event))
    ]
    return ["\n".join(lines)] if lines else []


def _observed(sample: Sample, *, has_event: bool) -> list[str]:
    """Say it of one sample."""
    facts = []
    if has_event:
        facts += [f"{count} × {name}" for name, count in sample.events.items()]  # noqa: RUF001
        alive = f"{sample.workers_least} to {sample.workers_most} alive"
        facts.append(f"{sample.workers_answered} workers answered, {alive}")
    if sample.failed:
        facts.append(f"failed: {_counts(sample.failed)}")
    if sample.repeated:
        longest = f"at most {sample.repeated_after_ms:.1f} ms after they were sent"
        facts.append(f"repeated on a fresh connection: {_counts(sample.repeated)}, {longest}")
    if sample.closed_idle:
        facts.append(f"found closed before use: {sample.closed_idle}")
    if sample.nginx_errors:
        facts.append(f"nginx: {_counts(sample.nginx_errors)}")
    return facts


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.items())


def _servers(result: ScenarioResult, case: str) -> str:
    """Render the table of one case: a row for each server, asgibridge first."""
    measured = {sample.server for sample in result.samples if sample.case == case}
    if not measured:
        return "Nothing was measured."
    servers = [server for server in SERVERS if server in measured]
    table = {
        metric: [median_of(metric, server, case, result.samples) for server in servers]
        for metric in COLUMNS
    }
    columns = [metric for metric in COLUMNS if any(value is not None for value in table[metric])]
    headers = ["server"]
    rows = [[server] for server in servers]
    for metric in columns:
        headers.append(METRICS[metric].title)
        for row, value in zip(rows, table[metric], strict=True):
            row.append(_number(value))
        if metric in COMPARED and ASGIBRIDGE in measured:
            headers.append("asgibridge ÷ it")
            for row, server in zip(rows, servers, strict=True):
                row.append(_ratio(result, metric, server, case))
    return _table(headers, rows)


def _ratio(result: ScenarioResult, metric: str, server: str, case: str) -> str:
    """Return the median of the rounds' ratios."""
    if server == ASGIBRIDGE:
        return ""
    found = ratios(metric, server, case, result.samples)
    return f"{median(found):.2f}" if found else ""


def _notes(result: ScenarioResult) -> list[str]:
    """Return what a reader must know of the servers that were measured."""
    cases = result.settings["cases"]
    measured = {(sample.server, cases[sample.case]["interface"]) for sample in result.samples}
    notes = [
        f"- {name}, {interface.upper()}: {note}."
        for name, server in SERVERS.items()
        for interface, note in server.notes.items()
        if (name, interface) in measured
    ]
    return ["\n".join(notes)] if notes else []


def _figures(figures: Sequence[FigureResult]) -> str:
    """Render the table of verdicts."""
    rows = []
    for figure in figures:
        sign = "≥" if figure.is_higher_better else "≤"
        spread = ""
        if figure.low is not None and figure.high is not None:
            spread = f"{_number(figure.low)} to {_number(figure.high)}"
        rows.append(
            [
                figure.title,
                _number(figure.measured),
                spread,
                "" if figure.must is None else f"{sign} {figure.must:g}",
                "" if figure.aim is None else f"{sign} {figure.aim:g}",
                figure.verdict,
            ]
        )
    return _table(["figure", "measured", "spread", "must", "aim", "verdict"], rows)


def _number(value: float | None) -> str:
    """Format with as many digits as mean something."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table that reads well as plain text: words left, numbers right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    is_text = [not any(c.isdigit() for c in lines[1][i][:1]) for i in range(len(headers))]
    laid = [
        [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ]
        for line in lines
    ]
    rule = [
        "-" * width if text else "-" * (width - 1) + ":"
        for width, text in zip(widths, is_text, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [laid[0], rule, *laid[1:]])

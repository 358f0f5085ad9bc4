"""Render results as Markdown: what the terminal shows and what the documentation quotes."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from loadtests.compare import median_of, ratios
from loadtests.results import METRICS
from loadtests.servers import ASGIBRIDGE, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loadtests.results import FigureResult, Results, ScenarioResult

__all__ = ["render", "render_scenario"]

COLUMNS: Final = (
    *("requests_per_second", "cpu_us", "p50_us", "p99_us", "p999_us"),
    *("rss_mb", "connection_kb"),
)
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
        f"{settings['threads']} threads, {pinned}, "
        f"rounds: {settings['rounds']} of {settings['seconds']:g} s each; medians."
    )
    parts = [f"## {result.name}", f"{result.title}.\n{facts}"]
    for name, case in settings["cases"].items():
        parts += [f"### {name}: {_shape(case)}", _servers(result, name)]
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


def _shape(case: dict[str, object]) -> str:
    """Say what a case is, in a few words."""
    if case["idle_connections"]:
        return f"{case['app']}, {case['idle_connections']} idle connections"
    if case.get("websocket"):
        size = case["message_bytes"]
        return f"{case['app']}, {case['connections']} WebSockets, messages of {size} bytes"
    return f"{case['app']}, {case['connections']} connections, {case['script']}.lua"


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

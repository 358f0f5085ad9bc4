"""Write the reference pages that are made from declarations in the code.

`python docs/generate.py` writes them, `--check` only tells which are stale.  A further generated
page is one more function in `PAGES`.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from asgibridge.cli import program
from asgibridge.config.help import usage
from asgibridge.config.kinds import Shape
from asgibridge.config.settings import OPTIONS
from asgibridge.flags import SettingsCommand
from asgibridge.http.lifecycle import (
    PERSISTENCE_MOVES,
    READING_MOVES,
    WEBSOCKET_MOVES,
    WRITING_MOVES,
    Persistence,
    Reading,
    WebSocketStage,
    Writing,
)
from asgibridge.net.tls import TLS_MOVES, TlsStage
from asgibridge.process.phase import PHASE_MOVES, Phase
from asgibridge.supervision.stage import STAGE_MOVES, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from enum import Enum

    from asgibridge.config.option import Option
    from asgibridge.http.lifecycle import Moves

__all__ = ["CONTENT", "MACHINES", "PAGES", "diagram", "main", "stale_pages"]

CONTENT: Final = Path(__file__).parent / "content"

_NOTE: Final = "<!-- Written by docs/generate.py: edit the declarations, then run it again. -->\n"
_COLUMNS: Final = 80

_SETTINGS_INTRO: Final = """\
# Settings

Every setting has one name and four ways to give it.
The strongest wins:

1. a flag: `--worker-connections 500`
2. a variable: `ASGIBRIDGE_WORKER_CONNECTIONS=500` (an empty one counts as unset)
3. a line in a settings file: `worker_connections = 500`
4. the default

The settings file is `asgibridge.toml` in the current directory, or the one that `--config` or
`ASGIBRIDGE_CONFIG` names; relative paths in it count from the current directory.
From Python, `asgibridge.Config(worker_connections=500)` takes the same names and reads no other
source.

Unknown names and wrong values are errors in all of them.
All mistakes are reported at once, each with where it came from.
`asgibridge settings` prints every value with its origin.
`asgibridge settings --format toml` is a settings file to start from.

- A **time** is in seconds, or has a unit: `30`, `1.5`, `500ms`, `30s`, `5m`, `1h`.
- A **size** is in bytes, or has a binary unit: `65536`, `64k`, `1m`, `1g`.
- **Memory** is in MiB, or has a binary unit, or is a share of what there is: `300`, `300m`, `1g`,
  `80%`.
- `none` stands for nothing, where that is possible; `auto` for what the server finds out itself.
"""

_CLI_INTRO: Final = """\
# Command line

`python -m asgibridge` is the same command.
[Settings](settings.md) tells more about each flag, and why its default is what it is.

| exit code | meaning |
|---|---|
| 0 | stopped gracefully, or did what was asked |
| 1 | anything else: above all, the graceful timeout cut something |
| 2 | wrong usage or settings |
| 3 | the start failed: application, address or start-up events |
| 130 | interrupted before the server ran |

Errors are lines on standard error that begin with `asgibridge: `.
They are red on a terminal, unless `NO_COLOR` is set.
"""

_LIFECYCLE_INTRO: Final = """\
# Life cycles

Seven things have a state: the request and the response of an exchange, the connection, its TLS, a
WebSocket, the process, and a worker as its supervisor sees it.
Each state is one value and each has one table of moves.
The diagrams below are drawn from those tables.
A move that is not in its table is refused with an error that names both sides.
"""


def settings_page() -> str:
    """Render the reference of all settings."""
    lines = [_NOTE, _SETTINGS_INTRO]
    group = None
    for option in OPTIONS.values():
        if option.group is not group:
            group = option.group
            lines += [f"## {group.title}", "", group.intro, ""]
        lines += _setting(option)
    return "\n".join(lines)


def cli_page() -> str:
    """Render the reference of the command line."""
    lines = [_NOTE, _CLI_INTRO, "## asgibridge", "", *_help_block(program, "asgibridge")]
    for name, command in program.commands.items():
        lines += [f"## asgibridge {name}", "", *_help_block(command, f"asgibridge {name}")]
    return "\n".join(lines)


class Machine(NamedTuple):
    """A state machine as the page shows it; an end is marked where no move leads away."""

    title: str
    home: str
    what: str
    moves: Moves[Any, Any]
    first: Enum


MACHINES: Final = (
    Machine(
        "Reading",
        "asgibridge/http/lifecycle.py",
        "How much of the current request has been read.",
        READING_MOVES,
        Reading.AWAITING_HEAD,
    ),
    Machine(
        "Writing",
        "asgibridge/http/lifecycle.py",
        "How much of the current response has been handed over.",
        WRITING_MOVES,
        Writing.AWAITING_START,
    ),
    Machine(
        "Persistence",
        "asgibridge/http/lifecycle.py",
        "What becomes of the connection after the current exchange.",
        PERSISTENCE_MOVES,
        Persistence.REUSE,
    ),
    Machine(
        "WebSocket",
        "asgibridge/http/lifecycle.py",
        "How far a WebSocket is.",
        WEBSOCKET_MOVES,
        WebSocketStage.CONNECTING,
    ),
    Machine(
        "TLS",
        "asgibridge/net/tls.py",
        "How far a connection under TLS has come.",
        TLS_MOVES,
        TlsStage.HANDSHAKING,
    ),
    Machine(
        "Phase",
        "asgibridge/process/phase.py",
        "Where a process stands between its start and its end.",
        PHASE_MOVES,
        Phase.NEW,
    ),
    Machine(
        "Stage",
        "asgibridge/supervision/stage.py",
        "How far a worker has come, as its supervisor sees it.",
        STAGE_MOVES,
        Stage.SPAWNED,
    ),
)


def lifecycle_page() -> str:
    """Render the state machines as diagrams and tables."""
    lines = [_NOTE, _LIFECYCLE_INTRO]
    for machine in MACHINES:
        lines += [f"## {machine.title}", "", machine.what, f"The table is in `{machine.home}`.", ""]
        lines += ["```mermaid", *diagram(machine.moves, machine.first), "```", ""]
        lines += ["| in | on | then |", "|---|---|---|"]
        lines += [
            f"| {state.value} | {event.value} | {then.value} |"
            for (state, event), then in machine.moves.items()
        ]
        lines.append("")
    return "\n".join(lines)


def diagram(moves: Moves[Any, Any], first: Enum) -> list[str]:
    """Draw *moves* as a Mermaid state diagram that begins in *first*."""
    states = list(dict.fromkeys(_states(moves)))
    left = {state for state, _ in moves}
    return [
        "stateDiagram-v2",
        *(f'    state "{state.value}" as {state.name}' for state in states),
        f"    [*] --> {first.name}",
        *(
            f"    {state.name} --> {then.name}: {event.value}"
            for (state, event), then in moves.items()
        ),
        *(f"    {state.name} --> [*]" for state in states if state not in left),
    ]


def _states(moves: Moves[Any, Any]) -> Iterable[Enum]:
    for (state, _), then in moves.items():
        yield state
        yield then


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "reference/settings.md": settings_page,
    "reference/cli.md": cli_page,
    "reference/lifecycle.md": lifecycle_page,
}
"""Every generated page, by its path under `content`."""


def stale_pages(content: Path | None = None) -> list[str]:
    """Name the pages under *content* that differ from what their declarations say."""
    folder = CONTENT if content is None else content
    return [page for page, render in PAGES.items() if _read(folder / page) != render()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with `--check` name the stale ones and return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only tell which pages are stale")
    is_check = parser.parse_args(arguments).check
    stale = stale_pages()
    for page in stale:
        if not is_check:
            target = CONTENT / page
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(PAGES[page](), encoding="utf-8")
        verdict = "is stale; run docs/generate.py" if is_check else "written"
        sys.stdout.write(f"docs/content/{page} {verdict}\n")
    return 1 if stale and is_check else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _setting(option: Option) -> list[str]:
    flag = usage(option)
    if option.kind.shape is Shape.SWITCH:
        flag = f"{option.flag}`, `{option.off_flag}"
    variables = [option.environment, *filter(None, [option.names.environment])]
    default = f"`{option.shown_default}`" if option.shown_default else "empty"
    rows = {
        "flag": f"`{_cell(flag)}`",
        "variable": ", ".join(f"`{each}`" for each in variables),
        "takes": _cell(option.kind.expects),
        "default": default,
    }
    if option.reason:
        rows["why"] = _cell(option.reason)
    return [
        f"### {option.name}",
        "",
        # One sentence per line, so that a changed sentence is a changed line.
        _cell(option.help).replace(". ", ".\n"),
        "",
        "| | |",
        "|---|---|",
        *(f"| {heading} | {cell} |" for heading, cell in rows.items()),
        "",
    ]


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _help_block(command: click.Command, path: str) -> list[str]:
    lines = _help(command, path)
    if isinstance(command, SettingsCommand) and command is not program.commands["serve"]:
        # The settings are listed once, under `serve`.
        headings = {f"{option.group.title}: {option.group.intro}" for option in OPTIONS.values()}
        first = next(number for number, line in enumerate(lines) if line in headings)
        lines = [*lines[:first], *lines[lines.index("Other") :]]
    return ["```text", *lines, "```", ""]


def _help(command: click.Command, path: str) -> list[str]:
    context = click.Context(
        command, info_name=path, terminal_width=_COLUMNS - 2, help_option_names=["-h", "--help"]
    )
    return [line.rstrip() for line in click.unstyle(command.get_help(context)).splitlines()]


if __name__ == "__main__":
    sys.exit(main())

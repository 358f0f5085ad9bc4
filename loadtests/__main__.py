"""python -m loadtests: list, run and report.  The only module here that prints tables or exits."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtests import machine, report, results, scenarios
from loadtests.compare import MISSED, NOT_MEASURED
from loadtests.run import Options, run_scenario
from loadtests.servers import ASGIBRIDGE, SERVERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from loadtests.scenarios import Scenario

REACHED: Final = 0
NOT_REACHED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code."""
    if arguments[:1] == ["report"]:
        return _report(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        if not options.scenario:
            _list()
            return REACHED
        return _run(options)
    except (scenarios.ScenarioError, machine.PythonError) as error:
        print(f"loadtests: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("loadtests: interrupted; every server is stopped", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    """Declare the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Start asgibridge and its peers in turn, drive them with wrk, compare them.",
        epilog="`python -m loadtests report RESULTS.json` renders results as Markdown. Exit codes: "
        "0 every `must` reached without errors, 1 not, 2 wrong usage.",
    )
    add = parser.add_argument
    add("scenario", nargs="*", help="scenarios to run, or `all`; none: list them")
    add("--peers", type=_peers, metavar="A,B", help="peers to compare with; `none`: no peer")
    add("--rounds", type=_positive_int, help="rounds, each with every server (default: 3)")
    add("--seconds", type=_positive_float, help="length of a measurement (default: 5)")
    add("--python", default=sys.executable, help="interpreter the peers are installed for")
    add("--asgibridge-python", default=sys.executable, help="the same for asgibridge")
    add("--json", type=Path, metavar="PATH", help="write the results there")
    return parser


def _peers(text: str) -> tuple[str, ...]:
    """Read `--peers`."""
    if text == "none":
        return ()
    peers = tuple(name.strip() for name in text.split(",") if name.strip())
    known = [name for name in SERVERS if name != ASGIBRIDGE]
    unknown = [name for name in peers if name not in known]
    if unknown:
        names = ", ".join(unknown)
        raise argparse.ArgumentTypeError(f"no peer called {names}; known: {', '.join(known)}")
    return peers


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600")
    return value


def _list() -> None:
    """Print the scenarios."""
    for name in scenarios.names():
        print(f"{name:26} {scenarios.find(name).title}")


def _run(options: argparse.Namespace) -> int:
    """Run the chosen scenarios, print each when it is done, and keep the JSON current."""
    chosen = _chosen(options.scenario)
    signal.signal(signal.SIGTERM, _interrupt)
    gathered = results.Results(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=_command(options),
        commit=machine.commit(),
        machine=machine.describe(),
        versions=_versions(options),
    )
    run_options = Options(
        python=options.python,
        asgibridge_python=options.asgibridge_python,
        peers=options.peers,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    for scenario in chosen:
        result = run_scenario(scenario, run_options)
        gathered.scenarios.append(result)
        print(report.render_scenario(result), end="\n\n", flush=True)
        if options.json is not None:
            results.write(gathered, options.json)
    return REACHED if all(map(_is_reached, gathered.scenarios)) else NOT_REACHED


def _chosen(names: Sequence[str]) -> list[Scenario]:
    """Load the scenarios called *names*; `all` is all of those that belong to it.

    Raises:
        ScenarioError: One is unknown, or its file is wrong.
    """
    if list(names) == ["all"]:
        return [s for s in map(scenarios.find, scenarios.names()) if s.is_in_all]
    return [scenarios.find(name) for name in names]


def _is_reached(result: results.ScenarioResult) -> bool:
    """Say whether nothing failed and every figure with a bound reached it."""
    bad = (MISSED, NOT_MEASURED)
    return not result.failures and all(f.verdict not in bad for f in result.figures)


def _command(options: argparse.Namespace) -> str:
    """Return the command as somebody else would type it: no paths of this machine."""
    words = ["python", "-m", "loadtests", *options.scenario]
    if options.peers is not None:
        words += ["--peers", ",".join(options.peers) or "none"]
    if options.rounds is not None:
        words += ["--rounds", str(options.rounds)]
    if options.seconds is not None:
        words += ["--seconds", f"{options.seconds:g}"]
    return shlex.join(words)


def _versions(options: argparse.Namespace) -> dict[str, str]:
    """Return the versions of the peers, and of asgibridge and what it stands on.

    Raises:
        PythonError: An interpreter cannot be run.
    """
    ours = machine.versions(options.asgibridge_python)
    found = dict(machine.versions(options.python))
    for name in ("python", "httptools", "uvloop", "websockets"):
        if found.get(name) != ours.get(name):
            found[f"asgibridge's {name}"] = ours.get(name, "not installed")
    found.pop(ASGIBRIDGE, None)
    return {ASGIBRIDGE: ours.get(ASGIBRIDGE, "not installed"), **found}


def _report(arguments: Sequence[str]) -> int:
    """Render results that were written with --json."""
    parser = argparse.ArgumentParser(prog="python -m loadtests report")
    parser.add_argument("results", type=Path, help="a file written with --json")
    options = parser.parse_args(arguments)
    try:
        print(report.render(results.read(options.results)), end="")
    except results.ResultsError as error:
        print(f"loadtests: {error}", file=sys.stderr)
        return WRONG_USAGE
    return REACHED


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C, so that the servers are stopped."""
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

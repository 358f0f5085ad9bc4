"""Run wrk, the load generator, and read what it measured."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loadtests.scenarios import HERE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Load", "Outcome", "WrkError", "drive", "parse", "run"]

SCRIPTS: Final = HERE / "lua"
# wrk's own bound for one answer, seconds (its default is 2): a busy machine is no error.
ANSWER_TIMEOUT: Final = 10
# What wrk may need beyond its duration, seconds, before it counts as stuck.
GRACE: Final = 30.0


class WrkError(Exception):
    """wrk is missing, failed, or said nothing that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk shall do."""

    url: str
    script: str
    connections: int
    core: int | None
    """The core to run on; None lets the kernel decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What wrk measured."""

    seconds: float
    requests: int
    p50_us: float
    p99_us: float
    p999_us: float
    errors: dict[str, int]
    """connect, read, write, status (400 and above), timeout: how often each happened."""


def drive(load: Load, seconds: float) -> Outcome:
    """Put *load* on a server for *seconds* (wrk knows whole ones only, so they are rounded up).

    Raises:
        WrkError: wrk is missing or failed.
    """
    if shutil.which("wrk") is None:
        raise WrkError("wrk is not installed; on Debian: apt install wrk")
    pin = [] if load.core is None else ["taskset", "--cpu-list", str(load.core)]
    command = [
        *pin,
        "wrk",
        "--threads=1",
        f"--connections={load.connections}",
        f"--duration={math.ceil(seconds)}s",
        f"--timeout={ANSWER_TIMEOUT}s",
        f"--script={load.script}.lua",
        load.url,
    ]
    # The scripts load each other by name, hence the directory.
    return run("wrk", command, seconds, SCRIPTS)


def run(name: str, command: list[str], seconds: float, directory: Path) -> Outcome:
    """Run the load generator *name*, which takes *seconds*, and read what it says.

    Raises:
        WrkError: It failed.
    """
    # A session of its own: Ctrl-C comes to us alone, and we end it.
    process = subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=seconds + GRACE)
    except subprocess.TimeoutExpired as error:
        raise WrkError(f"{name} did not end within {seconds + GRACE:.0f} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        told = output.strip()[-500:]
        raise WrkError(f"{name} ended with exit code {process.returncode}: {told}")
    return parse(output)


def parse(output: str) -> Outcome:
    """Read the line that lua/summary.lua writes.

    Raises:
        WrkError: There is no such line.
    """
    for line in reversed(output.splitlines()):
        if line.startswith("SUMMARY "):
            told = json.loads(line.removeprefix("SUMMARY "))
            return Outcome(
                seconds=told["microseconds"] / 1e6,
                requests=told["requests"],
                p50_us=told["p50_us"],
                p99_us=told["p99_us"],
                p999_us=told["p999_us"],
                errors=told["errors"],
            )
    raise WrkError(f"the load generator printed no summary: {output.strip()[-500:]}")

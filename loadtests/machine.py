"""What a figure depends on beside the code: machine, kernel, versions, commit."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

from loadtests.scenarios import HERE

__all__ = ["PythonError", "commit", "cores", "describe", "versions"]

DISTRIBUTIONS: Final = (
    *("asgibridge", "a2wsgi", "flask", "granian", "gunicorn", "gunicorn_h1c", "h11", "httptools"),
    *("hypercorn", "pyuwsgi", "uvicorn", "uvloop", "waitress", "websockets", "werkzeug"),
    "wsproto",
)
ASK_VERSIONS: Final = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_implementation() + " " + platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
TIMEOUT: Final = 60


class PythonError(Exception):
    """An interpreter cannot be run."""


def cores() -> list[int]:
    """Return the cores that we may run on."""
    return sorted(os.sched_getaffinity(0))


def describe() -> dict[str, Any]:
    """Describe the machine; no name, no address."""
    return {
        "cpu": _first_value(Path("/proc/cpuinfo"), "model name"),
        "cores": len(cores()),
        "memory": _first_value(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "load_before": round(os.getloadavg()[0], 2),
        "wrk": _wrk_version(),
        "nginx": _nginx_version(),
    }


def _first_value(path: Path, key: str) -> str:
    """Return what stands behind the first *key* in a file of `key : value` lines."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _wrk_version() -> str:
    """Return the first words of `wrk --version`, which ends with exit code 1."""
    try:
        told = subprocess.run(
            ["wrk", "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except OSError:
        return "not installed"
    return (told.stdout + told.stderr).partition(" [")[0].removeprefix("wrk ").strip()


def _nginx_version() -> str:
    """Return what `nginx -v` tells."""
    try:
        told = subprocess.run(
            ["nginx", "-v"], capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except OSError:
        return "not installed"
    return (told.stdout + told.stderr).strip().rpartition("/")[2]


@functools.cache
def versions(python: str) -> dict[str, str]:
    """Return the versions of the servers and what they stand on, installed for *python*.

    Raises:
        PythonError: It is no Python interpreter that runs.
    """
    try:
        told = subprocess.run(
            [python, "-c", ASK_VERSIONS, *DISTRIBUTIONS],
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT,
            cwd="/",  # not the project root: only what is installed counts
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PythonError(f"cannot ask {python} for versions: {error}") from error
    found: dict[str, str] = json.loads(told.stdout)
    return found


def commit() -> str:
    """Return the commit of the project, with `-dirty` when what is under test differs from it."""
    changed = ("status", "--porcelain", "--", "../asgibridge", ".", ":!results")
    try:
        return _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if _git(*changed) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    told = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, cwd=HERE, timeout=TIMEOUT
    )
    return told.stdout.strip()

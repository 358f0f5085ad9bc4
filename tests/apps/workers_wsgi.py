"""A WSGI application that tells which process answers, and misbehaves when it is asked to.

Variables of the environment name files: while BROKEN exists, the import fails; while it holds
`exit`, the process ends instead.  WAITS_FOR holds the import up until the file is there.

Its sleeps are stuck or slow work, for tests of just that; see `stopping_asgi`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FOREVER = 3600.0
IMPORTED_BY = os.getpid()
kept: list[bytearray] = []


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def come_to_life() -> None:
    broken = Path(os.environ.get("BROKEN", "/nonexistent"))
    if broken.exists():
        if broken.read_text() == "exit":
            os._exit(7)
        raise RuntimeError("broken on purpose")
    if waits_for := os.environ.get("WAITS_FOR"):
        say("importing")
        while not Path(waits_for).exists():
            time.sleep(0.02)
    if os.environ.get("STARTS_A_THREAD"):
        threading.Thread(
            target=time.sleep, args=(FOREVER,), name="from-import", daemon=True
        ).start()


come_to_life()


def stuck_in_a_thread() -> None:
    time.sleep(FOREVER)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    answer = str(os.getpid())
    match environ["PATH_INFO"]:
        case "/stuck":
            say(f"in /stuck pid={answer}")
            stuck_in_a_thread()
        case "/slow":
            say(f"in /slow pid={answer}")
            time.sleep(float(environ["QUERY_STRING"] or "0.5"))
        case "/imported-by":
            answer = str(IMPORTED_BY)
        case "/leaks":
            # Written to, or the kernel would not count it.
            kept.append(bytearray(b"x" * 128 * 1024))
        case "/orphan":
            # The shell ends at once; what it leaves behind has no parent any more.
            subprocess.run(["sh", "-c", "(sleep 0.1; echo an orphan ends >&2) &"], check=True)  # noqa: S607
        case "/dies":
            os._exit(9)
        case _:
            pass  # Any other path is answered at once.
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer.encode()]

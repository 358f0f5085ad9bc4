"""Start the WebSocket driver as a program of its own and read what it measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from loadtests import wrk
from loadtests.scenarios import HERE

if TYPE_CHECKING:
    from loadtests.scenarios import Case

__all__ = ["drive"]


def drive(port: int, case: Case, core: int | None, seconds: float) -> wrk.Outcome:
    """Put the load of *case* on the server at *port* for *seconds*.

    Raises:
        WrkError: The driver failed, or a WebSocket did.
    """
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    command = [
        *pin,
        *(sys.executable, "-m", "loadtests.websocket_driver"),
        *("--port", str(port), "--mode", case.websocket),
        *("--connections", str(case.connections), "--bytes", str(case.message_bytes)),
        *("--warm-up", "0", "--seconds", str(seconds)),
    ]
    return wrk.run("websocket_driver", command, seconds, HERE.parent)

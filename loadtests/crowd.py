"""A crowd of clients in a process of its own: each sends its next request when the last is over.

`python -m loadtests.crowd PLAN` is that process: it prints one line of JSON when it is done.
SIGTERM ends the run early; requests under way are still waited for.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from loadtests.client import Client
from loadtests.scenarios import HERE
from loadtests.tally import Tally, from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtests.client import Result

__all__ = ["Crowd", "CrowdError", "Plan", "schedule"]

# A client that failed waits so long, seconds, before its next request: no storm on a closed door.
PAUSE_AFTER_FAILURE: Final = 0.05
# What the crowd may need beyond its duration, seconds: two attempts at an answer, and a start.
GRACE: Final = 45.0


class CrowdError(Exception):
    """The process of the clients failed, or said nothing that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the crowd shall do."""

    port: int
    clients: int
    seconds: float
    is_kept: bool
    """Whether a client uses its connection for more than one request."""
    paths: Mapping[str, str]
    """Kind of request -> path."""
    shares: Mapping[str, int]
    """Kind of request -> how often, relative to the others."""
    seed: int = 1


class Crowd:
    """The process, seen from outside."""

    def __init__(self, plan: Plan) -> None:
        """Start it.

        A session of its own: Ctrl-C comes to us alone, and we end it.
        """
        self._plan = plan
        self._bound = time.monotonic() + plan.seconds + GRACE
        # A file: a pipe would fill up and hold the process while nobody reads.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (tally() and kill() close it)
        # Blocked from its first moment: it waits for this signal in `_run`.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtests.crowd", json.dumps(asdict(plan))],
                cwd=HERE.parent,
                stdout=self._output,
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def is_running(self) -> bool:
        """Whether it is still at work, and has time for it."""
        return self._process.poll() is None and time.monotonic() < self._bound

    def finish(self) -> None:
        """Ask it to come to an end now."""
        self._process.send_signal(signal.SIGTERM)

    def tally(self) -> Tally:
        """Wait for its end and return what it saw.

        Raises:
            CrowdError: It failed.
        """
        try:
            self._process.wait(max(0.0, self._bound - time.monotonic()))
            self._output.seek(0)
            output = self._output.read().decode()
        except subprocess.TimeoutExpired as error:
            bound = self._plan.seconds + GRACE
            raise CrowdError(f"the clients did not end within {bound:.0f} s") from error
        finally:
            self.kill()
        try:
            return from_json(json.loads(output))
        except (ValueError, TypeError, KeyError) as error:
            code = self._process.returncode
            raise CrowdError(f"the clients ended with exit code {code}: {output[-500:]}") from error

    def kill(self) -> None:
        """End it whatever it does; nothing happens when it has ended."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._output.close()


def schedule(plan: Plan, client: int) -> random.Random:
    """Return the chance of one *client*: the same for every server and every run."""
    return random.Random(plan.seed * 1000 + client)  # noqa: S311  (no secret)


def _run(plan: Plan) -> Tally:
    """Let the clients work until the time is over or SIGTERM comes."""
    # Blocked by whoever started us; threads inherit that.  Once more for a start by hand.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    over = threading.Event()
    clients = [Client(plan.port, is_kept=plan.is_kept) for _ in range(plan.clients)]
    results: list[list[tuple[str, Result]]] = [[] for _ in clients]
    threads = [
        threading.Thread(
            target=_work, args=(client, plan, schedule(plan, number), over, results[number])
        )
        for number, client in enumerate(clients)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    signal.sigtimedwait({signal.SIGTERM}, plan.seconds)
    over.set()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - started
    everything = [result for of_one in results for result in of_one]
    return Tally.of(everything, passed, sum(client.closed_idle for client in clients))


def _work(
    client: Client,
    plan: Plan,
    chance: random.Random,
    over: threading.Event,
    results: list[tuple[str, Result]],
) -> None:
    """Send requests, one after the other, until it is *over*.  Thread: one for each client."""
    kinds = list(plan.shares)
    weights = list(plan.shares.values())
    while not over.is_set():
        kind = chance.choices(kinds, weights)[0]
        result = client.request(plan.paths[kind])
        results.append((kind, result))
        if result.failed is not None:
            over.wait(PAUSE_AFTER_FAILURE)
    client.close()


def _main(text: str) -> None:
    told: dict[str, Any] = json.loads(text)
    print(json.dumps(_run(Plan(**told)).to_json()))


if __name__ == "__main__":
    _main(sys.argv[1])

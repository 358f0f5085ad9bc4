"""The thread that ends the process: in processes of its own, since it does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from typing import Final

# Seconds.  An interpreter needs some to start on a loaded machine.
PATIENCE: Final = 20.0

PREAMBLE: Final = """
import logging, sys, threading, time
from asgibridge.process.watchdog import Watchdog
logging.basicConfig(format="%(message)s")
def tell():
    print("before the end", flush=True)
def soon(seconds=0.1):
    return time.monotonic() + seconds
dog = Watchdog(tell)
"""


def run(code: str, **streams: int) -> subprocess.CompletedProcess[str]:
    arguments: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(code)],
        text=True,
        timeout=PATIENCE,
        check=False,
        stdout=arguments["stdout"],
        stderr=arguments["stderr"],
    )


def test_at_the_deadline_the_process_ends_with_its_code_and_stacks() -> None:
    done = run("dog.set(soon(), 7, 'time is over')\ntime.sleep(600)")
    assert done.returncode == 7
    assert done.stderr.startswith("time is over: ending the process now; stacks follow\n")
    assert "time.sleep(600)" in done.stderr or "<string>:" in done.stderr
    assert done.stdout == "before the end\n"


def test_whoever_put_code_in_front_of_the_exit_is_not_waited_for() -> None:
    """As instruments do that write their data there."""
    done = run("""
        import os
        os._exit = lambda code: (print("in front", flush=True), time.sleep(600))
        dog.set(soon(), 7, 'time is over')
        time.sleep(600)
    """)
    assert (done.returncode, done.stdout) == (7, "before the end\n")


def test_a_deadline_that_is_called_off_ends_nothing() -> None:
    done = run("""
        dog.set(soon(0.05), 7, 'never')
        dog.call_off()
        threading.Event().wait(0.2)
        print("alive")
    """)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_an_order_to_stop_can_only_be_brought_forward() -> None:
    done = run("""
        dog.set(soon(500), 3, 'the start')
        dog.bring_forward(soon(600), 4, 'takes the place of the start')
        dog.bring_forward(soon(0.1), 5, 'earlier')
        dog.bring_forward(soon(600), 6, 'later')
        time.sleep(600)
    """)
    assert done.returncode == 5


def test_threads_that_the_interpreter_would_join_are_left_behind() -> None:
    done = run("""
        threading.Thread(target=threading.Event().wait).start()
        dog.set(soon(), 7, 'time is over')
    """)
    assert done.returncode == 7


def test_a_log_that_nobody_reads_does_not_hold_the_end_up() -> None:
    """The pipe of stderr is full, and whoever writes to it waits for ever."""
    code = PREAMBLE + textwrap.dedent("""
        import os
        os.set_blocking(2, False)
        try:
            while True:
                os.write(2, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(2, True)
        dog.set(soon(), 7, 'time is over')
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        try:
            assert process.wait(PATIENCE) == 7
        finally:
            process.kill()


def test_code_that_keeps_the_gil_is_ended_too() -> None:
    """A regular expression that backtracks for hours lets no other thread run."""
    begun = time.monotonic()
    done = run("""
        import re
        dog.set(soon(0.2), 7, 'time is over')
        re.match(r"(a+)+$", "a" * 64 + "b")
    """)
    assert done.returncode == 1  # of the last resort, which knows no other
    assert "Timeout" in done.stderr
    assert time.monotonic() - begun < PATIENCE / 2

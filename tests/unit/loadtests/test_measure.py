from __future__ import annotations

import os
import subprocess
import sys

from loadtests.measure import children, parse_stat, process_tree

LINE = "12 (a (b) c) {state} 3 4 5 0 -1 0 0 0 0 0 100 50 20 10 20 0 1 0 9"


def test_a_line_of_stat_is_counted_from_the_end_of_the_name() -> None:
    process = parse_stat(LINE.format(state="S"))
    assert (process.pid, process.parent, process.session) == (12, 3, 5)
    assert not process.is_zombie
    assert parse_stat(LINE.format(state="Z")).is_zombie


def test_a_child_is_seen_by_its_parent_and_in_its_tree() -> None:
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
        assert child.pid in {process.pid for process in process_tree(os.getpid())}
        child.communicate()
    assert child.pid not in children(os.getpid())


def test_who_has_ended_has_no_children() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert children(child.pid) == []

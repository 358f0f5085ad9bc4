"""Titles of processes."""

from __future__ import annotations

import sys

import psutil
import pytest

from asgibridge.supervision.titles import set_title


def test_the_title_is_what_ps_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    setproctitle = pytest.importorskip("setproctitle")
    before = setproctitle.getproctitle()
    set_title("worker 1", "main:app")
    assert psutil.Process().cmdline()[0] == "asgibridge: worker 1 [main:app]"
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    set_title("worker 2", "main:app")
    assert psutil.Process().cmdline()[0] == "asgibridge: worker 1 [main:app]"
    setproctitle.setproctitle(before)

"""Which files matter, what is forgotten, and a watcher that is really one."""

from __future__ import annotations

import importlib
import os
import select
import sys
from pathlib import Path

import pytest

from asgibridge import Config
from asgibridge.errors import StartError
from asgibridge.supervision.reload import (
    ChangeWatcher,
    forget_modules,
    is_own,
    is_wanted,
    watched_directories,
)


@pytest.mark.parametrize(
    ("path", "include", "exclude", "expected"),
    [
        ("/site/app.py", ["*.py"], [], True),
        ("/site/page.html", ["*.py"], [], False),
        ("/site/templates/page.html", ["*.py", "templates/*.html"], [], True),
        ("/site/app.py", ["*.py"], ["app.py"], False),
        ("/site/build/x/app.py", ["*.py"], ["build"], False),
        ("/site/build/x/app.py", ["*.py"], ["site/build"], False),
        ("/site/rebuild/app.py", ["*.py"], ["build"], True),
    ],
)
def test_patterns(path: str, include: list[str], exclude: list[str], *, expected: bool) -> None:
    assert is_wanted(path, include, exclude) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/.work/site/app.py", True),
        ("/home/me/.work/site/.app.py", False),
        ("/home/me/.work/site/.cache/app.py", False),
        ("/home/me/.work/site/env/lib/python3.11/site-packages/flask/app.py", False),
        ("/home/me/.work/site/node_modules/x/gyp.py", False),
        ("/home/me/.work/site/.tool/plugin.py", True),  # asked for by name
        ("/elsewhere/app.py", False),
    ],
)
def test_what_is_hidden_or_installed_is_nobodys_work(path: str, *, expected: bool) -> None:
    directories = [Path("/home/me/.work/site"), Path("/home/me/.work/site/.tool")]
    assert is_own(path, directories) is expected


def test_the_applications_directory_is_watched_unless_others_are_named() -> None:
    assert [Path("/site")] == watched_directories(Config(app_dir="/site"))
    named = Config(app_dir="/site", reload_dir=("/a", "/b"))
    assert [Path("/a"), Path("/b")] == watched_directories(named)


def test_modules_of_watched_directories_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forgettable_site.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("forgettable_site")
    forget_modules([tmp_path / "elsewhere"])
    assert "forgettable_site" in sys.modules
    forget_modules([tmp_path])
    assert "forgettable_site" not in sys.modules
    assert {"sys", "__main__", "asgibridge"} <= sys.modules.keys()


def test_a_change_is_told_by_its_path(tmp_path: Path) -> None:
    watcher = ChangeWatcher(Config(app_dir=str(tmp_path), reload=True), lambda: None)
    try:
        assert watcher.take() == []
        changed: list[str] = []
        for attempt in range(200):  # until it watches, which it does not tell
            (tmp_path / "ignored.txt").write_text(str(attempt))
            (tmp_path / "site.py").write_text(str(attempt))
            if select.select([watcher], [], [], 0.1)[0]:
                changed = watcher.take()
                break
        assert [str(tmp_path / "site.py")] == changed
    finally:
        watcher.close()
        os.waitpid(watcher._pid, 0)
    assert watcher.fileno() == -1
    watcher.close()


def test_a_watcher_that_has_ended_is_noticed(tmp_path: Path) -> None:
    watcher = ChangeWatcher(Config(app_dir=str(tmp_path), reload=True), lambda: None)
    os.kill(watcher._pid, 9)
    os.waitpid(watcher._pid, 0)
    with pytest.raises(EOFError):
        watcher.take()
    assert watcher.fileno() == -1


def test_what_cannot_be_watched_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="missing: no such directory"):
        ChangeWatcher(Config(reload_dir=(str(tmp_path / "missing"),)), lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartError, match=r"pip install 'asgibridge\[reload\]'"):
        ChangeWatcher(Config(), lambda: None)

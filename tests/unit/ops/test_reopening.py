"""Log files are reopened after they were moved away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgibridge.ops.reopening import reopen_log_files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_records_go_to_a_new_file_of_the_old_name(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    handler = logging.FileHandler(path)
    late = logging.FileHandler(tmp_path / "late.log", delay=True)
    logger = logging.getLogger("tests.reopening")
    logger.addHandler(handler)
    logging.getLogger("tests.reopening.child").addHandler(late)
    try:
        logger.warning("before")
        path.rename(tmp_path / "app.log.1")
        logger.warning("moved")
        assert reopen_log_files() >= 2
        logger.warning("after")
    finally:
        for each, owner in ((handler, logger), (late, logging.getLogger("tests.reopening.child"))):
            owner.removeHandler(each)
            each.close()
    assert (tmp_path / "app.log.1").read_text() == "before\nmoved\n"
    assert path.read_text() == "after\n"


def test_a_file_that_cannot_be_opened_keeps_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = logging.FileHandler(folder / "app.log")
    logger = logging.getLogger("tests.reopening")
    logger.addHandler(handler)
    try:
        moved = tmp_path / "moved"
        folder.rename(moved)
        reopen_log_files()
        logger.warning("not lost")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (moved / "app.log").read_text() == "not lost\n"
    assert any("cannot reopen" in record.getMessage() for record in caplog.records)

"""What the worker class decides without a gunicorn around it; the rest is in tests/system."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.config import Config as GunicornConfig
from gunicorn.glogging import Logger

from asgibridge.gunicorn import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


class Recorded:
    """A logger of gunicorn's, as far as `check_config` needs one."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, *args: object) -> None:
        self.warnings.append(text % args)


class Foreign(Logger):  # type: ignore[misc] # gunicorn ships no types
    def access(self, *_args: Any) -> None: ...  # noqa: ANN401


def config(**values: object) -> GunicornConfig:
    made = GunicornConfig()
    for name, value in values.items():
        made.set(name, value)
    return made


@contextlib.contextmanager
def workers(*ages: int, **values: object) -> Iterator[list[Worker]]:
    """Make workers as the arbiter does before it forks."""
    cfg = config(**values)
    log = logging.getLogger("gunicorn.error")
    made = [Worker(age, 1, [], None, 15.0, cfg, log) for age in ages]
    yield made
    for each in made:
        each.tmp.close()


def test_a_good_configuration_passes_in_silence() -> None:
    log = Recorded()
    Worker.check_config(config(threads=4, accesslog="-"), log)
    assert log.warnings == []


def test_what_has_no_effect_is_told_of() -> None:
    log = Recorded()
    Worker.check_config(config(permit_obsolete_folding=True), log)
    assert len(log.warnings) == 1


def test_all_that_is_wrong_is_refused_at_once() -> None:
    wrong = config(
        protocol="uwsgi", access_log_format="%(z)s", ssl_context=lambda _, factory: factory()
    )
    with pytest.raises(RuntimeError) as caught:
        Worker.check_config(wrong, Recorded())
    assert "protocol" in str(caught.value)
    assert "%(z)s" in str(caught.value)
    assert "ssl_context" in str(caught.value)


def test_older_workers_have_a_successor_and_the_newest_has_none() -> None:
    with workers(1, 2) as (older, newer):
        assert (older._has_successor(), newer._has_successor()) == (True, False)


def test_a_worker_with_a_queue_of_its_own_has_no_successor() -> None:
    with workers(3, 4, reuse_port=True) as (older, _):
        assert not older._has_successor()


def test_a_worker_that_was_told_to_stop_early_does_not_serve() -> None:
    with workers(5) as (stopped,):
        stopped.alive = False
        stopped.run()
        assert stopped._server is None

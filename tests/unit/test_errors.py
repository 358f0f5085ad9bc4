"""The exception tree: what callers rely on."""

from __future__ import annotations

import inspect

import pytest

from asgibridge import errors


def test_everything_raised_on_purpose_has_one_root() -> None:
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    ours = [each for each in classes if each.__module__ == errors.__name__]
    assert len(ours) == len(errors.__all__)
    assert all(issubclass(each, errors.AsgibridgeError) for each in ours)


@pytest.mark.parametrize(
    "error",
    [
        *(errors.LoadError, errors.ApplicationRaised, errors.BindError, errors.LifespanFailed),
        errors.WorkerFailed,
    ],
)
def test_whatever_fails_a_start_can_be_caught_as_that(error: type[Exception]) -> None:
    assert issubclass(error, errors.StartError)


def test_settings_error_lists_each_mistake_on_a_line() -> None:
    error = errors.SettingsError(["port: no", "host: no"])
    assert error.mistakes == ("port: no", "host: no")
    assert str(error) == "port: no\nhost: no"


def test_workers_that_failed_leave_their_last_words() -> None:
    error = errors.WorkerFailed("it broke; mend it", "Traceback ...\n")
    assert (str(error), error.trace) == ("it broke; mend it", "Traceback ...\n")


def test_illegal_move_names_both_sides() -> None:
    error = errors.IllegalMove("awaiting head", "body ended")
    assert (error.state, error.event) == ("awaiting head", "body ended")
    assert str(error) == "no move from awaiting head on body ended"


def test_send_to_a_client_that_left_is_an_os_error() -> None:
    """ASGI, HTTP sub-specification 2.4, promises one to applications."""
    assert issubclass(errors.ClientDisconnected, OSError)

"""Errors of accept(2) are told apart."""

from __future__ import annotations

import errno

import pytest

from asgibridge.net.accept_errors import is_of_connection


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN])
def test_a_client_that_went_wrong_is_passed_over(number: int) -> None:
    assert is_of_connection(OSError(number, "x"))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_shortage_is_the_process_own(number: int) -> None:
    """[GATE-7]."""
    assert not is_of_connection(OSError(number, "x"))

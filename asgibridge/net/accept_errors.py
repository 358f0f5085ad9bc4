"""Which errors of accept(2) are about one client, and which about this process."""

from __future__ import annotations

import errno
from typing import Final

__all__ = ["is_of_connection"]

# By name, since not every system has all of them.
_NAMES: Final = (
    "ECONNABORTED EHOSTDOWN EHOSTUNREACH EINTR ENETDOWN ENETUNREACH ENONET ENOPROTOOPT EOPNOTSUPP "
    "EPERM EPROTO"
)
_NUMBERS: Final = frozenset(getattr(errno, name, 0) for name in _NAMES.split())


def is_of_connection(error: OSError) -> bool:
    """Say whether *error* is of the connection that was about to be accepted (accept(2), Notes).

    All others are of the process, which has run out of descriptors or memory.
    """
    return error.errno in _NUMBERS

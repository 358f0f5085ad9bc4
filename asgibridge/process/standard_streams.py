"""What must hold before anything else: descriptors 0, 1 and 2 are open."""

from __future__ import annotations

import os

__all__ = ["open_standard_descriptors"]


def open_standard_descriptors() -> None:
    """Put /dev/null where stdin, stdout or stderr are closed.

    Else the loop's own descriptors get these numbers, which libuv takes as a fatal error.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one

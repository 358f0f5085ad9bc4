"""The kind of memory limits: an amount, or a share of what there is."""

from __future__ import annotations

import re
from typing import Final

from asgibridge.config.kinds import Kind, quote, size

__all__ = ["bytes_of", "memory"]

_PERCENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%", re.ASCII)


def memory() -> Kind[str]:
    """Make the kind of memory limits, as text: a size such as `300m`, or a share such as `80%`.

    A bare number is in MiB, as users of `reload-on-rss` know it.
    """
    plain = size(2**20)

    def read(value: object) -> str:
        if isinstance(value, str) and (share := _PERCENT.fullmatch(value.strip())):
            if not 0 < float(share[1]) <= 100:  # noqa: PLR2004 - percent
                raise ValueError(f"{quote(value)} is no share of the memory")
            return f"{float(share[1]):g}%"
        if isinstance(value, int) and not isinstance(value, bool):
            value = f"{value}m"
        elif isinstance(value, str) and value.strip().isdecimal():
            value = f"{value.strip()}m"
        return plain.show(plain.reader(value))

    return Kind(
        metavar="MEMORY",
        expects="MiB such as 300, a size such as 300m or 1g, or a share of the limit such as 80%",
        reader=read,
    )


def bytes_of(text: str) -> int:
    """Return the bytes of a size as the kinds of settings show it: `64k`, `300m`, `1g`.

    Raises:
        ValueError: it is none.
    """
    return size(0).read(text)

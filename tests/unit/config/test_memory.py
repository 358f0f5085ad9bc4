"""Limits of memory as people write them."""

from __future__ import annotations

import pytest

from asgibridge.config.memory import bytes_of, memory


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("300", "300m"),
        (301, "301m"),
        ("1g", "1g"),
        ("2048k", "2m"),
        (" 80 % ", "80%"),
        ("100%", "100%"),
        ("12.50%", "12.5%"),
        ("1537k", "1537k"),
    ],
)
def test_memory_is_in_mebibytes_or_a_share(written: object, expected: object) -> None:
    kind = memory()
    assert kind.read(written) == expected
    assert kind.read(kind.show(kind.read(written))) == expected


@pytest.mark.parametrize("written", ["0", "0%", "100.1%", "-5", "1k", True, 1.5, "much", ""])
def test_what_is_no_memory_limit_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="give MiB such as 300, a size such as 300m or 1g, or a"):
        memory().read(written)


def test_a_limit_is_turned_into_bytes() -> None:
    assert [bytes_of(text) for text in ("64k", "300m", "1g")] == [64 * 2**10, 300 * 2**20, 2**30]

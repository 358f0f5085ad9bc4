"""The corpus is what its README says, and its loader refuses what is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from support.corpus import (
    CorpusError,
    InvalidCase,
    PlainRequest,
    ValidCase,
    load_invalid,
    load_valid,
)

if TYPE_CHECKING:
    from pathlib import Path

TITLES = 'title = "t"\nwhy = "RFC 9112 2.1"\n'
REQUEST = '[[request]]\nmethod = "POST"\ntarget = "/\\u00e9"\nheaders = [["x", "\\u00ff"]]\n'
STATUSES = {400, 413, 414, 417, 431, 501, 505}


def write_case(root: Path, kind: str, toml: str, http: bytes = b"x") -> None:
    for folder in ("valid", "invalid"):
        (root / folder).mkdir(exist_ok=True)
    (root / kind / "9112-2.1-case.http").write_bytes(http)
    (root / kind / "9112-2.1-case.toml").write_text(toml)


CASES: Final[list[ValidCase | InvalidCase]] = [*load_valid(), *load_invalid()]


def test_the_corpus_is_large_and_every_case_names_its_rfc() -> None:

    assert len(CASES) > 120
    for case in CASES:
        assert re.fullmatch(r"\d{4}-[0-9C][0-9.]*-[a-z0-9.-]+", case.name), case.name
        assert re.match(r"RFC \d{4} [0-9C]", case.why), case.name
        assert case.title, case.name


def test_no_two_cases_are_the_same_bytes_under_the_same_limits() -> None:
    seen: dict[object, str] = {}
    for case in CASES:
        twin = seen.setdefault((case.data, tuple(case.limits.items())), case.name)
        assert twin == case.name


def test_refusals_have_the_statuses_that_the_server_gives() -> None:
    assert {case.status for case in load_invalid()} == STATUSES


def test_defaults_are_those_of_a_plain_request(tmp_path: Path) -> None:
    write_case(tmp_path, "valid", TITLES + REQUEST, b"\r\n\0")

    (case,) = load_valid(tmp_path)

    assert case.data == b"\r\n\0"
    assert case.requests == (
        PlainRequest(
            method="POST",
            target=b"/\xe9",
            version="1.1",
            headers=((b"x", b"\xff"),),
            body=b"",
            content_length=0,
            is_chunked=False,
            expects_continue=False,
            keep_alive=True,
        ),
    )


def test_bodies_are_text_or_hex_and_a_chunked_one_has_no_length(tmp_path: Path) -> None:
    write_case(
        tmp_path,
        "valid",
        f'{TITLES}{REQUEST}body = "caf\u00e9"\n{REQUEST}body_hex = "00ff"\nis_chunked = true\n',
    )

    (case,) = load_valid(tmp_path)

    assert [request.body for request in case.requests] == ["caf\u00e9".encode(), b"\0\xff"]
    assert [request.content_length for request in case.requests] == [0, None]


def test_limits_and_the_number_of_good_requests_are_read(tmp_path: Path) -> None:
    write_case(
        tmp_path, "invalid", f"{TITLES}status = 431\nafter = 2\n[limits]\nmax_head_size = 9\n"
    )

    (case,) = load_invalid(tmp_path)

    assert (case.status, case.after, case.limits) == (431, 2, {"max_head_size": 9})


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        (REQUEST, "title"),
        (TITLES + "request = []\n", "at least one"),
        (TITLES + "colour = 1\n" + REQUEST, "unknown keys"),
        (TITLES + REQUEST + "colour = 1\n", "unknown keys"),
        (TITLES + REQUEST + 'is_chunked = "yes"\n', "must be bool"),
        (TITLES + REQUEST + "content_length = true\n", "must be int"),
        (TITLES + REQUEST + 'body = "a"\nbody_hex = "00"\n', "unknown keys"),
        (TITLES + "[limits]\nmax_luck = 1\n" + REQUEST, "unknown limits"),
    ],
)
def test_valid_cases_that_say_nonsense_are_refused(
    tmp_path: Path, toml: str, complaint: str
) -> None:
    write_case(tmp_path, "valid", toml)
    with pytest.raises(CorpusError, match=complaint):
        load_valid(tmp_path)


def test_invalid_case_without_a_status_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, "invalid", TITLES)
    with pytest.raises(CorpusError, match="status"):
        load_invalid(tmp_path)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, "valid", TITLES + REQUEST)
    (tmp_path / "valid" / "widow.http").write_bytes(b"x")
    with pytest.raises(CorpusError, match="widow"):
        load_valid(tmp_path)


def test_empty_bytes_and_an_empty_corpus_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path, "valid", TITLES + REQUEST, b"")
    with pytest.raises(CorpusError, match="empty"):
        load_valid(tmp_path)
    with pytest.raises(CorpusError, match="no cases"):
        load_invalid(tmp_path)

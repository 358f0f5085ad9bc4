"""Entries of a help page fit the terminal and tell what is looked up beside what is read."""

from __future__ import annotations

import pytest

from asgibridge.config.help import entry, note, usage
from asgibridge.config.settings import OPTIONS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app", "[APP]"),
        ("port", "-p, --port PORT"),
        ("access_log", "--[no-]access-log"),
        ("lifespan", "--lifespan auto|on|off"),
        ("bind", "-b, --bind ADDRESS"),
    ],
)
def test_usage_shows_how_the_flag_is_written(name: str, expected: str) -> None:
    assert usage(OPTIONS[name]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("port", "[default 8000, ASGIBRIDGE_PORT or PORT]"),
        ("max_body_size", "[default 1g, ASGIBRIDGE_MAX_BODY_SIZE]"),
        ("bind", "[ASGIBRIDGE_BIND]"),
        ("forwarded_allow_ips", "[default 127.0.0.1,::1, FORWARDED_ALLOW_IPS]"),
    ],
)
def test_the_note_shows_default_and_variables(name: str, expected: str) -> None:
    assert note(OPTIONS[name]) == expected


def test_the_aside_ends_at_the_margin_and_styles_take_no_room() -> None:
    shown = entry(
        "--name", "Words.", aside="[x]", width=20, emphasise="<{}>".format, soften="({})".format
    )
    assert shown == "  <--name>         ([x])\n      Words.\n"


def test_an_aside_without_room_goes_to_the_next_line() -> None:
    assert entry("--long-name", "Words.", aside="[aside]", width=20) == (
        "  --long-name\n             [aside]\n      Words.\n"
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_every_entry_fits_into_eighty_columns_with_name_and_note_on_one_line(name: str) -> None:
    option = OPTIONS[name]
    lines = entry(usage(option), option.help, aside=note(option), width=78).splitlines()
    assert lines[0].endswith(note(option))
    assert max(map(len, lines)) <= 78

"""Files of NAME=VALUE lines: what a line may look like, and what is said about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgibridge.config.env_file import parse_env_lines, read_env_file
from asgibridge.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=value", "value"),
        ("export NAME=value", "value"),
        ("  NAME = value  ", "value"),
        ("NAME=", ""),
        ("NAME= # nothing", ""),
        ("NAME=two words # a comment", "two words"),
        ("NAME=a#b", "a#b"),
        ("NAME=a=b", "a=b"),
        ("NAME='a # \"b\" \\n'", 'a # "b" \\n'),
        ('NAME="a # b"  # a comment', "a # b"),
        (r'NAME="a\nb\t\"c\" \\ \$"', 'a\nb\t"c" \\ $'),
        ("NAME=$HOME", "$HOME"),
        ("NAME=''", ""),
        ("NAME=grüße", "grüße"),
    ],
)
def test_a_line_gives_name_and_value(line: str, value: str) -> None:
    assert list(parse_env_lines(line)) == [(1, ("NAME", value))]


@pytest.mark.parametrize("line", ["", "   ", "# NAME=value", "  # x"])
def test_a_line_that_says_nothing_is_skipped(line: str) -> None:
    assert list(parse_env_lines(line)) == []


@pytest.mark.parametrize(
    "line", ["NAME", "1NAME=x", "NA ME=x", "=x", 'NAME="x', "NAME='x", 'NAME="x" y', "NAME=a\0"]
)
def test_a_line_that_cannot_be_read_says_so(line: str) -> None:
    assert list(parse_env_lines(line)) == [(1, None)]


def test_the_last_line_about_a_variable_wins(tmp_path: Path) -> None:
    file = tmp_path / "a.env"
    file.write_text("\ufeffA=1\r\n# comment\r\nB=2\r\nA=3\r\n", encoding="utf-8")
    assert read_env_file(file) == {"A": "3", "B": "2"}


def test_all_wrong_lines_are_named_without_their_secrets(tmp_path: Path) -> None:
    file = tmp_path / "a.env"
    file.write_text("A=1\nsecret\nB='secret\n")
    with pytest.raises(SettingsError) as caught:
        read_env_file(file)
    assert caught.value.mistakes == (
        f"{file}, line 2: not NAME=VALUE; correct the line or quote it",
        f"{file}, line 3: not NAME=VALUE; correct the line or quote it",
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*gone: no such file or directory; "):
        read_env_file(tmp_path / "gone")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.env"
    file.write_bytes(b"A=\xff")
    with pytest.raises(SettingsError, match="it is not UTF-8 text; convert it"):
        read_env_file(file)


@given(st.text())
def test_any_text_is_read_or_refused_line_by_line(content: str) -> None:
    for number, found in parse_env_lines(content):
        assert 1 <= number <= len(content.splitlines())
        assert found is None or "\0" not in found[1]

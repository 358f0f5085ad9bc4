"""Files of NAME=VALUE lines for the environment (`.env` files)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asgibridge.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["parse_env_lines", "read_env_file"]

_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.ASCII)
# Inside double quotes a backslash may protect the next character; inside single quotes nothing
# is special.  After the closing quote only a comment may follow.
_DOUBLE_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE_QUOTED: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read_env_file(path: Path) -> dict[str, str]:
    """Read the variables in the file at *path*.

    Raises:
        SettingsError: The file cannot be read, or lines of it are wrong; all of them are listed.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            [f"cannot read {path}: {reason}; correct the path or remove env_file"]
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"cannot read {path}: it is not UTF-8 text; convert it"]) from error
    variables: dict[str, str] = {}
    mistakes: list[str] = []
    for number, found in parse_env_lines(content):
        if found is None:
            mistakes.append(f"{path}, line {number}: not NAME=VALUE; correct the line or quote it")
        else:
            variables[found[0]] = found[1]
    if mistakes:
        raise SettingsError(mistakes)
    return variables


def parse_env_lines(content: str) -> Iterator[tuple[int, tuple[str, str] | None]]:
    r"""Read NAME=VALUE lines, one variable a line.

    Blank lines and lines that begin with `#` are skipped, a leading `export` is allowed.  Values
    may stand in single quotes (taken as they are) or double quotes (with `\n`, `\t`, `\r`, `\"`
    and `\\`); without quotes a `#` after a blank begins a comment.  Nothing is expanded: the value
    is what you read.

    Yields:
        The number of each line that says something, with name and value, or with None when it
        cannot be read.  Values are never repeated in errors: they may be secrets.
    """
    for number, line in enumerate(content.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped)
        value = None if found is None else _read_value(found[2])
        yield number, None if found is None or value is None else (found[1], value)


def _read_value(raw: str) -> str | None:
    if "\0" in raw:
        return None
    if raw.startswith('"'):
        found = _DOUBLE_QUOTED.fullmatch(raw)
        return found and _ESCAPE.sub(lambda each: _ESCAPES.get(each[1], each[1]), found[1])
    if raw.startswith("'"):
        found = _SINGLE_QUOTED.fullmatch(raw)
        return found and found[1]
    if raw.startswith("#"):
        return ""
    return re.split(r"\s#", raw, maxsplit=1)[0].rstrip()

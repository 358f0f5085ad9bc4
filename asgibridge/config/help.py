"""Settings as entries of a help page: name, default, variable, and what to think of."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from asgibridge.config.kinds import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgibridge.config.option import Option

__all__ = ["entry", "note", "usage"]

_INDENT: Final = " " * 2
_TEXT_INDENT: Final = " " * 6
# Characters of names of variables that leave room for a flag and a default in 80 columns.
_MOST_OF_VARIABLES: Final = 45


def usage(option: Option) -> str:
    """Show how *option* is written on the command line, short form first."""
    if option.names.is_positional:
        return f"[{option.flag}]"
    if option.kind.shape is Shape.SWITCH:
        return f"--[no-]{option.flag.removeprefix('--')}"
    short = f"{option.names.short}, " if option.names.short else ""
    return f"{short}{option.flag} {option.kind.metavar}"


def note(option: Option) -> str:
    """Show default and variables of *option*: `[default 8000, ASGIBRIDGE_PORT or PORT]`.

    Where both do not fit into the line, the one that other servers know too.
    """
    variables = " or ".join(filter(None, (option.environment, option.names.environment)))
    if len(variables) > _MOST_OF_VARIABLES:
        variables = option.names.environment or variables
    default = f"default {option.shown_default}, " if option.shown_default else ""
    return f"[{default}{variables}]"


def entry(
    name: str,
    explanation: str,
    *,
    aside: str = "",
    width: int,
    emphasise: Callable[[str], str] = str,
    soften: Callable[[str], str] = str,
) -> str:
    """Lay out one entry: *name*, *aside* at the right margin, the *explanation* below.

    Option names are long here, so that a column for them would leave too little for the words.

    Args:
        name: The flag or command.
        explanation: One paragraph.
        aside: What is only looked up: default and variable.
        width: Columns there are.
        emphasise: Styles the name; may add invisible codes.
        soften: Styles the aside; may add invisible codes.

    Returns:
        Lines, each with its newline.
    """
    room = width - len(_INDENT) - len(name) - len(aside)
    head = f"{_INDENT}{emphasise(name)}"
    if aside and room > 1:
        head += f"{' ' * room}{soften(aside)}"
    elif aside:
        head += f"\n{' ' * max(width - len(aside), len(_TEXT_INDENT))}{soften(aside)}"
    wrapped = textwrap.fill(
        explanation,
        width,
        initial_indent=_TEXT_INDENT,
        subsequent_indent=_TEXT_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return f"{head}\n{wrapped}\n"

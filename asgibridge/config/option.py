"""One dataclass field -> flag, environment variable, TOML key, help, docs row and validation.

A setting is declared as `port: int = option(integer(0, 65535), 8000, group=..., help=...)`.
Everything that has a name is derived from the field's name, so the names cannot drift apart.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgibridge.config.kinds import Kind

__all__ = ["ENVIRONMENT_PREFIX", "Group", "Names", "Option", "convert", "option", "options_of"]

T = TypeVar("T")

ENVIRONMENT_PREFIX: Final = "ASGIBRIDGE_"
_METADATA_KEY: Final = "asgibridge.option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A heading under which settings stand together in help and docs."""

    title: str
    intro: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that cannot be derived.

    Attributes:
        short: A one-letter flag, with its dash.
        environment: A foreign variable that is honoured after our own.
        is_positional: The command line takes it without a flag.
    """

    short: str = ""
    environment: str = ""
    is_positional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Everything there is to say about one setting."""

    name: str
    kind: Kind[Any]
    default: object
    group: Group
    help: str
    reason: str
    names: Names

    @property
    def flag(self) -> str:
        """The long flag; for a positional argument, its place in the usage line."""
        if self.names.is_positional:
            return self.kind.metavar
        return f"--{self.name.replace('_', '-')}"

    @property
    def off_flag(self) -> str:
        """The flag that turns a switch off."""
        return f"--no-{self.name.replace('_', '-')}"

    @property
    def environment(self) -> str:
        """The environment variable."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"

    @property
    def shown_default(self) -> str:
        """The default as one would write it; "" when it is nothing at all."""
        return self.kind.show(self.default)


def option(
    kind: Kind[T],
    default: T,
    *,
    group: Group,
    help: str,  # noqa: A002 - the word everybody looks for
    reason: str = "",
    names: Names | None = None,
) -> T:
    """Declare one setting as a dataclass field.

    Args:
        kind: What values it takes, with bounds, choices and unit.
        default: The value when nobody says anything.
        group: The heading it stands under.
        help: What it does and what to think of when changing it.  Shown by `--help`.
        reason: Why the default is what it is.  Shown in the reference.
        names: Names beyond the derived ones.

    Returns:
        A dataclass field, typed as its value so that declarations read naturally.
    """
    declared = Option(
        name="",
        kind=kind,
        default=default,
        group=group,
        help=help,
        reason=reason,
        names=names or Names(),
    )
    return dataclasses.field(default=default, metadata={_METADATA_KEY: declared})


def options_of(settings: type[Any]) -> dict[str, Option]:
    """Collect the options of the dataclass *settings*, by field name, in their order."""
    return {
        field.name: dataclasses.replace(field.metadata[_METADATA_KEY], name=field.name)
        for field in dataclasses.fields(settings)
    }


def convert(
    options: Mapping[str, Option], values: Mapping[str, object], place: Callable[[str], str]
) -> tuple[dict[str, Any], list[str]]:
    """Read each of *values* by its option.

    Args:
        options: All settings there are.
        values: What was given, by name; every name is one of *options*.
        place: Says where the value of a name was given, for the error message.

    Returns:
        The values that could be read, and one line for each that could not.
    """
    clean: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, value in values.items():
        try:
            clean[name] = options[name].kind.read(value)
        except ValueError as error:
            mistakes.append(f"{place(name)}: {error}")
    return clean, mistakes

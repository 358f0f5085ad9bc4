"""Flags and their help, made from the declarations in `config/settings.py`.

Click splits the command line into names and text; what the text means, and whether it is right, is
decided for all sources together.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from asgibridge.config.help import entry, note, usage
from asgibridge.config.kinds import Shape
from asgibridge.config.settings import OPTIONS
from asgibridge.config.sources import CONFIG_VARIABLE, DEFAULT_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgibridge.config.option import Option

__all__ = ["PlainCommand", "RawText", "SettingsCommand", "bold", "colour", "write_other_options"]


class SettingsCommand(click.Command):
    """A command that takes all settings as flags."""

    def __init__(
        self,
        name: str | None,
        *,
        params: Sequence[click.Parameter] = (),
        **extra: Any,  # noqa: ANN401 - handed on to click
    ) -> None:
        """Put the settings before the command's own *params*."""
        declared = [_parameter(option) for option in OPTIONS.values()]
        super().__init__(name, params=[*declared, _file_option(), *params], **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the settings under their headings, then everything else."""
        group = None
        for option in OPTIONS.values():
            if option.group is not group:
                group = option.group
                formatter.write(f"\n{bold(group.title)}: {group.intro}\n\n")
            formatter.write(
                entry(
                    usage(option),
                    option.help,
                    aside=note(option),
                    width=formatter.width,
                    emphasise=bold,
                    soften=partial(click.style, dim=True),
                )
            )
        write_other_options(self, ctx, formatter)


class PlainCommand(click.Command):
    """A command with options of its own only."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options as the other commands do."""
        write_other_options(self, ctx, formatter)


class RawText(click.types.StringParamType):
    """Text that is read later, with everything else; knows what a shell may offer for it."""

    def __init__(self, option: Option) -> None:
        self.option = option

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer choices, files or directories."""
        del ctx, param  # the declaration says it all
        kind = self.option.kind
        if kind.completes:
            shell_type = "dir" if kind.completes == "directory" else "file"
            return [CompletionItem(incomplete, type=shell_type)]
        return [CompletionItem(each) for each in kind.choices if each.startswith(incomplete)]


def _parameter(option: Option) -> click.Parameter:
    """Make the click parameter of *option*.  None or () as its value means: not given."""
    if option.names.is_positional:
        return click.Argument([option.name], required=False, type=RawText(option))
    if option.kind.shape is Shape.SWITCH:
        return click.Option([option.name, f"{option.flag}/{option.off_flag}"], default=None)
    spellings = [option.name, *filter(None, [option.names.short]), option.flag]
    is_repeated = option.kind.shape is Shape.MANY
    return click.Option(spellings, type=RawText(option), multiple=is_repeated, default=None)


def _file_option() -> click.Option:
    return click.Option(
        ["config_file", "-c", "--config"],
        type=click.Path(),
        metavar="FILE",
        help=f"Read settings from this TOML file instead of ./{DEFAULT_FILE} "
        f"(also {CONFIG_VARIABLE}).",
    )


def write_other_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """List the options of *command* that are no settings."""
    formatter.write(f"\n{bold('Other')}\n\n")
    for parameter in command.get_params(ctx):
        is_shown = isinstance(parameter, click.Option) and parameter.name not in OPTIONS
        record = parameter.get_help_record(ctx) if is_shown else None
        if record is not None:
            formatter.write(entry(*record, width=formatter.width, emphasise=bold))


def colour() -> bool | None:
    """Say False when colours are unwanted; None leaves it to whether it is a terminal."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if unwanted else None


def bold(words: str) -> str:
    """Make *words* bold, for a terminal."""
    return click.style(words, bold=True)

"""The command `asgibridge`: the only place that prints or exits.

Flags are made from the declarations in `config/settings.py`.  Click splits the command line into
names and text; what the text means, and whether it is right, is decided for all sources together.
Exit codes: 0 after a graceful stop, 2 wrong usage or settings, 3 start failed, 1 anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from asgibridge import __version__
from asgibridge.config.help import entry, note, usage
from asgibridge.config.kinds import Shape, nearest
from asgibridge.config.settings import OPTIONS
from asgibridge.config.sources import CONFIG_VARIABLE, DEFAULT_FILE, Resolved, resolve
from asgibridge.errors import ApplicationRaised, AsgibridgeError, SettingsError, StartError
from asgibridge.process.standard_streams import open_standard_descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgibridge.config.option import Option
    from asgibridge.config.settings import Config

__all__ = ["PlainCommand", "Program", "RawText", "SettingsCommand", "main", "program"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_STARTED: Final = 3
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it

_NAME: Final = "asgibridge"
_COMPLETION_VARIABLE: Final = "_ASGIBRIDGE_COMPLETE"


class Program(click.Group):
    """The command line as a whole: turns what went wrong into a line and an exit code."""

    def main(  # type: ignore[override]  # click's overloads differ between its versions
        self,
        args: Sequence[str] | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401 - handed on to click
    ) -> int:
        """Run one command.

        Args:
            args: The words of the command line; None takes those of the process.
            standalone_mode: Exit with the code; otherwise return it.
            extra: As in click.

        Returns:
            The exit code.
        """
        extra.setdefault("prog_name", _NAME)
        extra.setdefault("color", _colour())
        try:
            code: int = super().main(args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True, color=_colour())
            code = EXIT_USAGE
        except click.NoSuchOption as error:
            code = _report([_no_such_option(error)], EXIT_USAGE)
        except click.ClickException as error:
            code = _report([_sentence(error.format_message()), *_next_step(error)], EXIT_USAGE)
        except (click.Abort, KeyboardInterrupt):
            code = EXIT_INTERRUPTED
        except AsgibridgeError as error:
            code = _explain(error)
        if standalone_mode:
            sys.exit(code)
        return code

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        word = args[0]
        if word in self.commands or word.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        close = nearest(word, self.commands)
        hint = f"did you mean {close}?" if close else f"see {_NAME} --help"
        if ":" in word or "." in word:
            hint = f"to serve an application write {_NAME} serve {word}"
        raise click.UsageError(f"there is no command {word}; {hint}", ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Keep the order in which they are declared: the most wanted first."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their first sentence."""
        formatter.write(f"\n{_bold('Commands')}\n\n")
        for name in self.list_commands(ctx):
            explanation = self.commands[name].get_short_help_str(limit=200)
            formatter.write(entry(name, explanation, width=formatter.width, emphasise=_bold))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands first: they are what people look for."""
        self.format_commands(ctx, formatter)
        _write_other_options(self, ctx, formatter)


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
                formatter.write(f"\n{_bold(group.title)}: {group.intro}\n\n")
            formatter.write(
                entry(
                    usage(option),
                    option.help,
                    aside=note(option),
                    width=formatter.width,
                    emphasise=_bold,
                    soften=partial(click.style, dim=True),
                )
            )
        _write_other_options(self, ctx, formatter)


class PlainCommand(click.Command):
    """A command with options of its own only."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options as the other commands do."""
        _write_other_options(self, ctx, formatter)


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


def _write_other_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    formatter.write(f"\n{_bold('Other')}\n\n")
    for parameter in command.get_params(ctx):
        is_shown = isinstance(parameter, click.Option) and parameter.name not in OPTIONS
        record = parameter.get_help_record(ctx) if is_shown else None
        if record is not None:
            formatter.write(entry(*record, width=formatter.width, emphasise=_bold))


@click.group(
    cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, wanted: _print_version(ctx) if wanted else None,
    help="Print the versions of asgibridge, Python and the parts that matter.",
)
def program() -> None:
    """Serve ASGI and WSGI applications, and never more clients than there is room for.

    Each setting can be a flag, a variable ASGIBRIDGE_<NAME> or a line in asgibridge.toml, in this
    order of strength. With no application named, `asgibridge serve` shows a built-in demo.
    """


@program.command(cls=SettingsCommand)
def serve(**given: Any) -> int:  # noqa: ANN401 - one argument for each setting
    """Serve an application until a signal asks to stop.

    APP is module:attribute, such as mysite.wsgi:application. SIGTERM or Ctrl-C stops gracefully,
    a second one at once.
    """
    # While the rest is imported; process 1 would hear nothing at all without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_OK))
    environ = dict(os.environ)
    resolved = _resolve(given, environ)
    os.environ.update(resolved.environment)
    # Imported late: the other commands and their errors need neither a loop nor a parser.
    from asgibridge.process.run import serve_until_stopped  # noqa: PLC0415 - as told above

    def reread() -> Config:
        again = _resolve(given, environ)
        os.environ.update(again.environment)
        return again.config

    return serve_until_stopped(resolved.config, reread)


@program.command(cls=SettingsCommand)
def check(**given: Any) -> int:  # noqa: ANN401 - one argument for each setting
    """Check settings and load the application, without listening.

    Takes what `serve` takes and tells what it found. For pipelines and before deploys.
    """
    resolved = _resolve(given)
    os.environ.update(resolved.environment)
    from asgibridge.app.loader import load  # noqa: PLC0415 - late, as in `serve`

    config = resolved.config
    loaded = load(
        config.app, factory=config.factory, app_dir=config.app_dir, interface=config.interface
    )
    chosen = sum(origin.label != "default" for origin in resolved.origins.values())
    where = f" (file {resolved.file})" if resolved.file else ""
    click.echo(f"settings     {chosen} given, {len(OPTIONS) - chosen} by default{where}")
    click.echo(f"application  {loaded.name}, {loaded.interface.upper()}")
    click.echo(f"listening    would be on {', '.join(config.addresses)}")
    return EXIT_OK


@program.command(
    "settings",
    cls=SettingsCommand,
    params=[
        click.Option(
            ["report", "--format"],
            type=click.Choice(["table", "toml", "json"]),
            default="table",
            help="table for people, toml to start a settings file, json for programs. "
            "Default: table.",
        )
    ],
)
def list_settings(report: str, **given: Any) -> int:  # noqa: ANN401 - one argument for each setting
    """Print every setting with its value and where it came from.

    Takes what `serve` takes, so that a command line can be tried out.
    """
    from asgibridge.config.report import REPORTS  # noqa: PLC0415 - only this command prints them

    resolved = _resolve(given)
    click.echo(REPORTS[report](resolved.config, resolved.origins), nl=False)
    return EXIT_OK


@program.command(cls=PlainCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that teaches your shell to complete asgibridge.

    \b
    bash: put this line into ~/.bashrc
        eval "$(asgibridge completion bash)"
    zsh: put this line into ~/.zshrc
        eval "$(asgibridge completion zsh)"
    fish: run once
        asgibridge completion fish > ~/.config/fish/completions/asgibridge.fish
    """  # noqa: D301 - click reads the backspace as: do not wrap what follows
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete in {shell}; update click")
    # The base method: bash's own would first run a bash to ask for its version.
    click.echo(ShellComplete.source(kind(program, {}, _NAME, _COMPLETION_VARIABLE)))
    return EXIT_OK


def main() -> None:
    """Run the command line and exit."""
    open_standard_descriptors()
    program.main()


def _resolve(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Resolved:
    from asgibridge.net.addresses import parse_address  # noqa: PLC0415 - late, as in `serve`

    return resolve(
        {name: given[name] for name in OPTIONS if given[name] is not None and given[name] != ()},
        os.environ if environ is None else environ,
        directory=Path(),
        config_file=given["config_file"],
        check_address=parse_address,
    )


def _print_version(ctx: click.Context) -> None:
    import platform  # noqa: PLC0415 - only asked for here
    from importlib import metadata  # noqa: PLC0415 - same

    parts = [f"{platform.python_implementation()} {platform.python_version()}"]
    for package in ("uvloop", "httptools", "a2wsgi"):
        try:
            parts.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:  # uvloop is not everywhere
            parts.append(f"no {package}")
    click.echo(f"{_NAME} {__version__} ({', '.join(parts)})")
    ctx.exit()


def _explain(error: AsgibridgeError) -> int:
    """Print what went wrong; return the exit code that says so."""
    if isinstance(error, ApplicationRaised) and error.__cause__ is not None:
        import traceback  # noqa: PLC0415 - late, as in `serve`

        # The loader has cut the frames that led to the application.
        click.echo("".join(traceback.format_exception(error.__cause__)), err=True, nl=False)
    if isinstance(error, SettingsError):
        return _report(error.mistakes, EXIT_USAGE)
    code = EXIT_NOT_STARTED if isinstance(error, StartError) else EXIT_FAILED
    return _report(str(error).splitlines(), code)


def _report(lines: Sequence[str], code: int) -> int:
    for line in lines:
        click.secho(f"{_NAME}: {line}", fg="red", err=True, color=_colour())
    return code


def _sentence(message: str) -> str:
    """Write a message of click's as ours: no capital, no full stop."""
    return (message[:1].lower() + message[1:]).rstrip(".")


def _no_such_option(error: click.NoSuchOption) -> str:
    fact = f"there is no option {error.option_name}"
    if error.ctx is None:
        return fact
    if isinstance(error.ctx.command, Program) and any(
        error.option_name in parameter.opts for parameter in serve.params
    ):
        return f"{fact} here; settings stand after the command: {_NAME} serve {error.option_name}"
    known = [flag for each in error.ctx.command.get_params(error.ctx) for flag in each.opts]
    close = nearest(error.option_name, known)
    return (
        f"{fact}; did you mean {close}?"
        if close
        else f"{fact}; see {error.ctx.command_path} --help"
    )


def _next_step(error: click.ClickException) -> list[str]:
    """Point to the help page unless the message tells the next step itself."""
    if not isinstance(error, click.UsageError) or error.ctx is None or ";" in error.message:
        return []
    return [f"see {error.ctx.command_path} --help"]


def _colour() -> bool | None:
    """Say False when colours are unwanted; None leaves it to whether it is a terminal."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if unwanted else None


def _bold(words: str) -> str:
    return click.style(words, bold=True)

"""The command `asgibridge`: the only place that prints or exits.

Exit codes: 0 after a graceful stop, 2 wrong usage or settings, 3 start failed, 1 anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import ShellComplete, get_completion_class

from asgibridge import __version__
from asgibridge.config.help import entry
from asgibridge.config.kinds import nearest
from asgibridge.config.settings import OPTIONS
from asgibridge.config.sources import Resolved, resolve
from asgibridge.errors import (
    ApplicationRaised,
    AsgibridgeError,
    SettingsError,
    StartError,
    WorkerFailed,
)
from asgibridge.flags import PlainCommand, SettingsCommand, bold, colour, write_other_options
from asgibridge.process.standard_streams import open_standard_descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from asgibridge.config.settings import Config

__all__ = ["Program", "main", "program"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_STARTED: Final = 3
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it

_NAME: Final = "asgibridge"
_COMPLETION_VARIABLE: Final = "_ASGIBRIDGE_COMPLETE"


class _StopAskedEarly(BaseException):
    """SIGTERM came before anybody served; no `SystemExit`, which an application may raise too."""


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
        extra.setdefault("color", colour())
        try:
            code: int = super().main(args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True, color=colour())
            code = EXIT_USAGE
        except click.NoSuchOption as error:
            code = _report([_no_such_option(error)], EXIT_USAGE)
        except click.ClickException as error:
            code = _report([_sentence(error.format_message()), *_next_step(error)], EXIT_USAGE)
        except (click.Abort, KeyboardInterrupt):
            code = EXIT_INTERRUPTED
        except _StopAskedEarly:
            code = EXIT_OK
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
        formatter.write(f"\n{bold('Commands')}\n\n")
        for name in self.list_commands(ctx):
            explanation = self.commands[name].get_short_help_str(limit=200)
            formatter.write(entry(name, explanation, width=formatter.width, emphasise=bold))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands first: they are what people look for."""
        self.format_commands(ctx, formatter)
        write_other_options(self, ctx, formatter)


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
    signal.signal(signal.SIGTERM, _stop_early)
    environ = dict(os.environ)
    config = _read_config(given, environ)
    # Imported late: the other commands and their errors need neither a loop nor a parser.
    from asgibridge.composition import serve_until_stopped  # noqa: PLC0415 - as told above

    return serve_until_stopped(config, lambda: _read_config(given, environ))


@program.command(cls=SettingsCommand)
def check(**given: Any) -> int:  # noqa: ANN401 - one argument for each setting
    """Check settings and load the application, without listening.

    Takes what `serve` takes and tells what it found. For pipelines and before deploys.
    """
    resolved = _resolve(given, os.environ)
    config = resolved.config
    os.environ.update(resolved.environment)
    from asgibridge.process.server import Server  # noqa: PLC0415 - late, as in `serve`
    from asgibridge.process.tls import tls_terms  # noqa: PLC0415 - same

    tls_terms(config)
    loaded = Server(config).load()
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

    resolved = _resolve(given, os.environ)
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


def _read_config(given: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Read all settings, and put what `env_file` says into the environment."""
    resolved = _resolve(given, environ)
    os.environ.update(resolved.environment)
    return resolved.config


def _resolve(given: Mapping[str, Any], environ: Mapping[str, str]) -> Resolved:
    from asgibridge.net.addresses import parse_address  # noqa: PLC0415 - late, as in `serve`

    return resolve(
        {name: given[name] for name in OPTIONS if given[name] is not None and given[name] != ()},
        environ,
        directory=Path(),
        config_file=given["config_file"],
        check_address=parse_address,
    )


def _stop_early(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
    raise _StopAskedEarly


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
    if isinstance(error, WorkerFailed):
        click.echo(error.trace, err=True, nl=False)
    if isinstance(error, SettingsError):
        return _report(error.mistakes, EXIT_USAGE)
    code = EXIT_NOT_STARTED if isinstance(error, StartError) else EXIT_FAILED
    return _report(str(error).splitlines(), code)


def _report(lines: Sequence[str], code: int) -> int:
    for line in lines:
        click.secho(f"{_NAME}: {line}", fg="red", err=True, color=colour())
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

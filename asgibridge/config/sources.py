"""Where settings come from: flags, environment, file and defaults, merged with their origins.

Strongest first: flag, environment, file, default.  Every mistake in all of them is reported at
once.  Click could merge flags, variables and a `default_map` itself, but it would stop at the first
mistake and forget which file a value came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asgibridge.config.env_file import read_env_file
from asgibridge.config.kinds import nearest
from asgibridge.config.option import ENVIRONMENT_PREFIX
from asgibridge.config.settings import OPTIONS, Config, examine
from asgibridge.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

__all__ = ["CONFIG_VARIABLE", "DEFAULT_FILE", "Origin", "Resolved", "resolve"]

DEFAULT_FILE: Final = "asgibridge.toml"
CONFIG_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}CONFIG"
"""Names the settings file, like `--config`."""

# Variables of the test suite, which the command's own tests hand down to it.
_TEST_PREFIX: Final = f"{ENVIRONMENT_PREFIX}TEST_"
# Kubernetes puts variables for every service into every container: ASGIBRIDGE_PORT=tcp://...
# if a service is called asgibridge.
_SERVICE_LINK: Final = (
    "Kubernetes sets it for a service named asgibridge; rename the service or set "
    "enableServiceLinks: false"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from.

    Attributes:
        label: For a list of settings: `flag --port`, `asgibridge.toml`, `default`.
        place: At the beginning of an error message.
    """

    label: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The settings, where each came from, and what the environment file adds.

    Attributes:
        config: The settings.
        origins: Where each of them was given, by name.
        file: The settings file that was read; "" if there was none.
        environment: Variables of `env_file` that are not set yet.
    """

    config: Config
    origins: Mapping[str, Origin]
    file: str
    environment: Mapping[str, str]


@dataclass(slots=True)
class _Gathered:
    """Values and mistakes found so far.  The first source to give a value keeps it."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def offer(self, name: str, value: object, origin: Origin) -> None:
        if name not in self.values:
            self.values[name] = value
            self.origins[name] = origin

    def place(self, name: str) -> str:
        return self.origins[name].place if name in self.origins else f"the default of {name}"


def resolve(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    directory: Path,
    config_file: str | None = None,
    check_address: Callable[[str], object] | None = None,
) -> Resolved:
    """Merge all sources.

    Args:
        flags: Values from the command line, by setting.
        environ: The environment.  Empty variables count as unset.
        directory: Where `asgibridge.toml` is looked for.
        config_file: A file to read instead (`--config`).
        check_address: Raises `SettingsError` for an address that cannot be read.

    Returns:
        The settings with their origins.

    Raises:
        SettingsError: Something is wrong; every mistake is listed with its origin.
    """
    found = _Gathered()
    _take_flags(found, flags)
    file = config_file or environ.get(CONFIG_VARIABLE) or ""
    origin = f"{CONFIG_VARIABLE}: " if file and not config_file else ""
    if not file and (directory / DEFAULT_FILE).is_file():
        file = DEFAULT_FILE
    table = _read_toml(directory / file, file, origin, found.mistakes) if file else {}
    additions = _read_env_file(found, environ, table, directory)
    _take_environment(found, {**additions, **environ}, {*additions} - {*environ})
    _take_foreign(found, {**additions, **environ})
    _take_table(found, table, file)
    _take_port(found, {**additions, **environ})

    clean, mistakes = examine(found.values, found.place)
    found.mistakes += mistakes
    if check_address is not None:
        found.mistakes += _bad_addresses(clean, found.place, check_address)
    if found.mistakes:
        raise SettingsError(found.mistakes)
    default = Origin("default", "default")
    return Resolved(
        config=Config(**clean),
        origins={name: found.origins.get(name, default) for name in OPTIONS},
        file=file,
        environment={name: value for name, value in additions.items() if name not in environ},
    )


def _take_flags(found: _Gathered, flags: Mapping[str, object]) -> None:
    for name, value in flags.items():
        option = OPTIONS[name]
        if option.names.is_positional:
            label = f"argument {option.flag}"
        else:
            label = f"flag {option.off_flag if value is False else option.flag}"
        found.offer(name, value, Origin(label, label))


def _read_toml(path: Path, shown: str, origin: str, mistakes: list[str]) -> dict[str, object]:
    import tomllib  # noqa: PLC0415 - most servers run without a file and need no parser in memory

    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        mistakes.append(f"{origin}cannot read {shown}: {reason}; correct the path")
    except UnicodeDecodeError:
        mistakes.append(f"{origin}cannot read {shown}: it is not UTF-8 text; convert it")
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{shown}: not valid TOML: {error}; correct that line")
    return {}


def _read_env_file(
    found: _Gathered, environ: Mapping[str, str], table: Mapping[str, object], directory: Path
) -> dict[str, str]:
    """Read the variables that `env_file` adds: it has to be known before the environment is."""
    option = OPTIONS["env_file"]
    given = found.values.get("env_file") or environ.get(option.environment)
    given = given or table.get("env_file") or table.get("env-file")
    try:
        path = option.kind.read(given or None)
    except ValueError:
        return {}  # the value itself is wrong: said where all values are checked
    if path is None:
        return {}
    try:
        additions = read_env_file(directory / path)
    except SettingsError as error:
        found.mistakes += error.mistakes
        return {}
    for name in (option.environment, CONFIG_VARIABLE):
        if additions.pop(name, None) is not None:
            found.mistakes.append(f"{path}: {name} comes too late in this file; set it outside")
    return additions


def _take_environment(found: _Gathered, environ: Mapping[str, str], from_file: set[str]) -> None:
    by_variable = {option.environment: name for name, option in OPTIONS.items()}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or not value:
            continue
        place = f"environment {variable}"
        label = f"{place} (env_file)" if variable in from_file else place
        if variable in by_variable:
            found.offer(by_variable[variable], value, Origin(label, label))
        elif variable != CONFIG_VARIABLE and not variable.startswith(_TEST_PREFIX):
            step = _next_step(variable, by_variable, ENVIRONMENT_PREFIX)
            found.mistakes.append(f"{label}: there is no such setting; {step}")
        if value.startswith("tcp://") and variable.endswith("_PORT"):
            found.mistakes.append(f"{place}: {_SERVICE_LINK}")


def _take_foreign(found: _Gathered, environ: Mapping[str, str]) -> None:
    """Honour variables that other servers know too, after our own.  PORT is a case of its own."""
    for name, option in OPTIONS.items():
        variable = option.names.environment
        if variable and name != "port" and environ.get(variable):
            label = f"environment {variable}"
            found.offer(name, environ[variable], Origin(label, label))


def _take_table(found: _Gathered, table: Mapping[str, object], file: str) -> None:
    seen: set[str] = set()
    for key, value in table.items():
        name = key.replace("-", "_")
        if isinstance(value, dict):
            found.mistakes.append(f"{file}: [{key}] is a table; write all settings at the top")
        elif name not in OPTIONS:
            found.mistakes.append(f"{file}: there is no setting {key}; {_next_step(name, OPTIONS)}")
        elif name in seen:
            found.mistakes.append(f"{file}: {name} is given twice; remove one of them")
        else:
            found.offer(name, value, Origin(file, f"{file}: {name}"))
        seen.add(name)


def _take_port(found: _Gathered, environ: Mapping[str, str]) -> None:
    """Honour PORT, by which platforms tell where they route to.

    It stands for an address only as long as nobody names one: a socket given on purpose is not
    overruled by a variable that happens to be set.  The host then has to be reachable from
    outside, where the platform's router is.
    """
    option = OPTIONS["port"]
    variable = option.names.environment
    value = environ.get(variable)
    # As for all variables: stronger than the file, weaker than a flag or our own variable.
    is_given = "port" in found.values and found.origins["port"].label.startswith(
        ("flag", "environment")
    )
    if not value or is_given or any(_says_something(found, name) for name in ("bind", "uds", "fd")):
        return
    origin = Origin(f"environment {variable}", f"environment {variable}")
    found.values["port"] = value
    found.origins["port"] = origin
    found.offer("host", "0.0.0.0", origin)  # noqa: S104 - the platform's router is outside


def _says_something(found: _Gathered, name: str) -> bool:
    """Tell whether *name* is given and not as its default (`bind = []` in a listed file)."""
    option = OPTIONS[name]
    try:
        return bool(option.kind.read(found.values.get(name, option.default)) != option.default)
    except ValueError:
        return True


def _next_step(word: str, words: Iterable[str], prefix: str = "") -> str:
    """Say what to do about an unknown *word*.  The common *prefix* makes nothing similar."""
    if word.startswith(f"{ENVIRONMENT_PREFIX}SERVICE_"):
        return _SERVICE_LINK
    close = nearest(word.removeprefix(prefix), [each.removeprefix(prefix) for each in words])
    if close:
        return f"did you mean {prefix}{close}?"
    return "remove it (`asgibridge settings` lists all settings)"


def _bad_addresses(
    clean: Mapping[str, object], place: Callable[[str], str], check: Callable[[str], object]
) -> list[str]:
    addresses = clean.get("bind")
    if not isinstance(addresses, tuple):
        return []
    mistakes: list[str] = []
    for address in addresses:
        try:
            check(address)
        except SettingsError as error:
            mistakes += [f"{place('bind')}: {line}" for line in error.mistakes]
    return mistakes

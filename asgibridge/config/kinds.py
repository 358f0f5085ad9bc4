"""The kinds of value a setting can have: how each is read, shown and explained.

Every kind reads text (flags, environment) and the native values of Python and TOML, and shows a
value as text that it reads back as the same value.  Nothing here touches the outside world.
"""

from __future__ import annotations

import enum
import ipaddress
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "Kind",
    "Shape",
    "application",
    "choice",
    "integer",
    "names",
    "nearest",
    "octal",
    "optional",
    "path",
    "peers",
    "quote",
    "seconds",
    "secret",
    "size",
    "switch",
    "text",
]

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Choice = TypeVar("Choice", bound=str)

_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9][0-9_]*", re.ASCII)
_OCTAL: Final = re.compile(r"(?:0o)?([0-7]+)", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h)?", re.ASCII)
_SIZE: Final = re.compile(r"([0-9]+)\s*([kmg]?)(?:i?b)?", re.ASCII)

_SECONDS_PER: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Binary, as memory and nginx count: 64k is 65536.
_BYTES_PER: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})

# An error line stays readable even if someone pastes a file into a variable.
_LONGEST_QUOTE: Final = 60


class Shape(enum.Enum):
    """How a setting is written on the command line."""

    ONE = "--name VALUE"
    MANY = "--name VALUE, repeated"
    SWITCH = "--name or --no-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """One kind of value.

    Attributes:
        metavar: Stands for the value in help texts.
        expects: What to give, as it ends the sentence "give ...".
        reader: Turns text or a native value into the value; raises `ValueError` with the bare fact.
        shower: Turns the value into text that `reader` understands.
        choices: All values there are, when they can be listed (for help and completion).
        shape: How the flag is written.
        completes: What a shell should offer: `file`, `directory` or nothing.
        none_word: The word that stands for None, when None is allowed.
        is_secret: Listings of settings do not show it.
    """

    metavar: str
    expects: str
    reader: Callable[[object], T]
    shower: Callable[[T], str] = str
    choices: tuple[str, ...] = ()
    shape: Shape = Shape.ONE
    completes: str = ""
    none_word: str = ""
    is_secret: bool = False

    def read(self, value: object) -> T:
        """Turn *value* into a value of this kind.

        Raises:
            ValueError: It cannot be one.  The message says the fact, then what to give.
        """
        try:
            return self.reader(value)
        except ValueError as error:
            raise ValueError(f"{error}; give {self.expects}") from None

    def show(self, value: T) -> str:
        """Turn *value* into text that `read` turns into the same value."""
        return self.shower(value)


def quote(value: object) -> str:
    """Show *value* inside a sentence, cut when it is very long."""
    shown = repr(value)
    if len(shown) > _LONGEST_QUOTE:
        return shown[: _LONGEST_QUOTE - 3] + "..."
    return shown


def nearest(word: str, words: Iterable[str]) -> str:
    """Find the one of *words* that *word* was probably meant to be; "" when none is close."""
    import difflib  # noqa: PLC0415 - only mistakes need it; a running server should not carry it

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), "")


def text(metavar: str = "TEXT", *, expects: str = "some text", empty: bool = False) -> Kind[str]:
    """Make the kind of plain text; blank text is refused unless *empty*."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{quote(value)} is not text")  # noqa: TRY004 - `read` promises it
        if not empty and not value.strip():
            raise ValueError("the value is empty")
        if "\0" in value:
            raise ValueError(f"{quote(value)} contains a NUL character")
        return value

    return Kind(metavar=metavar, expects=expects, reader=read)


def secret(metavar: str = "TEXT", *, expects: str) -> Kind[str]:
    """Make the kind of text that is nobody's business, and has no forbidden characters."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError("the value is empty or not text")
        return value

    return Kind(metavar=metavar, expects=expects, reader=read, is_secret=True)


def path(metavar: str = "FILE", *, completes: str = "file") -> Kind[str]:
    """Make the kind of file system paths: text, or any path object from Python."""
    expects = "the path of a directory" if completes == "directory" else "a path"
    plain = text(metavar, expects=expects)

    def read(value: object) -> str:
        return plain.reader(os.fspath(value) if isinstance(value, os.PathLike) else value)

    return Kind(metavar=metavar, expects=expects, reader=read, completes=completes)


def choice(*allowed: Choice, metavar: str = "") -> Kind[Choice]:
    """Make the kind of one word out of *allowed*; upper and lower case are the same.

    The *metavar* lists them all unless they are too many for a line.
    """
    by_name = {name.casefold(): name for name in allowed}

    def read(value: object) -> Choice:
        word = value.strip().casefold() if isinstance(value, str) else ""
        if word in by_name:
            return by_name[word]
        close = nearest(word, by_name)
        hint = f" (did you mean {close}?)" if close else ""
        raise ValueError(f"{quote(value)} is not a choice{hint}")

    listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    return Kind(metavar=metavar or "|".join(allowed), expects=listed, reader=read, choices=allowed)


def integer(minimum: int, maximum: int | None = None, *, metavar: str = "NUMBER") -> Kind[int]:
    """Make the kind of whole numbers from *minimum* to *maximum*."""

    def read(value: object) -> int:
        # bool is an int in Python, but `threads = true` is a slip.
        if isinstance(value, int) and not isinstance(value, bool):
            return _within(value, minimum, maximum, str)
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            return _within(int(value), minimum, maximum, str)
        raise ValueError(f"{quote(value)} is not a whole number")

    return Kind(
        metavar=metavar, expects=f"a whole number {_range(minimum, maximum, str)}", reader=read
    )


def octal(maximum: int) -> Kind[int]:
    """Make the kind of file modes: octal text, as chmod(1) reads it, or a Python integer."""

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return _within(value, 0, maximum, oct)
        found = _OCTAL.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"{quote(value)} is not an octal number")
        return _within(int(found[1], 8), 0, maximum, oct)

    return Kind(
        metavar="MODE",
        expects=f"an octal mode up to {maximum:o}, such as 660 (0o660 in TOML and Python)",
        reader=read,
        shower=oct,
    )


def seconds(minimum: float) -> Kind[float]:
    """Make the kind of lengths of time, in seconds, not below *minimum*."""

    def read(value: object) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            amount = float(value)
        else:
            found = _DURATION.fullmatch(value.strip().lower()) if isinstance(value, str) else None
            if found is None:
                raise ValueError(f"{quote(value)} is not a length of time")
            amount = float(found[1]) * _SECONDS_PER[found[2] or "s"]
        # `inf` never ends and `nan` compares with nothing; where no end is meant there is `none`.
        if not amount < float("inf"):
            raise ValueError(f"{quote(value)} is not a length of time")
        return _within(round(amount, 6), minimum, None, _show_seconds)

    floor = "" if minimum == 0 else f" of at least {_show_seconds(minimum)}"
    return Kind(
        metavar="TIME",
        expects=f"a time{floor} such as 30, 1.5, 500ms, 30s, 5m or 1h",
        reader=read,
        shower=_show_seconds,
    )


def size(minimum: int) -> Kind[int]:
    """Make the kind of amounts of memory, in bytes, not below *minimum*."""

    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return _within(value, minimum, None, _show_size)
        found = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"{quote(value)} is not a size")
        return _within(int(found[1]) * _BYTES_PER[found[2]], minimum, None, _show_size)

    floor = f" of at least {_show_size(minimum)}" if minimum else ""
    return Kind(
        metavar="SIZE",
        expects=f"a number of bytes{floor} such as 65536, 64k, 1m or 1g",
        reader=read,
        shower=_show_size,
    )


def switch() -> Kind[bool]:
    """Make the kind that is on or off."""

    def read(value: object) -> bool:
        if isinstance(value, bool):
            return value
        word = value.strip().lower() if isinstance(value, str) else ""
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise ValueError(f"{quote(value)} is neither true nor false")

    return Kind(
        metavar="BOOLEAN",
        expects="true or false (yes, no, on, off, 1 and 0 will do)",
        reader=read,
        shower=lambda value: "true" if value else "false",
        shape=Shape.SWITCH,
    )


def names(metavar: str, *, expects: str) -> Kind[tuple[str, ...]]:
    """Make the kind of lists: repeated flags, a TOML array, or text separated by commas."""

    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            items: list[object] = [item.strip() for item in value.split(",") if item.strip()]
        elif isinstance(value, (list, tuple)):
            items = list(value)
        else:
            raise ValueError(f"{quote(value)} is not a list")  # noqa: TRY004 - `read` promises it
        found = tuple(item.strip() for item in items if isinstance(item, str) and item.strip())
        if len(found) != len(items):
            raise ValueError(f"{quote(value)} holds something that is empty or not text")
        return found

    return Kind(metavar=metavar, expects=expects, reader=read, shower=",".join, shape=Shape.MANY)


def peers() -> Kind[tuple[str, ...]]:
    """Make the kind of lists of addresses and networks, or `*` for all there are."""
    plain = names("ADDRESS", expects="addresses or networks such as 10.0.0.1 or 10.0.0.0/8, or *")

    def read(value: object) -> tuple[str, ...]:
        found = plain.reader(value)
        for each in found:
            try:
                if each != "*":
                    ipaddress.ip_network(each)
            except ValueError as error:
                raise ValueError(f"{quote(each)} is no address or network ({error})") from None
        return found

    return replace(plain, reader=read)


def application() -> Kind[str | Callable[..., Any]]:
    """Make the kind of applications: `module:attribute`, or from Python the callable itself."""
    expects = "module:attribute, or from Python the application itself"
    plain = text("APP", expects=expects)

    def read(value: object) -> str | Callable[..., Any]:
        return value if callable(value) else plain.reader(value)

    return Kind(metavar="APP", expects=expects, reader=read)


def optional(kind: Kind[T], word: str = "none") -> Kind[T | None]:
    """Widen *kind* by None, written as *word*.

    The word is `auto` where None means that the server decides.  `none` is refused there: who
    writes `--max-in-flight none` expects no limit, and would silently get another one.
    """

    def read(value: object) -> T | None:
        if value is None:
            return None
        if isinstance(value, str) and value.strip().casefold() in {word, "none"}:
            if value.strip().casefold() == word:
                return None
            raise ValueError(f"{quote(value)} says too little here")
        return kind.reader(value)

    return Kind(
        metavar=kind.metavar,
        expects=f"{kind.expects}, or {word}",
        reader=read,
        shower=lambda value: word if value is None else kind.show(value),
        choices=kind.choices,
        shape=kind.shape,
        completes=kind.completes,
        none_word=word,
        is_secret=kind.is_secret,
    )


def _within(
    value: Number, minimum: Number, maximum: Number | None, show: Callable[[Number], str]
) -> Number:
    if value < minimum:
        raise ValueError(f"{show(value)} is too small")
    if maximum is not None and value > maximum:
        raise ValueError(f"{show(value)} is too large")
    return value


def _range(minimum: int, maximum: int | None, show: Callable[[int], str]) -> str:
    if maximum is None:
        return f"of at least {show(minimum)}"
    return f"from {show(minimum)} to {show(maximum)}"


def _show_seconds(value: float) -> str:
    if 0 < value < 1 and (value * 1000).is_integer():
        return f"{value * 1000:.0f}ms"
    return f"{value:.6f}".rstrip("0").rstrip(".") + "s"


def _show_size(value: int) -> str:
    for suffix, unit in reversed(_BYTES_PER.items()):
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)

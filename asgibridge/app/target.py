"""What the text `MODULE:ATTRIBUTE` names, and what the usual slips meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from asgibridge.errors import LoadError

__all__ = ["Target", "parse_target"]

_FORM: Final = "write MODULE:ATTRIBUTE, for example main:app"

# main:create_app() and main:create_app("production"), which other servers call.
_CALL: Final = re.compile(r"(?P<factory>[^()]+)\((?P<arguments>.*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A module and the way from it to the application."""

    module: str
    attributes: tuple[str, ...]  # empty: the default names are tried

    def __str__(self) -> str:
        path = ".".join(self.attributes)
        return f"{self.module}:{path}" if path else self.module


def parse_target(text: str) -> Target:
    """Read `MODULE[:ATTRIBUTE[.ATTRIBUTE...]]`.

    Raises:
        LoadError: The text has another form; the message says what to write instead.
    """
    text = text.strip()
    if not text:
        raise LoadError(f"the application's name is empty; {_FORM}")
    module, colon, attribute = text.partition(":")
    if _is_path(module):
        raise LoadError(
            f"{text!r} is a path and not a module; {_dotted_form(module, colon + attribute)}"
        )
    if colon and (called := _CALL.fullmatch(attribute)):
        raise LoadError(_without_call(text, module, called))
    if not module or (colon and not attribute) or ":" in attribute:
        raise LoadError(f"{text!r} does not name a module and an attribute; {_FORM}")
    if not all(part and part.isprintable() and " " not in part for part in module.split(".")):
        raise LoadError(f"{module!r} is not the full name of a module; {_FORM}")
    attributes = tuple(attribute.split(".")) if colon else ()
    if not all(map(str.isidentifier, attributes)):
        raise LoadError(f"{attribute!r} is not the name of an attribute; {_FORM}")
    return Target(module=module, attributes=attributes)


def _is_path(module: str) -> bool:
    return module.endswith(".py") or "/" in module or "\\" in module


def _dotted_form(path: str, rest: str) -> str:
    """Say how to name the module in the file *path*; *rest* is from the colon on."""
    file = PurePath(path.replace("\\", "/"))
    stem = file.stem if file.suffix == ".py" else file.name
    rest = rest or ":app"
    if file.is_absolute() or ".." in file.parts:
        return f"write --app-dir {file.parent} {stem}{rest}"
    folders = [part for part in file.parent.parts if part != "."]
    # A package is named by its folder: shop/__init__.py is the module shop.
    names = folders if stem == "__init__" and folders else [*folders, stem]
    return f"write {'.'.join(names)}{rest}"


def _without_call(text: str, module: str, called: re.Match[str]) -> str:
    factory = called["factory"]
    if called["arguments"].strip():
        return (
            f"{text!r} calls a factory with arguments, which has no place here; write a function "
            f"without arguments that calls {factory}, and name it together with --factory"
        )
    return f"{text!r} calls a factory; write --factory {module}:{factory}"

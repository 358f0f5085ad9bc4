"""Settings as text: the listings of `asgibridge settings`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from asgibridge.config.settings import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgibridge.config.settings import Config
    from asgibridge.config.sources import Origin

__all__ = ["REPORTS", "as_json", "as_table", "as_toml"]

# What TOML understands without quotes: numbers, octal numbers, true and false.
_BARE: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|0o[0-7]+|true|false", re.ASCII)

# Stands for a secret: listings end up in logs and tickets.
HIDDEN: Final = "(hidden)"


def as_table(config: Config, origins: Mapping[str, Origin]) -> str:
    """List name, value and origin in columns, for people."""
    rows = [(name, _shown(name, config), origins[name].label) for name in OPTIONS]
    name_width = max(len(name) for name, _, _ in rows)
    # A very long value pushes its own origin to the right, not everybody's.
    value_width = min(max(len(value) for _, value, _ in rows), 32)
    lines: list[str] = []
    group = ""
    for name, value, origin in rows:
        if OPTIONS[name].group.title != group:
            group = OPTIONS[name].group.title
            lines += ["", group] if lines else [group]
        lines.append(f"  {name:{name_width}}  {value:{value_width}}  {origin}")
    return "\n".join(lines) + "\n"


def as_toml(config: Config, origins: Mapping[str, Origin]) -> str:
    """Write a settings file that says the same as all sources together."""
    lines: list[str] = []
    group = ""
    for name, option in OPTIONS.items():
        if option.group.title != group:
            group = option.group.title
            lines += ["", f"# {group}"] if lines else [f"# {group}"]
        if _is_hidden(name, config):
            lines.append(f"# {name} = {HIDDEN}  # {origins[name].label}")
            continue
        lines.append(f"{name} = {_toml(name, getattr(config, name))}  # {origins[name].label}")
    return "\n".join(lines) + "\n"


def as_json(config: Config, origins: Mapping[str, Origin]) -> str:
    """Write one JSON object: by name the value, in seconds and bytes, and its origin."""
    listed = {
        name: {
            "value": HIDDEN if _is_hidden(name, config) else _plain(getattr(config, name)),
            "origin": origins[name].label,
        }
        for name in OPTIONS
    }
    return json.dumps(listed, indent=2) + "\n"


REPORTS: Final[Mapping[str, Callable[[Config, Mapping[str, Origin]], str]]] = {
    "table": as_table,
    "toml": as_toml,
    "json": as_json,
}


def _is_hidden(name: str, config: Config) -> bool:
    return OPTIONS[name].kind.is_secret and getattr(config, name) is not None


def _shown(name: str, config: Config) -> str:
    if _is_hidden(name, config):
        return HIDDEN
    return OPTIONS[name].kind.show(getattr(config, name)) or "-"


def _toml(name: str, value: Any) -> str:  # noqa: ANN401 - any setting's value
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(item) for item in value)}]"
    shown = OPTIONS[name].kind.show(value)
    return shown if not isinstance(value, str) and _BARE.fullmatch(shown) else _quoted(shown)


def _quoted(value: str) -> str:
    # A JSON string is a TOML basic string: the same quotes and escapes.  Only DEL, which JSON
    # leaves alone, has to be escaped for TOML.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any setting's value
    return value.__name__ if callable(value) else value

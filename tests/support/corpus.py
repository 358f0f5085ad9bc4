"""The raw-byte request corpus of `tests/requests` as typed cases; its README tells the format."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = [
    "CORPUS",
    "CorpusError",
    "InvalidCase",
    "PlainRequest",
    "ValidCase",
    "load_invalid",
    "load_valid",
]

CORPUS: Final = Path(__file__).resolve().parent.parent / "requests"

Value = TypeVar("Value")

_LIMITS: Final = frozenset({"max_head_size", "max_headers", "max_target_size", "max_body_size"})


class CorpusError(Exception):
    """A case is not what the README of the corpus says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRequest:
    """One request with its framing removed: what must come out of the bytes, or what did."""

    method: str
    target: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    content_length: int | None
    is_chunked: bool
    expects_continue: bool
    keep_alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidCase:
    """Bytes that are requests, all of them answered."""

    name: str
    title: str
    why: str
    data: bytes
    limits: dict[str, int]
    requests: tuple[PlainRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidCase:
    """Bytes that end in a refusal with `status`, `after` so many good requests."""

    name: str
    title: str
    why: str
    data: bytes
    limits: dict[str, int]
    status: int
    after: int


class _Table:
    """A TOML table that gives each key once, in the type asked for, and knows what is left."""

    def __init__(self, values: dict[str, Any], place: str) -> None:
        self._values = dict(values)
        self._place = place

    def take(self, key: str, kind: type[Value], default: Value | None = None) -> Value:
        value = self._values.pop(key, default)
        if type(value) is not kind:
            raise CorpusError(
                f"{self._place}: {key} is {value!r}; its type must be {kind.__name__}"
            )
        return value

    def finish(self) -> None:
        if self._values:
            raise CorpusError(f"{self._place}: unknown keys {sorted(self._values)}")


def load_valid(root: Path = CORPUS) -> list[ValidCase]:
    """Load the valid cases below *root*, by name.

    Raises:
        CorpusError: a case is not what the README says.
    """
    cases = []
    for name, data, table in _pairs(root / "valid"):
        requests = tuple(
            _request(_Table(values, f"{name}: request {number}"))
            for number, values in enumerate(table.take("request", list), 1)
        )
        if not requests:
            raise CorpusError(f"{name}: no [[request]]; a valid case expects at least one")
        case = ValidCase(
            name=name,
            title=table.take("title", str),
            why=table.take("why", str),
            data=data,
            limits=_limits(table, name),
            requests=requests,
        )
        table.finish()
        cases.append(case)
    return cases


def load_invalid(root: Path = CORPUS) -> list[InvalidCase]:
    """Load the invalid cases below *root*, by name.

    Raises:
        CorpusError: a case is not what the README says.
    """
    cases = []
    for name, data, table in _pairs(root / "invalid"):
        case = InvalidCase(
            name=name,
            title=table.take("title", str),
            why=table.take("why", str),
            data=data,
            limits=_limits(table, name),
            status=table.take("status", int),
            after=table.take("after", int, 0),
        )
        table.finish()
        cases.append(case)
    return cases


def _pairs(folder: Path) -> list[tuple[str, bytes, _Table]]:
    # Not Path.stem and not with_suffix(): names hold dots ("9112-2.1-plain-get").
    bytes_of = {path.name.removesuffix(".http"): path for path in folder.glob("*.http")}
    meaning_of = {path.name.removesuffix(".toml"): path for path in folder.glob("*.toml")}
    if widows := bytes_of.keys() ^ meaning_of.keys():
        raise CorpusError(f"{folder.name}: .http or .toml is missing for {sorted(widows)}")
    if not bytes_of:
        raise CorpusError(f"{folder}: no cases; is the corpus installed beside the tests?")
    pairs = []
    for name, path in sorted(bytes_of.items()):
        data = path.read_bytes()
        if not data:
            raise CorpusError(f"{name}: .http is empty")
        values = tomllib.loads(meaning_of[name].read_text(encoding="utf-8"))
        pairs.append((name, data, _Table(values, name)))
    return pairs


def _limits(table: _Table, name: str) -> dict[str, int]:
    limits = table.take("limits", dict, {})
    if unknown := limits.keys() - _LIMITS:
        raise CorpusError(f"{name}: unknown limits {sorted(unknown)}; there are {sorted(_LIMITS)}")
    return limits


def _request(table: _Table) -> PlainRequest:
    is_chunked = table.take("is_chunked", bool, default=False)
    content_length = table.take("content_length", int, 0)
    body = table.take("body", str, "").encode()
    request = PlainRequest(
        method=table.take("method", str),
        target=table.take("target", str).encode("latin-1"),
        version=table.take("version", str, "1.1"),
        headers=tuple(_header(name, value) for name, value in table.take("headers", list)),
        body=body or bytes.fromhex(table.take("body_hex", str, "")),
        content_length=None if is_chunked else content_length,
        is_chunked=is_chunked,
        expects_continue=table.take("expects_continue", bool, default=False),
        keep_alive=table.take("keep_alive", bool, default=True),
    )
    table.finish()
    return request


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("latin-1"), value.encode("latin-1")

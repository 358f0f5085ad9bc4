"""One access record, and how it reads as a line: gunicorn's atoms, compiled once, or JSON.

Every value that a client can choose is escaped here, so that no line can be forged.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asgibridge.errors import SettingsError

__all__ = ["ALIASES", "JSON_ALIAS", "AccessRecord", "LineFormat", "compile_format", "well_formed"]

Headers = Sequence[tuple[bytes, bytes]]
Getter = Callable[["AccessRecord"], "str | int"]
LineFormat = Callable[["AccessRecord"], str]

# Named formats.  "json" is not made of atoms; see `_json_line`.
ALIASES: Final = {
    "combined": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',  # gunicorn's default
    "common": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s',
}
JSON_ALIAS: Final = "json"


class AccessRecord:
    """What is known of one request when it is over.  Durations in seconds.

    Plain slots and positional arguments: one is made per request (0.2 us; frozen: four times that).
    *started* is wall clock time.  *status* is 0 when no response was begun.  *cut_reason* says why
    the response did not end well (timeout, client gone, aborted); None when it did.
    The two lists of headers are kept, not copied; a WSGI application's are text.
    """

    __slots__ = (
        "app",
        "body_bytes",
        "client",
        "cut_reason",
        "duration",
        "http_version",
        "method",
        "queued",
        "request_headers",
        "response_headers",
        "started",
        "status",
        "target",
        "thread_id",
        "thread_name",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - grouping objects would double the price of each one
        self,
        client: str | None,
        method: str,
        target: str | bytes,
        http_version: str,
        status: int,
        body_bytes: int,
        started: float,
        duration: float,
        queued: float = 0.0,
        app: float = 0.0,
        cut_reason: str | None = None,
        request_headers: Headers = (),
        response_headers: Sequence[tuple[Any, Any]] = (),
        thread_id: int = 0,
        thread_name: str = "",
    ) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.http_version = http_version
        self.status = status
        self.body_bytes = body_bytes
        self.started = started
        self.duration = duration
        self.queued = queued
        self.app = app
        self.cut_reason = cut_reason
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.thread_id = thread_id
        self.thread_name = thread_name

    @property
    def cut(self) -> bool:
        """Tell whether the response was cut: aborted, timed out, or its client gone."""
        return self.cut_reason is not None

    @property
    def pid(self) -> int:
        """Return this process' id: a record is written by the process that made it."""
        return os.getpid()


# --- values --------------------------------------------------------------------------------------

# Everything but printable ASCII, and the two characters with a meaning inside a quoted field.
_ESCAPES: Final = {
    code: f"\\x{code:02x}"
    for code in range(256)
    if not (code < 128 and chr(code).isprintable()) or chr(code) in '"\\'  # noqa: PLR2004 - ASCII
}
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905 - legible


def _escaped(value: str | bytes) -> str:
    r"""Make *value* printable ASCII that cannot end a line or a quoted field: `\xHH` per byte."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text  # Nearly always.
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass").decode("latin-1")
    return text.translate(_ESCAPES)


def _field(value: str | bytes | None) -> str:
    return _escaped(value) if value else "-"


def _header(headers: Headers, name: bytes) -> bytes:
    """Return the value of header *name* (lower case), repeated ones joined, b"" without one."""
    found = [value for key, value in headers if key == name or key.lower() == name]
    return found[0] if len(found) == 1 else b", ".join(found)


def _as_bytes(headers: Sequence[tuple[Any, Any]]) -> Headers:
    """Return what a WSGI application gave as text in the form of all others."""
    return [
        (name, value)
        if isinstance(name, bytes)
        else (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in headers
    ]


def _path_and_query(record: AccessRecord) -> tuple[str, str]:
    target = _escaped(record.target)
    path, _, query = target.partition("?")
    if "://" in path and not path.startswith("/"):  # The absolute form, RFC 9112 section 3.2.2.
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path, query


def _user(record: AccessRecord) -> str:
    """Return the name of HTTP Basic authentication: claimed by the client, verified by nobody."""
    scheme, _, credentials = _header(record.request_headers, b"authorization").partition(b" ")
    if scheme.lower() != b"basic":
        return "-"
    try:
        name = base64.b64decode(credentials.strip()).partition(b":")[0]
    except (binascii.Error, ValueError):
        return "-"
    # The field stands without quotes, so a blank would begin the next one.
    return _field(name).replace(" ", "\\x20")


def _common_log_clock() -> Callable[[float], str]:
    """Return a function that renders `[10/Oct/2000:13:55:36 -0700]`, once per second and time zone.

    Not strftime: its month names follow the locale.
    """
    latest = (-1, "")

    def render(moment: float) -> str:
        nonlocal latest
        second = int(moment)
        known, text = latest  # One tuple, replaced whole: threads may race, none sees half of it.
        if known == second:
            return text
        now = time.localtime(second)
        sign, offset = ("-" if now.tm_gmtoff < 0 else "+"), abs(now.tm_gmtoff) // 60
        text = (
            f"[{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
            f":{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
            f" {sign}{offset // 60:02d}{offset % 60:02d}]"
        )
        latest = (second, text)
        return text

    return render


def _request_line(record: AccessRecord) -> str:
    if not record.method:  # A head that never became one: there is no line to show.
        return "-"
    return (
        f"{_escaped(record.method)} {_escaped(record.target)} HTTP/{_escaped(record.http_version)}"
    )


_clock = _common_log_clock()

# gunicorn's atoms, by its letters; then, by names, what only this server knows.
_ATOMS: Final[dict[str, Getter]] = {
    "h": lambda record: _field(record.client),
    "l": lambda _: "-",
    "u": _user,
    "t": lambda record: _clock(record.started),
    "r": _request_line,
    "m": lambda record: _field(record.method),
    "U": lambda record: _path_and_query(record)[0] or "-",
    "q": lambda record: _path_and_query(record)[1],
    "H": lambda record: f"HTTP/{_escaped(record.http_version)}",
    "s": lambda record: str(record.status) if record.status else "-",
    "B": lambda record: record.body_bytes,
    "b": lambda record: str(record.body_bytes) if record.body_bytes else "-",
    "f": lambda record: _field(_header(record.request_headers, b"referer")),
    "a": lambda record: _field(_header(record.request_headers, b"user-agent")),
    "T": lambda record: int(record.duration),
    "M": lambda record: int(record.duration * 1e3),
    "D": lambda record: int(record.duration * 1e6),
    "L": lambda record: f"{record.duration:.6f}",
    "p": lambda record: f"<{record.pid}>",
    "queued_ms": lambda record: int(record.queued * 1e3),
    "app_ms": lambda record: int(record.app * 1e3),
    "cut": lambda record: _field(record.cut_reason),
}
_NUMBERS: Final = frozenset({"B", "T", "M", "D", "queued_ms", "app_ms"})

# The environ is gone when the line is made; these of its variables follow from the record.
_VARIABLES: Final[dict[str, Getter]] = {
    "REMOTE_ADDR": _ATOMS["h"],
    "REQUEST_METHOD": _ATOMS["m"],
    "PATH_INFO": _ATOMS["U"],
    "QUERY_STRING": _ATOMS["q"],
    "SERVER_PROTOCOL": _ATOMS["H"],
    "RAW_URI": lambda record: _field(record.target),
    "REQUEST_URI": lambda record: _field(record.target),
}


# --- formats -------------------------------------------------------------------------------------

_PERCENT: Final = re.compile(
    r"%(?:(?P<percent>%)"
    r"|\((?P<atom>[^)]*)\)(?P<layout>[-+ #0]*\d{0,3}(?:\.\d{1,3})?)(?P<kind>[A-Za-z]?)"
    r"|(?P<bare>.?))"
)
_NAMED: Final = re.compile(r"\{([^{}]+)\}([ioe])")


def compile_format(fmt: str) -> LineFormat:
    """Turn *fmt* (gunicorn's atoms, or "combined", "common", "json") into record -> line.

    Whatever a client sent is escaped: its bytes cannot end a line, leave a quoted field, or steer
    a terminal.

    Raises:
        SettingsError: Something in *fmt* is unknown; all of it is named, with the nearest match.
    """
    if fmt == JSON_ALIAS:
        return _json_line
    template: list[str] = []
    getters: list[Getter] = []
    mistakes: list[str] = []
    source = ALIASES.get(fmt, fmt)
    end = 0
    for found in _PERCENT.finditer(source):
        template.append(source[end : found.start()])
        end = found.end()
        if found["percent"]:
            template.append("%%")
            continue
        getter = _getter(found["atom"]) if found["atom"] is not None else None
        mistake = _mistake(found, getter)
        if mistake or getter is None:
            mistakes.append(f"access_log_format: {mistake}")
            continue
        template.append(f"%{found['layout']}{found['kind']}")
        getters.append(getter)
    template.append(source[end:])
    if not getters and not mistakes:
        mistakes.append(_no_atoms(fmt))
    if not all(character.isprintable() or character == "\t" for character in source):
        mistakes.append("access_log_format: control characters in it; a record has to be one line")
    if mistakes:
        raise SettingsError(mistakes)
    pattern = "".join(template)
    return lambda record: pattern % tuple([getter(record) for getter in getters])


def _getter(atom: str) -> Getter | None:
    """Find what *atom* shows, None when there is no such atom."""
    if atom in _ATOMS:
        return _ATOMS[atom]
    named = _NAMED.fullmatch(atom)
    if named is None:
        return None
    name, kind = named.groups()
    if kind == "e":
        return _variable(name)
    key = name.lower().encode("utf-8", "surrogatepass")
    if kind == "i":
        return lambda record: _field(_header(record.request_headers, key))
    return lambda record: _field(_header(_as_bytes(record.response_headers), key))


def _variable(name: str) -> Getter:
    """Find variable *name*: of the request as CGI names it, else of this process' environment."""
    upper = name.upper()
    if upper in _VARIABLES:
        return _VARIABLES[upper]
    if upper.startswith("HTTP_") or upper in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        key = upper.removeprefix("HTTP_").replace("_", "-").lower().encode("utf-8", "surrogatepass")
        return lambda record: _field(_header(record.request_headers, key))
    value = _field(os.environ.get(name))  # Read once: it belongs to the process, not the request.
    return lambda _: value


def _mistake(found: re.Match[str], getter: Getter | None) -> str | None:
    """Say what is wrong with one `%...` of a format, None when nothing is."""
    atom, kind = found["atom"], found["kind"]
    if atom is None:
        bare = found["bare"]
        return f"%{bare} is no atom; " + (
            f"write %({bare})s" if bare in _ATOMS else "write %% for a percent sign"
        )
    if getter is None:
        return f"unknown atom %({atom})s; {_suggestion(atom)}"
    if kind == "s" or (kind == "d" and atom in _NUMBERS):
        return None
    return f"%({atom}){kind} cannot be written that way; write %({atom})s"


def _suggestion(atom: str) -> str:
    if atom.swapcase() in _ATOMS:
        return f"did you mean %({atom.swapcase()})s?"
    if atom.startswith("{"):
        name = atom.strip("{}ioe") or "name"
        return (
            f"write %({{{name}}}i)s for a request header, o for a response header, e for a variable"
        )
    near = difflib.get_close_matches(atom, [name for name in _ATOMS if len(name) > 1], n=1)
    if near:
        return f"did you mean %({near[0]})s?"
    return f"known are {' '.join(_ATOMS)}, {{name}}i, {{name}}o and {{name}}e"


def _no_atoms(fmt: str) -> str:
    names = [*ALIASES, JSON_ALIAS]
    near = difflib.get_close_matches(fmt.lower(), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(names)}, or atoms as %(h)s"
    return f"access_log_format: {fmt!r} is no known format and has no atom in it; {hint}"


def well_formed(value: str | bytes) -> str:
    """Return *value* as text that any JSON reader takes: no lone surrogates, bytes as UTF-8."""
    data = value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def _json_line(record: AccessRecord) -> str:
    """Render everything about *record* but whole headers, which hold cookies and passwords."""
    headers = record.request_headers
    moment = datetime.fromtimestamp(record.started, UTC).isoformat(timespec="milliseconds")
    return json.dumps(
        {
            "time": moment.replace("+00:00", "Z"),
            "logger": "asgibridge.access",
            "client": None if record.client is None else well_formed(record.client),
            "method": well_formed(record.method) or None,
            "target": well_formed(record.target),
            "http_version": well_formed(record.http_version),
            "status": record.status or None,
            "body_bytes": record.body_bytes,
            "duration_ms": round(record.duration * 1e3, 3),
            "queued_ms": round(record.queued * 1e3, 3),
            "app_ms": round(record.app * 1e3, 3),
            "cut": record.cut,
            "cut_reason": None if record.cut_reason is None else well_formed(record.cut_reason),
            "referer": well_formed(_header(headers, b"referer")) or None,
            "user_agent": well_formed(_header(headers, b"user-agent")) or None,
            "pid": record.pid,
            "thread": well_formed(record.thread_name) or None,
            "thread_id": record.thread_id,
        }
    )

"""What a user writes after `--bind`, read into an address.  Pure: opens and resolves nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from asgibridge.errors import SettingsError

__all__ = ["DEFAULT_PORT", "Address", "FdAddress", "TcpAddress", "UnixAddress", "parse_address"]

DEFAULT_PORT: Final = 8000
"""The port of a host written alone; gunicorn, uvicorn, hypercorn and granian chose the same."""

_MAX_PORT: Final = 65535
_MAX_MODE: Final = 0o777
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Only what no host name can hold: names are the resolver's business, typing slips are ours.
_NOT_IN_A_HOST: Final = re.compile(r"[\s\x00-\x1f\x7f/?#@\[\]]")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (name or IP address, without brackets) and a port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket and the mode of its file; mode None leaves it to the umask."""

    path: str
    mode: int | None = None

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdAddress:
    """The number of a file descriptor that is a listening socket already."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


Address: TypeAlias = TcpAddress | UnixAddress | FdAddress


def parse_address(text: str, *, default_mode: int | None = None) -> Address:
    """Read one address.

    These forms exist:

    - `host:port`, `[IPv6]:port`, optionally after `tcp://`; a host alone gets port 8000
    - `:port`: all IPv4 interfaces, as in gunicorn; write `[::]:port` for IPv6 as well
    - `unix:path`, `unix:path?mode=660`; `unix:///path` is the same as `unix:/path`
    - `fd://3`

    Args:
        text: What the user wrote.
        default_mode: The mode of a Unix socket that names none of its own.

    Raises:
        SettingsError: *text* is none of these.  One line, without the origin of the setting,
            which the caller knows.
    """
    if text.startswith("unix:"):
        return _parse_unix(text, default_mode)
    if text.startswith("fd:"):
        return _parse_fd(text)
    return _parse_tcp(text)


def _mistake(text: str, fact_and_step: str) -> SettingsError:
    return SettingsError([f"bad address {text!r}: {fact_and_step}"])


def _parse_unix(text: str, default_mode: int | None) -> UnixAddress:
    path, asked, query = text.removeprefix("unix:").partition("?")
    # unix:///run/a.sock and unix://run/a.sock are both seen in the wild (gunicorn takes both).
    path = path.removeprefix("//")
    if not path or _CONTROL.search(path):
        fact = "the path holds control characters" if path else "the path is missing"
        raise _mistake(text, f"{fact}; write unix:/path/to.sock")
    if not asked:
        return UnixAddress(path, default_mode)
    key, _, value = query.partition("=")
    if key != "mode":
        raise _mistake(text, "only ?mode= may follow the path; write unix:/path/to.sock?mode=660")
    if not re.fullmatch(r"(0o)?[0-7]{1,4}", value) or int(value, 8) > _MAX_MODE:
        raise _mistake(text, f"{value!r} is not a file mode; write three octal digits as in 660")
    return UnixAddress(path, int(value, 8))


def _parse_fd(text: str) -> FdAddress:
    number = text.removeprefix("fd:").removeprefix("//")
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise _mistake(text, "this is not a descriptor's number; write fd://3")
    return FdAddress(int(number))


def _parse_tcp(text: str) -> TcpAddress:
    rest = text.removeprefix("tcp://")
    if "://" in rest:
        raise _mistake(text, "it is not a URL; write host:port, unix:/path or fd://3")
    host, port = _split_brackets(text, rest) if rest.startswith("[") else _split_plain(text, rest)
    if _NOT_IN_A_HOST.search(host):
        is_path = rest.startswith(("/", "."))
        step = "write unix:/path for a Unix socket" if is_path else "write host:port"
        raise _mistake(text, f"{host!r} is not a host; {step}")
    return TcpAddress(host, _parse_port(text, port))


def _split_brackets(text: str, rest: str) -> tuple[str, str | None]:
    found = re.fullmatch(r"\[([^\[\]]*:[^\[\]]*)\](?::(.*))?", rest)
    if found is None:
        raise _mistake(text, "brackets hold an IPv6 address; write [::1]:8000")
    return found[1], found[2]


def _split_plain(text: str, rest: str) -> tuple[str, str | None]:
    host, colon, port = rest.partition(":")
    if ":" in port:
        # ::1:8000 is an address as much as an address with a port.
        raise _mistake(text, "an IPv6 address needs brackets; write [::1]:8000")
    if not colon:
        if not host:
            raise _mistake(text, "it is empty; write host:port, unix:/path or fd://3")
        if host.isdecimal():
            # The resolver would take 8000 for the IPv4 address 0.0.31.64.
            raise _mistake(text, f"a host is missing; write 127.0.0.1:{host} or :{host}")
        return host, None
    return host or "0.0.0.0", port  # noqa: S104 - all interfaces is what `:port` asks for


def _parse_port(text: str, port: str | None) -> int:
    if port is None:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _MAX_PORT:
        raise _mistake(text, f"{port!r} is not a port; write a number from 0 to {_MAX_PORT}")
    return int(port)

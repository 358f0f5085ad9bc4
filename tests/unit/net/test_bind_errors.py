"""What the operator reads when a socket could not be opened."""

from __future__ import annotations

import errno
import os

import pytest

from asgibridge.net.addresses import TcpAddress, UnixAddress
from asgibridge.net.bind_errors import tcp_bind_error, unix_bind_error


def raised(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "port", "line"),
    [
        (errno.EACCES, 80, "permission denied; use a port above 1023"),
        (errno.EACCES, 1023, "permission denied; use a port above 1023"),
        (
            errno.EACCES,
            1024,
            "permission denied by a policy of this system; choose another port",
        ),
        (
            errno.EADDRINUSE,
            8000,
            "the port is in use; stop the process that has it or choose another port",
        ),
        (
            errno.EADDRNOTAVAIL,
            8000,
            "address not available on this machine; use one it has, or 0.0.0.0 for all of them",
        ),
        (errno.EAFNOSUPPORT, 8000, "this machine has no IPv6; use an IPv4 address"),
        (
            errno.EMFILE,
            8000,
            "too many open files; raise the limit of open files (ulimit -n)",
        ),
        (errno.EINVAL, 8000, "invalid argument; check the address or choose another"),
    ],
)
def test_tcp_error_is_one_line_with_the_next_step(number: int, port: int, line: str) -> None:
    error = tcp_bind_error(TcpAddress("127.0.0.1", port), raised(number))

    assert str(error) == f"cannot bind 127.0.0.1:{port}: {line}"


def test_ipv6_address_is_named_in_brackets() -> None:
    error = tcp_bind_error(TcpAddress("::1", 80), raised(errno.EACCES))

    assert str(error).startswith("cannot bind [::1]:80: ")


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (
            errno.EACCES,
            "permission denied in /run/web; make it writable for this user or choose another path",
        ),
        (errno.EROFS, "/run/web is read-only; choose another path"),
        (errno.ENOENT, "/run/web is not a directory; make it or choose another path"),
        (errno.ENOTDIR, "/run/web is not a directory; make it or choose another path"),
        (
            errno.EADDRINUSE,
            "another process took it just now; stop that process or choose another path",
        ),
        (errno.ENFILE, "too many open files in system; raise the limit of open files (ulimit -n)"),
        (errno.ENOSPC, "no space left on device; check the address or choose another"),
    ],
)
def test_unix_error_is_one_line_with_the_next_step(number: int, line: str) -> None:
    error = unix_bind_error(UnixAddress("/run/web/a.sock"), raised(number))

    assert str(error) == f"cannot bind unix:/run/web/a.sock: {line}"


def test_error_without_a_number_still_says_what_happened() -> None:
    error = unix_bind_error(UnixAddress("/a.sock"), OSError("AF_UNIX path too long"))

    assert "af_unix path too long; " in str(error)

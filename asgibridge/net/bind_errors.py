"""Why a listening socket could not be opened, in one line that ends with the next step.  Pure."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asgibridge.errors import BindError

if TYPE_CHECKING:
    from asgibridge.net.addresses import Address, TcpAddress, UnixAddress

__all__ = ["bind_error", "tcp_bind_error", "unix_bind_error"]

# ip(7): ports below ip_unprivileged_port_start, 1024 unless changed, need a capability.
_FIRST_FREE_PORT: Final = 1024


def bind_error(address: Address, fact_and_step: str) -> BindError:
    """Build the error that says *fact_and_step* about *address*."""
    return BindError(f"cannot bind {address}: {fact_and_step}")


def tcp_bind_error(address: TcpAddress, error: OSError) -> BindError:
    """Explain the *error* of socket(2), bind(2) or listen(2) for a TCP *address*."""
    match error.errno:
        case errno.EADDRINUSE:
            text = "the port is in use; stop the process that has it or choose another port"
        case errno.EACCES | errno.EPERM if address.port < _FIRST_FREE_PORT:
            text = "permission denied; use a port above 1023"
        case errno.EACCES | errno.EPERM:
            text = "permission denied by a policy of this system; choose another port"
        case errno.EADDRNOTAVAIL:
            step = "use one it has, or 0.0.0.0 for all of them"
            text = f"address not available on this machine; {step}"
        case errno.EAFNOSUPPORT:
            text = "this machine has no IPv6; use an IPv4 address"
        case _:
            text = _explain_rest(error)
    return bind_error(address, text)


def unix_bind_error(address: UnixAddress, error: OSError) -> BindError:
    """Explain the *error* of making the Unix socket of *address*."""
    directory = Path(address.path).absolute().parent
    match error.errno:
        case errno.EACCES | errno.EPERM:
            step = "make it writable for this user or choose another path"
            text = f"permission denied in {directory}; {step}"
        case errno.EROFS:
            text = f"{directory} is read-only; choose another path"
        case errno.ENOENT | errno.ENOTDIR:
            text = f"{directory} is not a directory; make it or choose another path"
        case errno.EADDRINUSE:
            text = "another process took it just now; stop that process or choose another path"
        case _:
            text = _explain_rest(error)
    return bind_error(address, text)


def _explain_rest(error: OSError) -> str:
    fact = (error.strerror or str(error)).lower()
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return f"{fact}; raise the limit of open files (ulimit -n)"
    return f"{fact}; check the address or choose another"

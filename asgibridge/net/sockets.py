"""Listening sockets: opened, adopted, inherited, closed and asked how many clients wait."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import select
import socket
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from asgibridge.errors import BindError
from asgibridge.net.addresses import Address, FdAddress, TcpAddress, UnixAddress, parse_address
from asgibridge.net.bind_errors import bind_error, tcp_bind_error, unix_bind_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Address",
    "FdAddress",
    "Listener",
    "TcpAddress",
    "UnixAddress",
    "accept_queue_length",
    "has_waiting_client",
    "inherited_listeners",
    "open_listener",
    "open_listeners",
    "parse_address",
]

# sun_path of unix(7): 108 bytes on Linux, 104 on the BSDs and macOS, the last one is the NUL.
_MAX_UNIX_PATH: Final = 107 if sys.platform == "linux" else 103
# sd_listen_fds(3): "the first file descriptor may be found at file descriptor number 3".
_FIRST_INHERITED_FD: Final = 3
# struct tcp_info of linux/tcp.h: the state is the first byte, tcpi_unacked the u32 at byte 24.
_TCP_LISTEN: Final = 10
_TCP_INFO_HEAD: Final = struct.Struct("=B23xI")


@dataclass(frozen=True, slots=True)
class _SocketFile:
    """The file of a Unix socket that the process *pid* made.

    The kernel can't give the inode to another file before the socket is closed.
    """

    path: Path
    device: int
    inode: int
    pid: int

    def remove(self) -> None:
        """Remove the file if this process made it and nobody replaced it since."""
        if self.pid != os.getpid():
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            now = self.path.lstat()
            if (now.st_dev, now.st_ino) == (self.device, self.inode):
                self.path.unlink()


class Listener:
    """A listening socket: non-blocking, not inherited across exec.

    Attributes:
        socket: The socket itself, for the loop to watch.
        url: Where it listens, as logged: `http://127.0.0.1:8000` with the real port, or
            `unix:/path`.
        name: What systemd calls it (`FileDescriptorName=`); None for all others.
        is_adopted: Whether others may have the same socket: whoever opened it.
    """

    __slots__ = ("_file", "is_adopted", "name", "socket", "url")

    def __init__(
        self,
        sock: socket.socket,
        *,
        name: str | None = None,
        file: _SocketFile | None = None,
        is_adopted: bool = False,
    ) -> None:
        """Take over *sock*, which listens already, and the *file* to remove with it."""
        sock.settimeout(0)
        sock.set_inheritable(False)
        if sock.family != socket.AF_UNIX:
            # Accepted sockets inherit it (Linux, the BSDs): no call per connection.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.url = _url(sock)
        self.name = name
        self.is_adopted = is_adopted
        self._file = file

    def __repr__(self) -> str:
        return f"<Listener {self.url}>"

    def close(self) -> None:
        """Stop listening; remove the Unix socket's file if this process made it.

        After a fork the other process keeps the socket and the file.  A second call does nothing.
        """
        if self._file is not None:
            # Before the socket: whoever finds the file finds a server behind it.
            self._file.remove()
            self._file = None
        self.socket.close()


def open_listeners(addresses: Sequence[Address], *, backlog: int) -> list[Listener]:
    """Open all *addresses*, in order, or none.

    `[::]:8000` serves IPv4 clients too, unless *addresses* name an IPv4 host with the same port.

    Raises:
        BindError: One of them could not be opened; those before it are closed again.
    """
    with contextlib.ExitStack() as opened:
        listeners = []
        for address in addresses:
            v6_only = any(_shares_port(address, other) for other in addresses)
            listener = open_listener(address, backlog=backlog, v6_only=v6_only)
            opened.callback(listener.close)
            listeners.append(listener)
        opened.pop_all()
    return listeners


def open_listener(address: Address, *, backlog: int, v6_only: bool = False) -> Listener:
    """Open one listener, or adopt the descriptor that *address* names.

    A host name is resolved now, once.  Of several addresses the first that this machine has is
    bound, IPv4 before IPv6 whatever the resolver's order, so that `localhost` means 127.0.0.1
    everywhere.  A port in use ends the search: falling back would let a second server start
    unnoticed beside the first.  May block on the resolver: not for a running loop.

    Args:
        address: Where to listen.
        backlog: Length of the kernel's queue, cut by the kernel to net.core.somaxconn; an
            adopted descriptor keeps the one it has.
        v6_only: Keep IPv4 clients away from an IPv6 wildcard socket, because another listener
            has that port.

    Raises:
        BindError: It could not be opened; one line with the reason and the next step.
    """
    match address:
        case TcpAddress():
            return _open_tcp(address, backlog, v6_only=v6_only)
        case UnixAddress():
            return _open_unix(address, backlog)
        case FdAddress():
            return _adopt(address.fd, str(address))
        case _:
            assert_never(address)


def inherited_listeners() -> list[Listener]:
    """Adopt what systemd opened for this process, and unset the variables that tell of it.

    Variables meant for another process (`LISTEN_PID`) are left alone and yield no listener.

    Raises:
        BindError: The variables are malformed, or a descriptor is no listening stream socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(variable, None)  # children must not take them for theirs
    if not (count.isascii() and count.isdecimal()):
        raise BindError(f"LISTEN_FDS={count!r} is not a number; let systemd set it, or unset it")
    listeners = []
    for index in range(int(count)):
        fd = _FIRST_INHERITED_FD + index
        name = names[index] if index < len(names) else ""
        listeners.append(_adopt(fd, f"fd {fd} of LISTEN_FDS", name=name or None))
    return listeners


def accept_queue_length(sock: socket.socket) -> int | None:
    """Count the clients that the kernel has connected and nobody has accepted yet.

    Returns:
        The count, or None where the kernel doesn't tell: no Linux, no TCP, not listening.
    """
    if sys.platform != "linux" or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        head = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_HEAD.size)
    except OSError:  # an adopted socket that speaks TCP by another protocol, as MPTCP
        return None
    state, unacked = _TCP_INFO_HEAD.unpack(head)
    # tcp_get_info(): of a listening socket tcpi_unacked is the accept queue's length.
    return int(unacked) if state == _TCP_LISTEN else None


def has_waiting_client(sock: socket.socket) -> bool:
    """Tell whether accept(2) would find a client at this moment.  Never waits."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def _url(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return f"http://{TcpAddress(name[0], name[1])}"
    if isinstance(name, bytes):  # Linux's abstract names, which systemd writes with @
        return "unix:@" + os.fsdecode(name[1:])
    return f"unix:{name}"


def _shares_port(address: Address, other: Address) -> bool:
    """Tell whether *address* is IPv6 and *other* is or may be IPv4 with the same port."""
    return (
        isinstance(address, TcpAddress)
        and isinstance(other, TcpAddress)
        and address.port == other.port != 0
        and ":" in address.host
        and ":" not in other.host
    )


def _open_tcp(address: TcpAddress, backlog: int, *, v6_only: bool) -> Listener:
    candidates = _resolve(address)
    for family, sockaddr in candidates:
        try:
            return Listener(_bind_tcp(family, sockaddr, backlog, v6_only=v6_only))
        except OSError as error:
            is_absent = error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
            if not is_absent or (family, sockaddr) == candidates[-1]:
                raise tcp_bind_error(address, error) from error
    raise AssertionError("the resolver names at least one address")


def _resolve(address: TcpAddress) -> list[tuple[int, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        step = "check the spelling or use an IP address"
        raise bind_error(address, f"host name unknown; {step}") from error
    return sorted(
        ((family, sockaddr) for family, _, _, _, sockaddr in found),
        key=lambda candidate: candidate[0] != socket.AF_INET,
    )


def _bind_tcp(
    family: int, sockaddr: tuple[object, ...], backlog: int, *, v6_only: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Said either way: the default is the system's (net.ipv6.bindv6only).
            is_wildcard = ipaddress.ip_address(str(sockaddr[0])).is_unspecified
            only = v6_only or not is_wildcard
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(sockaddr)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(address: UnixAddress, backlog: int) -> Listener:
    size = len(os.fsencode(address.path))
    if size > _MAX_UNIX_PATH:
        fact = f"path too long, {size} bytes where the system takes {_MAX_UNIX_PATH}"
        raise bind_error(address, f"{fact}; use a shorter path")
    try:
        with _directory_lock(address.path) as is_locked:
            return _make_unix(address, backlog, may_remove=is_locked)
    except OSError as error:
        raise unix_bind_error(address, error) from error


def _make_unix(address: UnixAddress, backlog: int, *, may_remove: bool) -> Listener:
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _bind_unix(sock, address, may_remove=may_remove)
        file = _describe(address.path)
        undo.callback(file.remove)
        if address.mode is not None:
            # Before listen(): until then connect(2) is refused, so no mode but this one ever
            # lets a client in.  Not by the umask: that belongs to all threads at once.
            Path(address.path).chmod(address.mode)
        sock.listen(backlog)
        undo.pop_all()
    return Listener(sock, file=file)


@contextlib.contextmanager
def _directory_lock(path: str) -> Iterator[bool]:
    """Try to lock the directory of *path* without waiting; yield whether it worked.

    A socket between bind() and listen() looks dead.  Whoever removes dead sockets holds this
    lock, and whoever makes one tries to, so that no start takes another's socket away.
    """
    with contextlib.ExitStack() as stack:
        try:
            fd = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _bind_unix(sock: socket.socket, address: UnixAddress, *, may_remove: bool) -> None:
    try:
        sock.bind(address.path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _check_dead(address)
        if not may_remove:
            step = "try again, or remove the file if no server is starting there"
            raise bind_error(address, f"a dead or starting socket is there; {step}") from None
        Path(address.path).unlink(missing_ok=True)
        sock.bind(address.path)


def _check_dead(address: UnixAddress) -> None:
    """Return only if the file is a socket that nobody listens on."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(address.path).st_mode)
    except FileNotFoundError:
        return  # its owner removed it just now
    if not is_socket:
        step = "remove it or choose another path"
        raise bind_error(address, f"the file exists and is not a socket; {step}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # a full queue answers EAGAIN at once: alive
        result = probe.connect_ex(address.path)
    if result in {errno.ECONNREFUSED, errno.ENOENT}:
        return
    if result in {errno.EACCES, errno.EPERM}:
        step = "remove it as its owner or choose another path"
        raise bind_error(address, f"another user's socket is there; {step}")
    step = "stop that process or choose another path"
    raise bind_error(address, f"in use by a running process; {step}")


def _describe(path: str) -> _SocketFile:
    made = os.lstat(path)
    # Absolute: the application may change the working directory.
    return _SocketFile(Path(path).absolute(), made.st_dev, made.st_ino, os.getpid())


def _adopt(fd: int, where: str, *, name: str | None = None) -> Listener:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        fact = "not open" if error.errno == errno.EBADF else "not a socket"
        step = "pass the number of a listening socket"
        raise BindError(f"cannot listen on {where}: {fact}; {step}") from error
    fault = _find_fault(sock)
    if fault is not None:
        sock.detach()  # the descriptor is not ours to close
        raise BindError(f"cannot listen on {where}: {fault}; pass a listening stream socket")
    return Listener(sock, name=name, is_adopted=True)


def _find_fault(sock: socket.socket) -> str | None:
    if sock.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}:
        return "neither a TCP nor a Unix socket"
    if sock.type != socket.SOCK_STREAM:
        return "not a stream socket"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "the socket does not listen"
    return None

"""Listening sockets, real ones: loopback, and Unix sockets below tmp_path."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asgibridge.errors import BindError
from asgibridge.net.sockets import (
    Address,
    FdAddress,
    Listener,
    TcpAddress,
    UnixAddress,
    accept_queue_length,
    has_waiting_client,
    inherited_listeners,
    open_listener,
    open_listeners,
    parse_address,
)

Open = Callable[[Address], Listener]
LOOPBACK = TcpAddress("127.0.0.1", 0)


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    """Close at the end what a test opened."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def open_one(opened: contextlib.ExitStack) -> Open:
    def open_and_remember(address: Address) -> Listener:
        listener = open_listener(address, backlog=16)
        opened.callback(listener.close)
        return listener

    return open_and_remember


@pytest.fixture
def path() -> Iterator[Path]:
    """Name a socket in a short directory of its own, whatever the length of tmp_path."""
    with tempfile.TemporaryDirectory(prefix="asgi-") as folder:
        yield Path(folder, "a.sock")
        Path(folder).chmod(0o700)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Be an ordinary user for one test, also where tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def port_of(listener: Listener) -> int:
    return int(listener.socket.getsockname()[1])


def dial(listener: Listener) -> socket.socket:
    sock = socket.socket(listener.socket.family, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(listener.socket.getsockname())
    return sock


def leave_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def run_python(script: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        pass_fds=pass_fds,
    )
    return done.stdout + done.stderr


# TCP


def test_listener_reports_the_port_that_the_system_chose(open_one: Open) -> None:
    listener = open_one(LOOPBACK)

    assert port_of(listener) != 0
    assert listener.url == f"http://127.0.0.1:{port_of(listener)}"


def test_listener_accepts_clients(open_one: Open) -> None:
    listener = open_one(LOOPBACK)

    with dial(listener) as client:
        accepted, peer = listener.socket.accept()

        assert peer == client.getsockname()
        accepted.close()


def test_listening_socket_is_non_blocking_private_and_quick_to_reuse(open_one: Open) -> None:
    sock = open_one(LOOPBACK).socket

    assert sock.getblocking() is False
    assert sock.get_inheritable() is False
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


def test_accepted_socket_has_no_delay(open_one: Open) -> None:
    listener = open_one(LOOPBACK)

    with dial(listener):
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_port_can_be_bound_again_while_old_connections_linger(open_one: Open) -> None:
    first = open_one(LOOPBACK)
    address = TcpAddress("127.0.0.1", port_of(first))
    with dial(first) as client:
        accepted, _ = first.socket.accept()
        accepted.close()  # the server closes first: its side is the one in TIME_WAIT
        assert client.recv(1) == b""
    first.close()

    assert port_of(open_one(address)) == address.port


def test_port_in_use_is_one_clear_line(open_one: Open) -> None:
    port = port_of(open_one(LOOPBACK))

    with pytest.raises(BindError) as caught:
        open_one(TcpAddress("127.0.0.1", port))

    assert str(caught.value) == (
        f"cannot bind 127.0.0.1:{port}: the port is in use; "
        "stop the process that has it or choose another port"
    )


def test_address_of_another_machine_is_one_clear_line(open_one: Open) -> None:
    # 240.0.0.0/4 is reserved (RFC 1112): no machine has one of these.
    with pytest.raises(BindError, match=r"^cannot bind 240\.0\.0\.1:0: address not available"):
        open_one(TcpAddress("240.0.0.1", 0))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "a..b"])
def test_unknown_host_is_one_clear_line(open_one: Open, host: str) -> None:
    with pytest.raises(BindError) as caught:
        open_one(TcpAddress(host, 8000))

    assert str(caught.value) == (
        f"cannot bind {host}:8000: host name unknown; check the spelling or use an IP address"
    )


def test_host_name_is_bound_on_ipv4_first(open_one: Open) -> None:
    assert open_one(TcpAddress("localhost", 0)).url.startswith("http://127.0.0.1:")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Stand in for the resolver: let every name have these addresses, in this order."""
    real = socket.getaddrinfo

    def fake(_: str, port: int, **options: int) -> list[object]:
        return [answer for host in hosts for answer in real(host, port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


@pytest.mark.parametrize(
    ("hosts", "bound"),
    [
        (["::1", "127.0.0.1"], "http://127.0.0.1:"),
        (["::1", "240.0.0.1"], "http://[::1]:"),
        (["240.0.0.1", "127.0.0.1"], "http://127.0.0.1:"),
    ],
)
def test_of_several_addresses_the_first_on_this_machine_is_bound(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, hosts: list[str], bound: str
) -> None:
    resolve_to(monkeypatch, *hosts)

    assert open_one(TcpAddress("web.example", 0)).url.startswith(bound)


def test_port_in_use_is_not_evaded_to_another_address(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = port_of(open_one(LOOPBACK))
    resolve_to(monkeypatch, "127.0.0.1", "::1")

    with pytest.raises(BindError, match="the port is in use"):
        open_one(TcpAddress("web.example", port))


def test_name_with_no_address_on_this_machine_is_one_clear_line(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "240.0.0.1", "240.0.0.2")

    with pytest.raises(BindError, match=r"^cannot bind web\.example:0: address not available"):
        open_one(TcpAddress("web.example", 0))


def test_failed_bind_leaves_no_descriptor_open(open_one: Open) -> None:
    address = TcpAddress("127.0.0.1", port_of(open_one(LOOPBACK)))
    before = len(list(Path("/dev/fd").iterdir()))

    for _ in range(5):
        with pytest.raises(BindError):
            open_one(address)

    assert len(list(Path("/dev/fd").iterdir())) == before


# IPv6


def test_ipv6_url_has_brackets(open_one: Open) -> None:
    listener = open_one(parse_address("[::1]:0"))

    assert listener.url == f"http://[::1]:{port_of(listener)}"


def test_ipv6_wildcard_alone_serves_ipv4_clients(open_one: Open) -> None:
    listener = open_one(TcpAddress("::", 0))

    with socket.create_connection(("127.0.0.1", port_of(listener)), timeout=10):
        assert has_waiting_client(listener.socket)


def test_both_wildcards_share_a_port(open_one: Open, opened: contextlib.ExitStack) -> None:
    scout = open_one(TcpAddress("0.0.0.0", 0))
    port = port_of(scout)
    scout.close()

    for addresses in (("0.0.0.0", "::"), ("::", "0.0.0.0"), ("::", "localhost")):
        listeners = open_listeners([TcpAddress(host, port) for host in addresses], backlog=16)
        for listener in listeners:
            opened.callback(listener.close)
        by_family = {listener.socket.family: listener for listener in listeners}
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            assert has_waiting_client(by_family[socket.AF_INET].socket)
            assert not has_waiting_client(by_family[socket.AF_INET6].socket)
        for listener in listeners:
            listener.close()


def test_other_ports_do_not_cut_the_ipv6_wildcard(opened: contextlib.ExitStack) -> None:
    listeners = open_listeners([TcpAddress("::", 0), LOOPBACK], backlog=16)
    for listener in listeners:
        opened.callback(listener.close)

    with socket.create_connection(("127.0.0.1", port_of(listeners[0])), timeout=10):
        assert has_waiting_client(listeners[0].socket)


# Several


def test_all_are_opened_or_none(path: Path, open_one: Open) -> None:
    taken = TcpAddress("127.0.0.1", port_of(open_one(LOOPBACK)))

    with pytest.raises(BindError):
        open_listeners([UnixAddress(str(path)), taken], backlog=16)

    assert not path.exists()


# Unix sockets


def test_unix_socket_listens_at_its_path(path: Path, open_one: Open) -> None:
    listener = open_one(UnixAddress(str(path)))

    assert listener.url == f"unix:{path}"
    with dial(listener):
        assert has_waiting_client(listener.socket)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_socket_file_gets_exactly_the_mode_asked_for(path: Path, open_one: Open, mode: int) -> None:
    open_one(UnixAddress(str(path), mode))

    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_without_a_mode_the_umask_decides(path: Path, open_one: Open) -> None:
    before = os.umask(0o027)
    try:
        open_one(UnixAddress(str(path)))
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_opening_leaves_the_umask_alone(path: Path, open_one: Open) -> None:
    before = os.umask(0o031)
    try:
        open_one(UnixAddress(str(path), 0o660))
    finally:
        after = os.umask(before)

    assert after == 0o031


def test_nobody_can_connect_before_the_mode_is_set(path: Path) -> None:
    """Follow the order of the system calls: chmod(2) comes before listen(2)."""
    order = run_python(
        "import sys\n"
        "from asgibridge.net.sockets import UnixAddress, open_listener\n"
        "calls = []\n"
        "def note(event, arguments):\n"
        "    if event in ('socket.bind', 'os.chmod'):\n"
        "        calls.append(event)\n"
        "    if event == 'os.chmod':\n"
        "        import socket\n"
        "        with socket.socket(socket.AF_UNIX) as probe:\n"
        "            calls.append(probe.connect_ex(sys.argv[1]))\n"
        "sys.addaudithook(note)\n"
        "open_listener(UnixAddress(sys.argv[1], 0o600), backlog=1).close()\n"
        "import errno; print([errno.errorcode.get(call, call) for call in calls])\n",
        str(path),
    )

    assert order == "['socket.bind', 'os.chmod', 'ECONNREFUSED']\n"


def test_dead_socket_is_replaced(path: Path, open_one: Open) -> None:
    leave_dead_socket(path)

    with dial(open_one(UnixAddress(str(path)))) as client:
        assert client.getpeername() == str(path)


def test_live_socket_is_an_error_and_stays(path: Path, open_one: Open) -> None:
    first = open_one(UnixAddress(str(path)))

    with pytest.raises(BindError) as caught:
        open_one(UnixAddress(str(path)))

    assert str(caught.value) == (
        f"cannot bind unix:{path}: in use by a running process; "
        "stop that process or choose another path"
    )
    dial(first).close()


def test_live_socket_with_a_full_queue_is_live(path: Path) -> None:
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(str(path))
        sock.listen(0)
        result = 0
        while result == 0:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(0)
            result = client.connect_ex(str(path))

        with pytest.raises(BindError, match="in use by a running process"):
            open_listener(UnixAddress(str(path)), backlog=16)


def test_live_socket_of_another_type_is_live(path: Path, open_one: Open) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))

        with pytest.raises(BindError, match="in use by a running process"):
            open_one(UnixAddress(str(path)))

    assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_what_is_no_socket_is_never_removed(path: Path, open_one: Open, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")

    with pytest.raises(BindError) as caught:
        open_one(UnixAddress(str(path)))

    assert str(caught.value) == (
        f"cannot bind unix:{path}: the file exists and is not a socket; "
        "remove it or choose another path"
    )
    assert os.path.lexists(path)


def test_dead_socket_stays_while_another_process_may_be_starting(
    path: Path, open_one: Open
) -> None:
    leave_dead_socket(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)

        with pytest.raises(BindError, match="a dead or starting socket is there; try again"):
            open_one(UnixAddress(str(path)))
    finally:
        os.close(folder)

    assert path.is_socket()


def test_path_of_the_greatest_length_works_and_one_more_is_refused(
    path: Path, open_one: Open
) -> None:
    longest = str(path).ljust(107 if sys.platform == "linux" else 103, "x")
    open_one(UnixAddress(longest))

    with pytest.raises(BindError) as caught:
        open_one(UnixAddress(longest + "x"))

    assert "path too long, 108 bytes where the system takes 107; use a shorter path" in str(
        caught.value
    )


def test_missing_directory_is_one_clear_line(path: Path, open_one: Open) -> None:
    with pytest.raises(BindError) as caught:
        open_one(UnixAddress(str(path.parent / "gone" / "a.sock")))

    assert str(caught.value) == (
        f"cannot bind unix:{path.parent}/gone/a.sock: {path.parent}/gone is not a directory; "
        "make it or choose another path"
    )


def test_unwritable_directory_is_one_clear_line(
    path: Path, open_one: Open, request: pytest.FixtureRequest
) -> None:
    path.parent.chmod(0o555)
    request.getfixturevalue("unprivileged")

    with pytest.raises(BindError) as caught:
        open_one(UnixAddress(str(path)))

    assert str(caught.value) == (
        f"cannot bind unix:{path}: permission denied in {path.parent}; "
        "make it writable for this user or choose another path"
    )


def test_socket_of_another_user_is_not_touched(
    path: Path, open_one: Open, request: pytest.FixtureRequest
) -> None:
    leave_dead_socket(path)
    path.chmod(0)
    path.parent.chmod(0o755)
    request.getfixturevalue("unprivileged")

    with pytest.raises(BindError, match="another user's socket is there; remove it as its owner"):
        open_one(UnixAddress(str(path)))

    assert path.is_socket()


def test_close_removes_the_file_and_may_be_repeated(path: Path, open_one: Open) -> None:
    listener = open_one(UnixAddress(str(path)))

    listener.close()
    assert not path.exists()

    path.write_text("of somebody else")
    listener.close()
    assert path.exists()


def test_close_keeps_the_file_of_a_successor(path: Path, open_one: Open) -> None:
    old = open_one(UnixAddress(str(path)))
    path.unlink()
    new = open_one(UnixAddress(str(path)))

    old.close()

    dial(new).close()


def test_close_survives_the_loss_of_the_directory(path: Path, open_one: Open) -> None:
    listener = open_one(UnixAddress(str(path)))
    path.unlink()
    path.parent.rmdir()
    try:
        listener.close()
    finally:
        path.parent.mkdir()

    assert listener.socket.fileno() == -1


def test_relative_path_is_removed_from_where_it_was_made(
    path: Path, open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    listener = open_one(UnixAddress("a.sock"))
    monkeypatch.chdir("/")

    listener.close()

    assert listener.url == "unix:a.sock"
    assert not path.exists()


def test_close_in_a_forked_child_keeps_the_file(path: Path) -> None:
    seen = run_python(
        "import os, sys\n"
        "from asgibridge.net.sockets import UnixAddress, open_listener\n"
        "listener = open_listener(UnixAddress(sys.argv[1]), backlog=1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    listener.close()\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print(os.path.exists(sys.argv[1]))\n"
        "listener.close()\n"
        "print(os.path.exists(sys.argv[1]))\n",
        str(path),
    )

    assert seen == "True\nFalse\n"


def test_failure_after_bind_removes_the_file(path: Path) -> None:
    with pytest.raises(OverflowError):  # listen(2) takes an int
        open_listener(UnixAddress(str(path)), backlog=2**40)

    assert not path.exists()


# Descriptors


def test_listening_descriptor_is_adopted_and_serves(open_one: Open) -> None:
    original = socket.create_server(("127.0.0.1", 0))
    port = original.getsockname()[1]
    fd = original.detach()
    os.set_inheritable(fd, True)  # noqa: FBT003 - the standard library's signature

    listener = open_one(FdAddress(fd))

    assert listener.socket.fileno() == fd
    assert listener.socket.getblocking() is False
    assert listener.socket.get_inheritable() is False
    assert listener.url == f"http://127.0.0.1:{port}"
    dial(listener).close()


def test_adopted_unix_socket_keeps_its_file(path: Path, open_one: Open) -> None:
    original = socket.socket(socket.AF_UNIX)
    original.bind(str(path))
    original.listen()

    listener = open_one(FdAddress(original.detach()))
    listener.close()

    assert listener.url == f"unix:{path}"
    assert path.exists()


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (socket.SOCK_STREAM, "the socket does not listen"),
        (socket.SOCK_DGRAM, "not a stream socket"),
    ],
)
def test_wrong_socket_is_refused_and_left_open(
    open_one: Open, kind: socket.SocketKind, fault: str
) -> None:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        fd = sock.fileno()

        with pytest.raises(BindError) as caught:
            open_one(FdAddress(fd))

        assert str(caught.value) == (
            f"cannot listen on fd://{fd}: {fault}; pass a listening stream socket"
        )
        os.fstat(fd)


def test_file_is_refused_and_left_open(tmp_path: Path, open_one: Open) -> None:
    with Path(tmp_path, "file").open("w") as file:
        fd = file.fileno()

        with pytest.raises(BindError) as caught:
            open_one(FdAddress(fd))

        assert str(caught.value) == (
            f"cannot listen on fd://{fd}: not a socket; pass the number of a listening socket"
        )
        os.fstat(fd)


def test_closed_descriptor_is_refused(open_one: Open) -> None:
    with pytest.raises(BindError, match=r"^cannot listen on fd://987654: not open; "):
        open_one(FdAddress(987654))


def test_abstract_name_is_written_with_an_at_sign(open_one: Open) -> None:
    original = socket.socket(socket.AF_UNIX)
    original.bind(f"\0asgibridge-test-{os.getpid()}")
    original.listen()

    assert open_one(FdAddress(original.detach())).url == f"unix:@asgibridge-test-{os.getpid()}"


# systemd

TAKE = """
import os, sys
from asgibridge.net.sockets import inherited_listeners
parked = [os.dup2(int(fd), 50 + number) for number, fd in enumerate(sys.argv[3].split())]
for number, fd in enumerate(parked):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[1], LISTEN_FDNAMES=sys.argv[2])
listeners = []
try:
    listeners = inherited_listeners()
except Exception as error:
    print(error)
for listener in listeners:
    print(listener.socket.fileno(), listener.url, listener.name)
    listener.close()
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def test_sockets_of_systemd_are_taken_with_their_names(path: Path, open_one: Open) -> None:
    tcp, unix = open_one(LOOPBACK), open_one(UnixAddress(str(path)))
    fds = (tcp.socket.fileno(), unix.socket.fileno())

    seen = run_python(TAKE, "2", "web", " ".join(map(str, fds)), pass_fds=fds)

    assert seen.splitlines() == [f"3 {tcp.url} web", f"4 {unix.url} None", "[]"]


def test_malformed_count_is_one_clear_line() -> None:
    seen = run_python(TAKE, "two", "", "")

    assert seen.splitlines() == [
        "LISTEN_FDS='two' is not a number; let systemd set it, or unset it",
        "[]",
    ]


def test_descriptor_that_is_no_listener_is_one_clear_line(open_one: Open) -> None:
    with dial(open_one(LOOPBACK)) as client:
        seen = run_python(TAKE, "1", "", str(client.fileno()), pass_fds=(client.fileno(),))

    assert seen == (
        "cannot listen on fd 3 of LISTEN_FDS: the socket does not listen; "
        "pass a listening stream socket\n[]\n"
    )


def test_sockets_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")

    assert inherited_listeners() == []
    assert os.environ["LISTEN_FDS"] == "1"


def test_nothing_is_inherited_without_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)

    assert inherited_listeners() == []


# The kernel's queue


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accept_queue_is_counted(open_one: Open, host: str) -> None:
    listener = open_one(TcpAddress(host, 0))
    assert accept_queue_length(listener.socket) == 0

    with dial(listener), dial(listener), dial(listener):
        # A busy kernel may be late to queue those whom it has told already.
        deadline = time.monotonic() + 20
        while accept_queue_length(listener.socket) != 3:
            assert time.monotonic() < deadline
        listener.socket.accept()[0].close()
        assert accept_queue_length(listener.socket) == 2


def test_accept_queue_of_a_unix_socket_is_unknown(path: Path, open_one: Open) -> None:
    assert accept_queue_length(open_one(UnixAddress(str(path))).socket) is None


def test_socket_that_does_not_listen_has_no_accept_queue(open_one: Open) -> None:
    with dial(open_one(LOOPBACK)) as client:
        assert accept_queue_length(client) is None


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_waiting_client_is_seen_until_accepted(path: Path, open_one: Open, kind: str) -> None:
    listener = open_one(LOOPBACK if kind == "tcp" else UnixAddress(str(path)))
    assert not has_waiting_client(listener.socket)

    with dial(listener):
        assert has_waiting_client(listener.socket)
        listener.socket.accept()[0].close()
        assert not has_waiting_client(listener.socket)

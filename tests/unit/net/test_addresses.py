"""Every form of an address, and what a slip is answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgibridge.errors import SettingsError
from asgibridge.net.addresses import Address, FdAddress, TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("example.org:65535", TcpAddress("example.org", 65535)),
        ("example.org", TcpAddress("example.org", 8000)),
        ("0.0.0.0", TcpAddress("0.0.0.0", 8000)),
        (":9000", TcpAddress("0.0.0.0", 9000)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        ("[::]", TcpAddress("::", 8000)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("tcp://127.0.0.1:81", TcpAddress("127.0.0.1", 81)),
        ("tcp://[::1]:81", TcpAddress("::1", 81)),
        ("unix:/run/a.sock", UnixAddress("/run/a.sock", None)),
        ("unix:///run/a.sock", UnixAddress("/run/a.sock", None)),
        ("unix:a.sock", UnixAddress("a.sock", None)),
        ("unix:/run/a.sock?mode=660", UnixAddress("/run/a.sock", 0o660)),
        ("unix:/run/a.sock?mode=0600", UnixAddress("/run/a.sock", 0o600)),
        ("unix:/run/a.sock?mode=0o777", UnixAddress("/run/a.sock", 0o777)),
        ("unix:/run/a.sock?mode=0", UnixAddress("/run/a.sock", 0)),
        ("fd://3", FdAddress(3)),
        ("fd:12", FdAddress(12)),
    ],
)
def test_each_form_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "it is empty; write host:port, unix:/path or fd://3"),
        ("8000", "a host is missing; write 127.0.0.1:8000 or :8000"),
        ("::1", "an IPv6 address needs brackets; write [::1]:8000"),
        ("::1:8000", "an IPv6 address needs brackets; write [::1]:8000"),
        ("[::1", "brackets hold an IPv6 address; write [::1]:8000"),
        ("[::1]8000", "brackets hold an IPv6 address; write [::1]:8000"),
        ("[localhost]:80", "brackets hold an IPv6 address; write [::1]:8000"),
        ("localhost:", "'' is not a port; write a number from 0 to 65535"),
        ("localhost:http", "'http' is not a port; write a number from 0 to 65535"),
        ("localhost:-1", "'-1' is not a port; write a number from 0 to 65535"),
        ("localhost:65536", "'65536' is not a port; write a number from 0 to 65535"),
        ("localhost:\uff18", "'\uff18' is not a port; write a number from 0 to 65535"),
        ("http://localhost:80", "it is not a URL; write host:port, unix:/path or fd://3"),
        ("local host:80", "'local host' is not a host; write host:port"),
        ("127.0.0.1:80\n", "'80\\n' is not a port; write a number from 0 to 65535"),
        ("/run/a.sock", "'/run/a.sock' is not a host; write unix:/path for a Unix socket"),
        ("unix:", "the path is missing; write unix:/path/to.sock"),
        ("unix:?mode=660", "the path is missing; write unix:/path/to.sock"),
        ("unix:/a\0b", "the path holds control characters; write unix:/path/to.sock"),
        ("unix:/a\nb", "the path holds control characters; write unix:/path/to.sock"),
        ("unix:/a?mode=888", "'888' is not a file mode; write three octal digits as in 660"),
        ("unix:/a?mode=1777", "'1777' is not a file mode; write three octal digits as in 660"),
        ("unix:/a?mode=", "'' is not a file mode; write three octal digits as in 660"),
        ("unix:/a?user=b", "only ?mode= may follow the path; write unix:/path/to.sock?mode=660"),
        ("fd://", "this is not a descriptor's number; write fd://3"),
        ("fd://stdin", "this is not a descriptor's number; write fd://3"),
        ("fd://-1", "this is not a descriptor's number; write fd://3"),
    ],
)
def test_slip_is_answered_with_fact_and_next_step(text: str, advice: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_address(text)

    assert caught.value.mistakes == (f"bad address {text!r}: {advice}",)


def test_mode_in_the_address_is_stronger_than_the_callers() -> None:
    assert parse_address("unix:/a", default_mode=0o600) == UnixAddress("/a", 0o600)
    assert parse_address("unix:/a?mode=666", default_mode=0o600) == UnixAddress("/a", 0o666)


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:8000", "unix:/run/a.sock", "fd://3"])
def test_address_prints_as_it_is_written(text: str) -> None:
    assert str(parse_address(text)) == text


@given(st.text(alphabet=":[]/?=unixfdtcp0189.\0 %\u0660", max_size=20) | st.text(max_size=20))
def test_any_text_is_an_address_or_one_mistake(text: str) -> None:
    try:
        lines = [str(parse_address(text))]
    except SettingsError as error:
        lines = list(error.mistakes)

    assert ["\n" in line for line in lines] == [False]

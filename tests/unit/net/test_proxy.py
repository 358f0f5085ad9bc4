"""Whom a trusted proxy names as the client; what a client makes up is not looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgibridge.http.request import RequestHead
from asgibridge.net import proxy
from asgibridge.net.proxy import TrustedProxies

if TYPE_CHECKING:
    from asgibridge.interfaces import Client

PEER = ("127.0.0.1", 5000)
OURS = ("127.0.0.1", "::1", "10.0.0.0/8")


def resolved(
    *fields: tuple[bytes, bytes],
    allowed: tuple[str, ...] = OURS,
    client: Client = PEER,
    scheme: str = "http",
) -> tuple[Client, str]:
    head = RequestHead("GET", b"/", "1.1", [(b"host", b"a"), *fields])
    return TrustedProxies(allowed).resolve(head, client, scheme)


@pytest.mark.parametrize(
    ("client", "allowed", "expected"),
    [
        (("127.0.0.1", 1), OURS, True),
        (("::1", 1), OURS, True),
        (("10.1.2.3", 1), OURS, True),
        (("11.1.2.3", 1), OURS, False),
        (("192.0.2.1", 1), (), False),
        (("192.0.2.1", 1), ("*",), True),
        (("fe80::1%eth0", 1), ("fe80::/10",), True),
        (("no address", 1), OURS, False),
        (None, (), True),
    ],
)
def test_peers_are_trusted_by_address_network_and_unix_socket(
    client: Client, allowed: tuple[str, ...], *, expected: bool
) -> None:
    trusted = TrustedProxies(allowed)
    assert [trusted.trusts(client) for _ in range(2)] == [expected] * 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"192.0.2.7", ("192.0.2.7", 0)),
        (b"192.0.2.7:4711", ("192.0.2.7", 4711)),
        (b"2001:DB8::7", ("2001:db8::7", 0)),
        (b"[2001:db8::7]", ("2001:db8::7", 0)),
        (b"[2001:db8::7]:4711", ("2001:db8::7", 4711)),
        (b"::ffff:192.0.2.7", ("192.0.2.7", 0)),
        # The first from the right that is no proxy of ours.
        (b"192.0.2.7, 10.0.0.1,\t10.0.0.2", ("192.0.2.7", 0)),
        # What stands left of it is made up, or not, and not even looked at.
        (b"127.0.0.1, 192.0.2.7", ("192.0.2.7", 0)),
        (b"<script>, 192.0.2.7, 10.0.0.1", ("192.0.2.7", 0)),
        # All are ours: a request of our own.
        (b"10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),
        # Malformed where it is looked at: as good as absent.
        (b"", PEER),
        (b"unknown", PEER),
        (b"192.0.2.7, nonsense", PEER),
        (b"192.0.2.7, nonsense, 10.0.0.1", PEER),
        (b"192.0.2.7,", PEER),
        (b"192.0.2.7:65536", PEER),
        (b"192.0.2.777", PEER),
        (b"192.0.2", PEER),
        (b"\xff", PEER),
    ],
)
def test_x_forwarded_for_names_the_client(value: bytes, expected: Client) -> None:
    assert resolved((b"x-forwarded-for", value)) == (expected, "http")


def test_everybody_trusted_makes_the_first_the_client() -> None:
    value = (b"x-forwarded-for", b"192.0.2.7, 192.0.2.8")
    assert resolved(value, allowed=("*",))[0] == ("192.0.2.7", 0)


def test_repeated_headers_are_one_list() -> None:
    fields = [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-for", b"10.0.0.1")]
    assert resolved(*fields)[0] == ("192.0.2.7", 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https", "https"),
        (b"HTTPS", "https"),
        (b"wss", "https"),
        (b"ws", "http"),
        (b"http", "http"),
        (b"https, https", "https"),
        (b"https, http", "http"),
        (b"gopher", "http"),
        (b"", "http"),
    ],
)
def test_x_forwarded_proto_names_the_scheme(value: bytes, expected: str) -> None:
    assert resolved((b"x-forwarded-proto", value)) == (PEER, expected)


def test_proxy_can_take_https_away() -> None:
    assert resolved((b"x-forwarded-proto", b"http"), scheme="https") == (PEER, "http")
    assert resolved((b"x-forwarded-proto", b"what"), scheme="https") == (PEER, "https")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"for=192.0.2.7;proto=https", (("192.0.2.7", 0), "https")),
        (b'For="192.0.2.7:4711" ; PROTO=HTTPS;by=10.0.0.1', (("192.0.2.7", 4711), "https")),
        (b'for="[2001:db8::7]:4711"', (("2001:db8::7", 4711), "http")),
        (b'for="[2001:db8::7]:_port"', (("2001:db8::7", 0), "http")),
        (b'for="192.0.2.\\7"', (("192.0.2.7", 0), "http")),
        # The scheme is that of the element that names the client.
        (b"for=192.0.2.7;proto=https, for=10.0.0.1;proto=http", (("192.0.2.7", 0), "https")),
        (b"for=127.0.0.1;proto=https, for=192.0.2.7;proto=http", (("192.0.2.7", 0), "http")),
        (b'for="a,b;c=\\"d", for=192.0.2.7', (("192.0.2.7", 0), "http")),
        (b"for=192.0.2.7,,", (("192.0.2.7", 0), "http")),
        # A proxy may keep the client to itself.
        (b"for=unknown;proto=https", (PEER, "https")),
        (b"for=_hidden;proto=https", (PEER, "https")),
        (b"proto=https", (PEER, "https")),
        # Malformed: as good as absent.
        (b"", (PEER, "http")),
        (b"for", (PEER, "http")),
        (b"for=", (PEER, "http")),
        (b"for=192.0.2.7;proto=gopher", (PEER, "http")),
        (b"for=192.0.2.7;for=192.0.2.8", (PEER, "http")),
        (b'for="192.0.2.7', (PEER, "http")),
        (b"for=2001:db8::7", (PEER, "http")),
        (b"for=nonsense;proto=https", (PEER, "http")),
        (b"for=192.0.2.7 proto=https", (PEER, "http")),
    ],
)
def test_forwarded_names_client_and_scheme(value: bytes, expected: tuple[Client, str]) -> None:
    assert resolved((b"forwarded", value)) == expected


@pytest.mark.parametrize(
    "field", [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", b"gopher")]
)
def test_forwarded_is_not_read_beside_the_others(field: tuple[bytes, bytes]) -> None:
    client, scheme = resolved(field, (b"forwarded", b"for=192.0.2.99;proto=https"))
    assert client != ("192.0.2.99", 0)
    assert scheme == "http"


def test_rows_of_proxies_are_bounded() -> None:
    ours = [b"10.0.0.1"] * proxy.MAX_HOPS
    longest = b",".join([b"192.0.2.7", *ours[1:]])
    assert resolved((b"x-forwarded-for", longest))[0] == ("192.0.2.7", 0)
    too_long = b",".join([b"192.0.2.7", *ours])
    assert resolved((b"x-forwarded-for", too_long))[0] == PEER


def test_what_is_remembered_is_bounded() -> None:
    trusted = TrustedProxies(OURS)
    for number in range(proxy._MAX_KNOWN + 10):
        value = b"192.0.2.7:%d" % (number + 1)
        head = RequestHead("GET", b"/", "1.1", [(b"host", b"a"), (b"x-forwarded-for", value)])
        assert trusted.resolve(head, PEER, "http")[0] == ("192.0.2.7", number + 1)
        assert trusted.trusts((f"peer {number}", 1)) is False
    assert len(trusted._clients) <= proxy._MAX_KNOWN
    assert len(trusted._peers) <= proxy._MAX_KNOWN


@given(st.binary(max_size=60), st.sampled_from([b"x-forwarded-for", b"forwarded"]))
def test_nothing_a_client_sends_is_an_error(value: bytes, name: bytes) -> None:
    client, scheme = resolved((name, value))
    assert client is not None
    assert scheme in {"http", "https"}

"""Which peers are proxies to be believed, and what they say of the client behind them.

Two families of headers tell of it: `X-Forwarded-For` with `X-Forwarded-Proto`, and `Forwarded`
(RFC 7239).  They are never mixed: if one of the first family is there, `Forwarded` is not read,
because more proxies set the first and hand a client's `Forwarded` through than the other way round.

Each proxy adds the address it was reached from at the right.  So addresses are read from the right,
as long as they are those of trusted proxies; the first other one is the client, and what stands
left of it, which the client may have made up, is not even looked at.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asgibridge.http.request import RequestHead
    from asgibridge.interfaces import Client

__all__ = ["TrustedProxies"]

_Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
_Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
# What one hop says: the node it was reached from, and the scheme.
_Hop: TypeAlias = "tuple[bytes | None, bytes | None]"

EVERYBODY: Final = "*"
# Proxies in a row.  A longer list is somebody's attempt to keep us busy.
MAX_HOPS: Final = 64
# Bounded, since clients choose what is remembered.
_MAX_KNOWN: Final = 1024

_SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
# 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80; RFC 7239 §6 also allows a
# made-up port.
_NODE: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)|(?P<bare>[0-9A-Fa-f:.]+))"
    r"(?::(?:(?P<port>[0-9]{1,5})|_[\w.-]+))?",
    re.ASCII,
)
# RFC 7239 §4: token "=" ( token / quoted-string ), parted by ";" in an element, elements by ",".
_PAIR: Final = re.compile(
    rb"[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)="
    rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*")[ \t]*)?([;,]|$)'
)
_MAX_PORT: Final = 65535


class _Malformed(Exception):  # noqa: N818 - a message to ourselves
    """The header is not what it should be."""


class TrustedProxies:
    """Says who the client is, for peers that are trusted to know.  Loop thread only."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Trust the addresses and networks *allowed*, or everybody: `*`.

        Peers on a Unix socket are always trusted: its mode says who may connect.
        """
        listed = list(allowed)
        self._trusts_everybody = EVERYBODY in listed
        self._networks: list[_Network] = [
            ipaddress.ip_network(each) for each in listed if each != EVERYBODY
        ]
        self._peers: dict[str, bool] = {}
        self._clients: dict[bytes, Client] = {}

    def trusts(self, client: Client) -> bool:
        """Say whether the peer *client* is to be believed.  Asked once for each connection."""
        if client is None or self._trusts_everybody:
            return True
        host = client[0]
        answer = self._peers.get(host)
        if answer is None:
            try:
                answer = self._holds(ipaddress.ip_address(host))
            except ValueError:
                answer = False
            _remember(self._peers, host, answer)
        return answer

    def resolve(self, head: RequestHead, client: Client, scheme: str) -> tuple[Client, str]:
        """Say who sent *head*, and by which scheme; *client* and *scheme* where it says nothing.

        What is malformed is as good as absent, the header as a whole.
        """
        fields = head.fields
        if b"x-forwarded-for" in fields or b"x-forwarded-proto" in fields:
            if b"x-forwarded-for" in fields:
                client = self._first_untrusted(_joined(head, b"x-forwarded-for")) or client
            if b"x-forwarded-proto" in fields:
                scheme = _agreed(_joined(head, b"x-forwarded-proto")) or scheme
            return client, scheme
        try:
            return self._read_forwarded(_joined(head, b"forwarded"), client, scheme)
        except (_Malformed, KeyError):  # or a scheme that nobody knows
            return client, scheme

    def _read_forwarded(self, value: bytes, client: Client, scheme: str) -> tuple[Client, str]:
        node, proto = self._choose(_parse_forwarded(value))
        # RFC 7239 §6.2, §6.3: by "unknown" and made-up names a proxy keeps the client to itself.
        if node is not None and not _is_nameless(node):
            address, port = _parse_node(node)
            client = (str(address), port)
        return client, scheme if proto is None else _SCHEMES[proto.lower()]

    def _first_untrusted(self, value: bytes) -> Client:
        """Return the client that `X-Forwarded-For` names; None if it is malformed."""
        if value in self._clients:
            return self._clients[value]
        client: Client = None
        try:
            node, _ = self._choose([(each.strip(b" \t"), None) for each in value.split(b",")])
            address, port = _parse_node(node or b"")
            client = (str(address), port)
        except _Malformed:
            pass
        _remember(self._clients, value, client)
        return client

    def _choose(self, hops: Sequence[_Hop]) -> _Hop:
        """Return the first hop from the right that is no trusted proxy's, or the last there is."""
        if self._trusts_everybody:
            return hops[0]
        for hop in hops[: -MAX_HOPS - 1 : -1]:
            node = hop[0]
            if node is None or _is_nameless(node):
                return hop
            address, _ = _parse_node(node)
            if not self._holds(address):
                return hop
        if len(hops) > MAX_HOPS:
            raise _Malformed
        return hops[0]

    def _holds(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _remember(known: dict, key: object, value: object) -> None:  # type: ignore[type-arg]
    if len(known) >= _MAX_KNOWN:
        known.clear()
    known[key] = value


def _joined(head: RequestHead, name: bytes) -> bytes:
    """Return the header *name* as one list (RFC 9110 §5.3)."""
    if len(head.fields) == len(head.headers):  # no name is repeated
        return head.fields[name]
    return b",".join(value for key, value in head.headers if key == name)


def _agreed(value: bytes) -> str | None:
    """Return the scheme that all of a list name; None if they do not agree."""
    words = {word.strip(b" \t").lower() for word in value.split(b",")}
    return _SCHEMES.get(words.pop()) if len(words) == 1 else None


def _parse_node(node: bytes) -> tuple[_Address, int]:
    """Read an address and its port, 0 if there is none.

    Raises:
        _Malformed: it is none.
    """
    found = _NODE.fullmatch(node.decode("latin-1"))
    if found is None:
        raise _Malformed
    try:
        address = ipaddress.ip_address(found["v6"] or found["v4"] or found["bare"])
    except ValueError:
        raise _Malformed from None
    port = int(found["port"] or 0)
    if port > _MAX_PORT:
        raise _Malformed
    mapped = address.ipv4_mapped if address.version == 6 else None  # noqa: PLR2004 - IPv6
    return mapped or address, port


def _parse_forwarded(value: bytes) -> list[_Hop]:
    """Read `Forwarded`, a hop for each element.

    Raises:
        _Malformed: it breaks RFC 7239 §4.
    """
    hops: list[_Hop] = []
    element: dict[bytes, bytes] = {}
    position = 0
    while True:
        found = _PAIR.match(value, position)
        if found is None:
            raise _Malformed
        name, text, end = found.groups()
        if name is not None:
            if name.lower() in element:
                raise _Malformed  # RFC 7239 §4: each parameter once
            element[name.lower()] = _unquoted(text)
        if end != b";":
            if element:  # RFC 9110 §5.6.1.2: empty elements of a list do not count
                hops.append((element.get(b"for"), element.get(b"proto")))
            element = {}
        if not end:
            break
        position = found.end()
    if not hops:
        raise _Malformed
    return hops


def _is_nameless(node: bytes) -> bool:
    return node.startswith(b"_") or node.lower() == b"unknown"


def _unquoted(text: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", text[1:-1]) if text[:1] == b'"' else text

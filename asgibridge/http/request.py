"""One request head: what was asked, and what its framing headers mean.

The strict checks that llhttp leaves to its user are made here, before anyone acts on a head:
Host (RFC 9112 §3.2), the form of the target (§3.2), transfer codings (§6.1), Expect (RFC 9110
§10.1.1).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BadRequest", "RequestHead", "split_target"]


# An int: looking for one byte in bytes by another bytes object costs ten times as much.
_HASH: Final = ord("#")


class BadRequest(Exception):  # noqa: N818 - named after the status it becomes
    """The client broke the protocol or a limit: answer `status`, then close."""

    def __init__(self, status: int, reason: str, *, lines: bytes = b"") -> None:
        """Keep the *status* to answer with and a *reason* for the log and the client.

        *lines* holds further header lines of the answer, each with its CRLF.
        """
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
        self.lines = lines


class RequestHead:
    """A complete request head.  Made once per request, so a plain class with slots.

    Attributes:
        method: as sent.
        target: the request target as sent.
        version: "1.1" or "1.0".
        headers: (lower-case name, value) in the order received.
        fields: the same as a dict; of repeated fields the last one.
        content_length: bytes of body to come, 0 without a body, None when chunked.
        keep_alive: whether the client lets the connection be reused.
        expects_continue: whether the client waits for `100 Continue` before it sends its body.
    """

    __slots__ = (
        "content_length",
        "expects_continue",
        "fields",
        "headers",
        "keep_alive",
        "method",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        """Take the parts and derive from the fields what they mean.

        Raises:
            BadRequest: a field breaks the protocol.
        """
        fields = dict(headers)
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.fields = fields
        self.content_length: int | None = 0
        self.expects_continue = False
        if len(fields) != len(headers):
            _refuse_repeated(headers)
        host = fields.get(b"host")
        if host not in _known_hosts:
            _check_host(host, version)
        if target[:1] != b"/" or _HASH in target or method == "CONNECT":
            _check_target_form(method, target)
        if b"content-length" in fields:
            self.content_length = _content_length(fields[b"content-length"])
        if b"transfer-encoding" in fields:
            _check_transfer_encoding(version, fields)
            self.content_length = None
        if b"expect" in fields:
            self.expects_continue = _expects_continue(version, fields[b"expect"])
        if b"connection" in fields:
            self.keep_alive = _keeps_alive(version, headers)
        else:
            self.keep_alive = version == "1.1"

    @property
    def is_chunked(self) -> bool:
        """Whether the body's length shows only when it ends."""
        return self.content_length is None

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return self.content_length != 0


def _keeps_alive(version: str, headers: list[tuple[bytes, bytes]]) -> bool:
    """Say whether the connection persists (RFC 9112 §9.3); `close` outweighs `keep-alive`."""
    options = b",".join(value for name, value in headers if name == b"connection").lower()
    tokens = {token.strip(b" \t") for token in options.split(b",")}
    if b"close" in tokens:
        return False
    return version == "1.1" or b"keep-alive" in tokens


# RFC 9112 §3.2: more than one Host is an error; RFC 9110 §8.6: so are differing lengths, and we
# accept no repetition at all: every proxy that merges or picks one is a way to smuggle.
_SINGLE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


def _refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    seen = set()
    for name, _ in headers:
        if name in seen and name in _SINGLE:
            raise BadRequest(400, f"{name.decode('latin-1')} is repeated")
        seen.add(name)


# uri-host [ ":" port ], RFC 3986 §3.2.2: an IP literal in brackets, or reg-name (an IPv4 address
# is one too).  An empty value is what RFC 9112 §3.2 asks for when the target has no authority.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]"
    rb"|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)?(?::([0-9]*))?",
)
_MAX_PORT: Final = 65535
# Hosts seen and found good.  Bounded, so that clients can't fill memory with made-up names.
_known_hosts: set[bytes | None] = set()
_MAX_KNOWN_HOSTS: Final = 256


def _check_host(host: bytes | None, version: str) -> None:
    if host is None:
        if version != "1.0":
            raise BadRequest(400, "Host is missing")
        return
    match = _HOST.fullmatch(host)
    if match is None or host.startswith(b":"):
        raise BadRequest(400, "Host is ill-formed")
    port = match[1]
    if port and (len(port) > len("65535") or int(port) > _MAX_PORT):
        raise BadRequest(400, "Host names a port above 65535")
    if len(_known_hosts) < _MAX_KNOWN_HOSTS:
        _known_hosts.add(host)


_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(?:[/?][^#]*)?", re.IGNORECASE)


def _check_target_form(method: str, target: bytes) -> None:
    """Accept asterisk-form for OPTIONS and absolute-form; plain origin-form was seen before."""
    if method == "CONNECT":
        raise BadRequest(501, "CONNECT is for proxies; this is an origin server")
    if target == b"*":
        if method == "OPTIONS":
            return
        raise BadRequest(400, "the target * goes with OPTIONS only")
    if _HASH in target:
        raise BadRequest(400, "a request target has no fragment")
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest(400, "the target is neither a path nor an absolute http URL")
    _check_host(match[1], "1.1")


def _content_length(value: bytes) -> int:
    # llhttp has refused signs, blanks and overflow; a list such as "5, 5" must not pass either.
    if not value.isdigit():
        raise BadRequest(400, "Content-Length is not a number")
    return int(value)


def _check_transfer_encoding(version: str, fields: dict[bytes, bytes]) -> None:
    if b"content-length" in fields:
        raise BadRequest(400, "Content-Length and Transfer-Encoding exclude each other")
    if version == "1.0":
        raise BadRequest(400, "HTTP/1.0 knows no Transfer-Encoding")
    if fields[b"transfer-encoding"].lower() != b"chunked":
        raise BadRequest(400, "the only transfer coding understood is chunked")


def _expects_continue(version: str, value: bytes) -> bool:
    if version == "1.0":
        return False  # RFC 9110 §10.1.1: to be ignored
    if value.lower() != b"100-continue":
        raise BadRequest(417, "the only expectation understood is 100-continue")
    return True


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Split a checked request *target* into raw path and query string.

    Absolute-form gives the path of its URL; asterisk-form the path `*`.
    """
    path, _, query = target.partition(b"?")
    if path[:1] != b"/" and path != b"*":
        _, _, rest = path.partition(b"://")
        _, slash, path = rest.partition(b"/")
        path = slash + path or b"/"
    return path, query

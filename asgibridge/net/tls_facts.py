"""What is known of one TLS connection, as the `tls` extension of ASGI tells it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asgibridge.net.certificates import TlsTerms

__all__ = ["TlsFacts", "distinguished_name"]

# RFC 8446 §4.2.1 and before: what the wire says for each name.
_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# RFC 4514 §3, by the names OpenSSL gives; all others keep OpenSSL's.
_SHORT_NAMES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED: Final = str.maketrans({char: f"\\{char}" for char in '"+,;<>\\'} | {"\0": "\\00"})


class TlsFacts:
    """The facts of one connection, gathered when an application first gets to see them."""

    __slots__ = ("_extension", "_object", "_terms")

    def __init__(self, terms: TlsTerms, ssl_object: ssl.SSLObject) -> None:
        """Tell of *ssl_object*, whose handshake is done."""
        self._terms = terms
        self._object = ssl_object
        self._extension: dict[str, Any] | None = None

    def extension(self) -> dict[str, Any]:
        """Return a fresh `scope["extensions"]["tls"]`."""
        if self._extension is None:
            self._extension = self._gather()
        return self._extension.copy()

    def _gather(self) -> dict[str, Any]:
        cipher = self._object.cipher()
        subject = (self._object.getpeercert() or {}).get("subject")
        return {
            "server_cert": self._terms.server_cert,
            "client_cert_chain": _client_chain(self._object),
            "client_cert_name": distinguished_name(subject) if subject else None,
            # OpenSSL ends the handshake of a client whose certificate is not in order.
            "client_cert_error": None,
            "tls_version": _VERSIONS.get(self._object.version() or ""),
            "cipher_suite": self._terms.suites.get(cipher[0]) if cipher else None,
        }


def distinguished_name(subject: Any) -> str:  # noqa: ANN401 - as `getpeercert` gives it
    """Write a *subject* as RFC 4514 has it: the most specific part first."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(name, name)}={_escape(value)}" for name, value in part)
        for part in reversed(subject)
    )


def _escape(value: str) -> str:
    """Escape *value* (RFC 4514 §2.4)."""
    escaped = value.translate(_ESCAPED)
    if escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return "\\" + escaped if escaped.startswith((" ", "#")) else escaped


def _client_chain(ssl_object: ssl.SSLObject) -> list[str]:
    """List what the client sent, its own certificate first."""
    if hasattr(ssl_object, "get_unverified_chain"):  # Python 3.13; before, it is not public
        chain: list[bytes] = ssl_object.get_unverified_chain() or []
    else:
        own = ssl_object.getpeercert(binary_form=True)
        chain = [own] if own else []
    return [ssl.DER_cert_to_PEM_cert(each) for each in chain]

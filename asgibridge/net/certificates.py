"""From certificate files to an SSL context, or to a sentence that names the file and the remedy."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from asgibridge.errors import TlsError

__all__ = ["TlsFiles", "TlsTerms", "make_terms"]

_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL
)
_KEY: Final = "PRIVATE KEY-----"
_REQUIREMENTS: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What the administrator named; the attributes are those of the settings `ssl_*`."""

    certfile: str
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = None
    cert_reqs: str = "none"
    ciphers: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsTerms:
    """On what terms clients are served, the same for all of them.

    Attributes:
        context: the keys and rules.
        server_cert: the certificate that clients are shown, in PEM.
        suites: numbers of the cipher suites (IANA), by OpenSSL's names.
    """

    context: ssl.SSLContext
    server_cert: str
    suites: dict[str, int]


def make_terms(files: TlsFiles) -> TlsTerms:
    """Read *files*.

    Raises:
        TlsError: one of them cannot be used; the message names it and the next step.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996 retires what is older.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client could have keys made over and over (CVE-2011-1473); TLS 1.3 has none of it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # One protocol, so that a client that would speak HTTP/2 knows.
    context.set_alpn_protocols(["http/1.1"])
    certificate = _read("ssl_certfile", files.certfile)
    found = _CERTIFICATE.search(certificate)
    if found is None:
        raise TlsError(
            f"ssl_certfile {files.certfile}: there is no certificate in it; name a PEM file that "
            "begins with the server's certificate"
        )
    _load_key(context, files, certificate)
    if files.ca_certs is not None:
        _load_authorities(context, files.ca_certs)
    context.verify_mode = _REQUIREMENTS[files.cert_reqs]
    if files.ciphers is not None:
        _set_ciphers(context, files.ciphers)
    suites = {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}
    return TlsTerms(context=context, server_cert=found[0], suites=suites)


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        step = "correct the path, or let the server's user read it"
        raise TlsError(f"{setting} {path}: cannot read it: {reason}; {step}") from error


def _load_key(context: ssl.SSLContext, files: TlsFiles, certificate: str) -> None:
    place = f"ssl_keyfile {files.keyfile}"
    if files.keyfile is None:
        place = f"ssl_certfile {files.certfile}"
    key = certificate if files.keyfile is None else _read("ssl_keyfile", files.keyfile)
    if _KEY not in key:
        step = "name the file of its key" if files.keyfile else "name the key's file: ssl_keyfile"
        raise TlsError(f"{place}: there is no private key in it; {step}")
    asked = False

    def password() -> str:
        # Always given: OpenSSL would ask at the terminal, and a server at start would hang.
        nonlocal asked
        asked = True
        return files.password or ""

    try:
        context.load_cert_chain(files.certfile, files.keyfile, password)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(_explain(error, place, files, was_asked=asked)) from error


def _explain(error: Exception, place: str, files: TlsFiles, *, was_asked: bool) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return (
            f"{place}: this key does not belong to the certificate in ssl_certfile "
            f"{files.certfile}; name the pair that was issued together"
        )
    if was_asked and files.password is None:
        return f"{place}: the key is encrypted; give its password: ssl_keyfile_password"
    if was_asked:
        return f"{place}: the password does not open the key; correct ssl_keyfile_password"
    why = reason.replace("_", " ").lower() if reason else str(error)
    return (
        f"{place}: OpenSSL refuses the pair with ssl_certfile {files.certfile}: {why}; "
        "check both with `openssl x509 -in CERTFILE -noout` and `openssl pkey -in KEYFILE -noout`"
    )


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    _read("ssl_ca_certs", path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(
            f"ssl_ca_certs {path}: there is no certificate in it; name a PEM file with those of "
            "the authorities that sign your clients' certificates"
        ) from error


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise TlsError(
            f"ssl_ciphers {ciphers}: OpenSSL knows none of these; see `openssl ciphers`, or leave "
            "the choice to OpenSSL"
        ) from error

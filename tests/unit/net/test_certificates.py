"""Certificate files become a context, or a sentence that names the file and the next step."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tls import issue

from asgibridge.errors import TlsError
from asgibridge.net.certificates import TlsFiles, make_terms

PAPERS = issue()
GOOD = TlsFiles(certfile=PAPERS.cert, keyfile=PAPERS.key)


def test_terms_hold_what_clients_are_shown() -> None:
    terms = make_terms(GOOD)
    assert terms.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert terms.context.verify_mode is ssl.CERT_NONE
    assert terms.context.options & ssl.OP_NO_RENEGOTIATION
    assert Path(PAPERS.cert).read_text().startswith(terms.server_cert.strip())
    assert terms.suites["TLS_AES_128_GCM_SHA256"] == 0x1301


def test_key_may_stand_in_the_file_of_the_certificate() -> None:
    make_terms(TlsFiles(certfile=PAPERS.client))


@pytest.mark.parametrize(
    ("word", "mode"), [("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)]
)
def test_client_certificates_are_asked_for(word: str, mode: ssl.VerifyMode) -> None:
    terms = make_terms(replace(GOOD, ca_certs=PAPERS.authority, cert_reqs=word))
    assert terms.context.verify_mode is mode


def test_ciphers_of_tls_1_2_can_be_chosen() -> None:
    names = make_terms(replace(GOOD, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")).suites
    assert [name for name in names if not name.startswith("TLS_")] == [
        "ECDHE-ECDSA-AES128-GCM-SHA256"
    ]


@pytest.fixture
def encrypted(tmp_path: Path) -> str:
    """Encrypt the key by the password "open sesame"."""
    path = str(tmp_path / "encrypted.pem")
    command = ["openssl", "pkey", "-in", PAPERS.key, "-aes256", "-out", path]
    subprocess.run([*command, "-passout", "pass:open sesame"], check=True, timeout=20)
    return path


def test_encrypted_key_opens_by_its_password_only(encrypted: str) -> None:
    make_terms(replace(GOOD, keyfile=encrypted, password="open sesame"))  # noqa: S106
    for password, step in (
        ("guess", "the password does not open the key; correct ssl_keyfile_password"),
        (None, "the key is encrypted; give its password: ssl_keyfile_password"),
    ):
        with pytest.raises(TlsError) as caught:
            make_terms(replace(GOOD, keyfile=encrypted, password=password))
        assert str(caught.value) == f"ssl_keyfile {encrypted}: {step}"


def test_password_is_in_no_representation() -> None:
    assert "sesame" not in repr(replace(GOOD, password="open sesame"))  # noqa: S106


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"certfile": "/no/cert.pem"},
            (
                "ssl_certfile /no/cert.pem: cannot read it: no such file or directory; correct the "
                "path, or let the server's user read it"
            ),
        ),
        (
            {"certfile": PAPERS.key},
            (
                f"ssl_certfile {PAPERS.key}: there is no certificate in it; name a PEM file that "
                "begins with the server's certificate"
            ),
        ),
        (
            {"keyfile": None},
            (
                f"ssl_certfile {PAPERS.cert}: there is no private key in it; name the key's file: "
                "ssl_keyfile"
            ),
        ),
        (
            {"keyfile": PAPERS.authority},
            (
                f"ssl_keyfile {PAPERS.authority}: there is no private key in it; name the file of "
                "its key"
            ),
        ),
        (
            {"keyfile": "/no/key.pem"},
            (
                "ssl_keyfile /no/key.pem: cannot read it: no such file or directory; correct the "
                "path, or let the server's user read it"
            ),
        ),
        (
            {"keyfile": PAPERS.client},
            (
                f"ssl_keyfile {PAPERS.client}: this key does not belong to the certificate in "
                f"ssl_certfile {PAPERS.cert}; name the pair that was issued together"
            ),
        ),
        (
            {"ca_certs": PAPERS.key},
            (
                f"ssl_ca_certs {PAPERS.key}: there is no certificate in it; name a PEM file with "
                "those of the authorities that sign your clients' certificates"
            ),
        ),
        (
            {"ciphers": "ROT13"},
            (
                "ssl_ciphers ROT13: OpenSSL knows none of these; see `openssl ciphers`, or leave "
                "the choice to OpenSSL"
            ),
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_next_step(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(TlsError) as caught:
        make_terms(replace(GOOD, **change))
    assert str(caught.value) == expected


def test_broken_key_is_refused_with_a_way_to_check(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(TlsError, match=r"OpenSSL refuses the pair .*; check both with `openssl"):
        make_terms(replace(GOOD, keyfile=str(broken)))

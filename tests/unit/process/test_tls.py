"""The settings of TLS become terms."""

from __future__ import annotations

import ssl

import pytest
from support.tls import issue

from asgibridge import Config
from asgibridge.errors import TlsError
from asgibridge.process.tls import tls_terms


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls_terms(Config()) is None


def test_all_settings_are_handed_on() -> None:
    papers = issue()
    terms = tls_terms(
        Config(
            ssl_certfile=papers.cert,
            ssl_keyfile=papers.key,
            ssl_ca_certs=papers.authority,
            ssl_cert_reqs="optional",
            ssl_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256",
        )
    )
    assert terms is not None
    assert terms.context.verify_mode is ssl.CERT_OPTIONAL
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" not in terms.suites


def test_password_is_handed_on() -> None:
    papers = issue()
    config = Config(ssl_certfile=papers.cert, ssl_keyfile_password="unused")  # noqa: S106
    with pytest.raises(TlsError, match="name the key's file"):
        tls_terms(config)

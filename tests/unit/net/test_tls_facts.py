"""What the `tls` extension of ASGI says, piece by piece; whole in integration/test_tls.py."""

from __future__ import annotations

import pytest

from asgibridge.net.tls_facts import distinguished_name


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ([[("countryName", "DE")], [("commonName", "shop")]], "CN=shop,C=DE"),
        ([[("commonName", "a"), ("userId", "b")]], "CN=a+UID=b"),
        ([[("commonName", 'a,b+c"d\\e<f>;')]], r"CN=a\,b\+c\"d\\e\<f\>\;"),
        ([[("commonName", " a ")]], r"CN=\ a\ "),
        ([[("commonName", "#1\0")]], r"CN=\#1\00"),
        ([[("emailAddress", "a@b.example")]], "emailAddress=a@b.example"),
    ],
)
def test_names_are_written_as_rfc_4514_says(
    subject: list[list[tuple[str, str]]], expected: str
) -> None:
    assert distinguished_name(subject) == expected

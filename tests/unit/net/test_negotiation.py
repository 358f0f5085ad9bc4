"""The handshake, as far as the package knows it."""

from __future__ import annotations

import pytest

from asgibridge.http.request import BadRequest, RequestHead
from asgibridge.net.negotiation import negotiate

GOOD = [
    (b"host", b"a"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]
OFFER = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")


def test_the_key_is_answered_as_in_the_rfc() -> None:
    """RFC 6455 §1.3."""
    agreed = negotiate(RequestHead("GET", b"/", "1.1", GOOD), max_size=10, compresses=True)
    assert agreed.accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert agreed.extensions is None
    assert agreed.protocol.extensions == []


@pytest.mark.parametrize("compresses", [True, False])
def test_compression_is_agreed_on_where_both_want_it(*, compresses: bool) -> None:
    head = RequestHead("GET", b"/", "1.1", [*GOOD, OFFER])
    agreed = negotiate(head, max_size=10, compresses=compresses)
    assert (agreed.extensions is not None) is compresses
    assert len(agreed.protocol.extensions) == compresses


@pytest.mark.parametrize(
    "field",
    [
        (b"sec-websocket-key", b"short"),
        (b"sec-websocket-key", b"not base64 at all!======"),
        (b"sec-websocket-key", b""),
        (b"sec-websocket-extensions", b";;;"),
        (b"upgrade", b"h2c, websocket"),
    ],
)
def test_a_bad_handshake_is_refused_with_its_reason(field: tuple[bytes, bytes]) -> None:
    fields = [each for each in GOOD if each[0] != field[0]]
    with pytest.raises(BadRequest) as caught:
        negotiate(RequestHead("GET", b"/", "1.1", [*fields, field]), max_size=10, compresses=True)
    assert caught.value.status == 400
    assert caught.value.reason


def test_a_missing_or_repeated_key_is_refused() -> None:
    key = GOOD[3]
    for fields in ([each for each in GOOD if each is not key], [*GOOD, key]):
        with pytest.raises(BadRequest) as caught:
            negotiate(RequestHead("GET", b"/", "1.1", fields), max_size=10, compresses=True)
        assert caught.value.status == 400

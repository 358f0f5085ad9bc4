"""The rig carries bytes from transport to handler and back."""

from __future__ import annotations

from support.connections import Rig

from asgibridge.net.gate import Standing


def test_rig_carries_a_request_and_its_answer() -> None:
    with Rig() as rig:
        rig.connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (exchange,) = rig.handler.exchanges
        assert exchange.head.target == b"/"
        rig.handler.answer(b"hello")
        assert rig.statuses == [200]
        assert rig.transport.buffered.endswith(b"\r\n\r\nhello")
        rig.lose()
        assert (rig.gate.open, rig.connection.standing) == (0, Standing.OUTSIDE)

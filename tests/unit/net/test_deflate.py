"""Compression is agreed on with small windows, and takes memory only when it is used."""

from __future__ import annotations

import zlib

import pytest
from websockets.frames import Frame, Opcode

from asgibridge.net.deflate import Deflate, DeflateFactory

Params = list[tuple[str, str | None]]


def agree(*params: tuple[str, str | None]) -> tuple[Params, Deflate]:
    answer, agreed = DeflateFactory().process_request_params(list(params), [])
    assert isinstance(agreed, Deflate)
    return answer, agreed


def test_windows_are_small_on_both_sides() -> None:
    answer, agreed = agree(("client_max_window_bits", None))
    assert dict(answer) == {"server_max_window_bits": "12", "client_max_window_bits": "12"}
    assert (agreed.remote_max_window_bits, agreed.local_max_window_bits) == (12, 12)


def test_a_client_that_cannot_choose_its_window_is_served_all_the_same() -> None:
    answer, agreed = agree()
    assert dict(answer) == {"server_max_window_bits": "12"}
    assert agreed.remote_max_window_bits == 15


@pytest.mark.parametrize("without", ["server_no_context_takeover", "client_no_context_takeover"])
def test_contexts_are_made_when_they_are_used(without: str) -> None:
    """And only once, unless the client wants it otherwise."""
    for params in ([], [(without, None)]):
        _, agreed = agree(*params)
        assert not {"encoder", "decoder"} & vars(agreed).keys()
        peer = zlib.decompressobj(wbits=-12)
        for text in (b"hello " * 20, b"hello " * 20):
            sent = agreed.encode(Frame(Opcode.TEXT, text))
            if agreed.local_no_context_takeover:
                peer = zlib.decompressobj(wbits=-12)
            assert peer.decompress(bytes(sent.data) + b"\x00\x00\xff\xff") == text
        sender = zlib.compressobj(wbits=-12)
        for text in (b"there", b"there"):
            if agreed.remote_no_context_takeover:
                sender = zlib.compressobj(wbits=-12)
            data = (sender.compress(text) + sender.flush(zlib.Z_SYNC_FLUSH))[:-4]
            got = agreed.decode(Frame(Opcode.TEXT, data, rsv1=True))
            assert bytes(got.data) == text

"""The transport under TLS between a fake socket's transport and a protocol that takes notes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from support.fakes import FakeTransport
from support.tls import issue

from asgibridge.net.certificates import TlsFiles, make_terms
from asgibridge.net.tls import TLS_MOVES, TlsEvent, TlsStage, TlsTransport

if TYPE_CHECKING:
    from asgibridge.net.tls_facts import TlsFacts

TERMS = make_terms(TlsFiles(certfile=issue().cert, keyfile=issue().key))


class Notes:
    """A link that takes notes."""

    client = ("192.0.2.7", 4711)

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.heard: list[Any] = []
        self.stays_open = True

    def handshake_begun(self, _: TlsTransport) -> None:
        self.heard.append("begun")

    def handshake_done(self, _: TlsTransport, __: TlsFacts) -> None:
        self.heard.append("done")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return self.stays_open

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, _: Exception | None) -> None:
        self.heard.append("lost")


class Pair:
    """A client's OpenSSL before a transport under test."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.tls = TlsTransport(self.notes, TERMS)  # type: ignore[arg-type]
        self.raw = FakeTransport()
        self.raw.protocol = self.tls
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = issue().trust()
        self.client = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self.tls.connection_made(self.raw)

    def deliver(self, *, bytewise: bool = False) -> None:
        """Carry what the client has said to the server."""
        data = self._out.read()
        for piece in [bytes([byte]) for byte in data] if bytewise else [data]:
            self.tls.data_received(piece)

    def fetch(self) -> None:
        """Carry to the client what the server has sent."""
        before = len(self.raw.sent)
        self.raw.client_reads()
        self._in.write(self.raw.sent[before:])

    def shake_hands(self, *, bytewise: bool = False) -> None:
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.deliver(bytewise=bytewise)
            self.fetch()

    async def read_all(self) -> bytes:
        """Read as the client until there is nothing more to read."""
        got = b""
        while True:
            try:
                piece = self.client.read(65536)
            except ssl.SSLWantReadError:
                await asyncio.sleep(0)  # what was to be sent when there is room
                if not self.raw.buffered:
                    return got
                self.fetch()
            else:
                if not piece:
                    return got + b"<goodbye>"
                got += piece


@pytest.mark.parametrize("bytewise", [False, True])
async def test_handshake_and_bytes_may_come_in_any_pieces(*, bytewise: bool) -> None:
    pair = Pair()
    pair.shake_hands(bytewise=bytewise)
    assert (pair.notes.heard, pair.tls.stage) == (["begun", "done"], TlsStage.OPEN)
    pair.client.write(b"hello")
    pair.deliver(bytewise=bytewise)
    assert pair.notes.heard[2:] == [b"hello"]
    pair.tls.writelines([b"good", b" ", b"day"])
    pair.tls.write(b"")
    assert await pair.read_all() == b"good day"
    assert pair.tls.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_request_that_comes_with_the_end_of_the_handshake_is_heard() -> None:
    pair = Pair()
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.deliver()
    pair.fetch()
    pair.client.do_handshake()
    pair.client.write(b"at once")
    pair.deliver()
    assert pair.notes.heard == ["begun", "done", b"at once"]


async def test_large_write_is_encrypted_as_the_client_reads() -> None:
    pair = Pair()
    pair.shake_hands()
    body = b"x" * 3_000_000
    pair.tls.writelines([b"head", body])
    assert len(pair.raw.buffered) < 600_000
    assert pair.tls.get_write_buffer_size() >= len(body)
    assert pair.notes.heard[2:] == ["pause"]
    assert await pair.read_all() == b"head" + body
    assert pair.notes.heard[-1] == "resume"
    assert pair.tls.get_write_buffer_size() == 0


async def test_close_comes_behind_everything_that_was_written() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.tls.write(b"x" * 1_000_000)
    pair.tls.close()
    pair.tls.close()
    assert pair.tls.is_closing()
    assert not pair.tls.is_reading()
    assert pair.raw.calls == []
    pair.client.write(b"too late")
    pair.deliver()
    assert await pair.read_all() == b"x" * 1_000_000 + b"<goodbye>"
    assert pair.raw.calls == ["close"]
    pair.tls.connection_lost(None)
    assert pair.notes.heard[-1] == "lost"
    assert b"too late" not in pair.notes.heard


async def test_end_of_our_half_comes_behind_everything_and_we_hear_on() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.tls.write(b"x" * 1_000_000)
    pair.tls.write_eof()
    assert await pair.read_all() == b"x" * 1_000_000 + b"<goodbye>"
    assert (pair.raw.calls, pair.tls.stage) == (["write_eof"], TlsStage.ENDED)
    pair.tls.data_received(b"noise")
    assert pair.notes.heard[-1] == b"noise"
    pair.tls.eof_received()
    assert pair.notes.heard[-1] == "eof"
    pair.tls.close()
    assert pair.raw.calls == ["write_eof", "close"]


async def test_end_that_cannot_be_told_aborts() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.raw.shutdown_error = OSError("gone")
    pair.tls.write_eof()
    assert pair.raw.calls == ["abort"]


async def test_end_of_the_client_is_heard_once_and_can_be_answered() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.client.write(b"last")
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.deliver()
    assert pair.tls.eof_received() is True
    assert pair.notes.heard[2:] == [b"last", "eof"]
    pair.tls.write(b"answer")
    pair.raw.client_reads()
    assert pair.raw.sent


async def test_end_of_the_client_closes_if_nobody_minds() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.notes.stays_open = False
    assert pair.tls.eof_received() is False
    assert pair.raw.calls == ["close"]


@pytest.mark.parametrize("end", ["eof", "close", "abort", "garbage"])
async def test_handshake_can_end_before_its_end(end: str) -> None:
    pair = Pair()
    with pytest.raises(RuntimeError, match="handshaking"):
        pair.tls.write(b"too early")
    match end:
        case "eof":
            assert pair.tls.eof_received() is False
        case "close":
            pair.tls.close()
        case "abort":
            pair.tls.abort()
        case _:
            pair.tls.data_received(b"\x00garbage" * 9)
    assert pair.raw.calls == ["abort" if end == "abort" else "close"]
    pair.tls.connection_lost(None)
    assert pair.notes.heard == ["begun", "lost"]


async def test_broken_record_aborts_after_an_alert() -> None:
    pair = Pair()
    pair.shake_hands()
    pair.tls.data_received(b"\x17\x03\x03\x00\x20" + b"q" * 32)
    assert pair.raw.calls == ["abort"]


@pytest.mark.parametrize("stage", TlsStage)
def test_a_socket_can_be_lost_at_any_stage(stage: TlsStage) -> None:
    assert TLS_MOVES[stage, TlsEvent.LOST] is TlsStage.CLOSED


async def test_another_protocol_can_take_over_and_give_back() -> None:
    """As a WebSocket does, between its handshake and its end."""
    pair = Pair()
    pair.shake_hands()
    guest = Notes()
    pair.tls.set_protocol(guest)  # type: ignore[arg-type]
    pair.client.write(b"for the guest")
    pair.deliver()
    pair.tls.pause_writing()
    pair.tls.resume_writing()
    await asyncio.sleep(0)
    pair.tls.set_protocol(pair.notes)  # type: ignore[arg-type]
    pair.client.write(b"for the host")
    pair.deliver()
    pair.tls.connection_lost(None)
    assert guest.heard == [b"for the guest", "pause", "resume"]
    assert pair.notes.heard == ["begun", "done", b"for the host", "lost"]

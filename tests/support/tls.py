"""Certificates of an authority of our own, and a client of exact bytes that speaks TLS.

Every wait is bounded, as in `RawClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import trustme

from support.clients import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Papers", "TlsClient", "issue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """PEM files, as a server's administrator has them.

    Attributes:
        cert, key: the server's.
        authority: who signed them.
        client: certificate and key of a client.
    """

    cert: str
    key: str
    authority: str
    client: str

    @property
    def settings(self) -> dict[str, Any]:
        """What to tell a server."""
        return {"ssl_certfile": self.cert, "ssl_keyfile": self.key}

    def trust(self, *, shows_client: bool = False) -> ssl.SSLContext:
        """Make the context of a client that trusts the authority."""
        context = ssl.create_default_context(cafile=self.authority)
        if shows_client:
            context.load_cert_chain(self.client)
        return context


@cache
def issue() -> Papers:
    """Issue papers for 127.0.0.1, once for all tests of a process."""
    folder = Path(mkdtemp(prefix="asgibridge-papers-"))
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)
    client = authority.issue_cert(
        "visitor@shop.example",
        common_name="Visitor, first",
        organization_name="Shop",
        key_type=trustme.KeyType.ECDSA,
    )
    papers = Papers(
        cert=str(folder / "cert.pem"),
        key=str(folder / "key.pem"),
        authority=str(folder / "authority.pem"),
        client=str(folder / "client.pem"),
    )
    for blob in server.cert_chain_pems:
        blob.write_to_path(papers.cert, append=True)
    server.private_key_pem.write_to_path(papers.key)
    authority.cert_pem.write_to_path(papers.authority)
    client.private_key_and_cert_chain_pem.write_to_path(papers.client)
    return papers


class TlsClient(RawClient):
    """A `RawClient` under TLS.

    Attributes:
        has_goodbye: whether the server ended with close_notify, so that nothing can be missing.
    """

    def __init__(self, plain: RawClient, context: ssl.SSLContext) -> None:
        """Take over *plain*, on which nothing has been said."""
        super().__init__(plain.socket, patience=plain.patience)
        self.has_goodbye = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    @classmethod
    @asynccontextmanager
    async def secure(
        cls, url: str, context: ssl.SSLContext | None = None, *, receive_buffer: int | None = None
    ) -> AsyncIterator[TlsClient]:
        """Connect to *url* and shake hands; close at the end of the block.

        Raises:
            ssl.SSLError, OSError, TimeoutError: it did not come to that.
        """
        plain = await RawClient.dial(
            url.replace("https://", "http://"), receive_buffer=receive_buffer
        )
        client = cls(plain, context or issue().trust())
        try:
            await client.shake_hands()
            yield client
        finally:
            client.close()

    async def shake_hands(self) -> None:
        """Bring the handshake to its end.

        Raises:
            ssl.SSLError, OSError, TimeoutError: as `secure`.
        """
        while True:
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._take_in()
            else:
                await self._flush()
                return

    async def begin_handshake(self) -> None:
        """Say hello, and no more."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.do_handshake()
        await self._flush()

    async def write(self, data: bytes) -> None:
        """Encrypt *data* and hand it to the kernel, all of it."""
        self.ssl.write(data)
        await self._flush()

    async def say_goodbye(self) -> None:
        """Say in TLS that nothing more will be sent; reading goes on."""
        with contextlib.suppress(ssl.SSLError):
            self.ssl.unwrap()
        await self._flush()

    async def write_raw(self, data: bytes) -> None:
        """Hand *data* to the kernel as it is."""
        await super().write(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await super().write(self._outgoing.read())

    async def _take_in(self) -> bool:
        async with asyncio.timeout(self.patience):
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return bool(data)

    async def _receive(self) -> None:
        while True:
            try:
                data = self.ssl.read(65536)
            except ssl.SSLWantReadError:
                await self._take_in()
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLEOFError:
                self._is_ended = True
                return
            self._unread += data
            if not data:
                self._is_ended = self.has_goodbye = True
            return

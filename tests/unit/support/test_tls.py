"""The client under TLS speaks to OpenSSL's own server."""

from __future__ import annotations

import asyncio
import ssl

from support.tls import TlsClient, issue


async def test_client_speaks_and_hears_the_end() -> None:
    papers = issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.cert, papers.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readexactly(5))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        host, port = server.sockets[0].getsockname()
        async with TlsClient.secure(f"https://{host}:{port}") as client:
            await client.write(b"hello")
            assert await client.read_until_eof() == b"heard hello"
            assert client.has_goodbye
            await client.say_goodbye()

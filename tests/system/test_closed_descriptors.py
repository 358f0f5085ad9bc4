"""A server started without standard streams, as some supervisors do."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Final

import pytest
from support.clients import RawClient
from support.commands import installed_script
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE: Final = 10.0


def is_listening(place: Path) -> bool:
    """Whether it can be connected to: its file stands there from bind(2), before listen(2)."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(place)) == 0


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
async def test_server_serves_and_stops_without_standard_streams(
    tmp_path: Path, closed: str
) -> None:
    """Their numbers must not become the loop's: libuv would abort the process at its end."""
    place = tmp_path / "socket"
    command = f'exec "$0" serve --bind "unix:$1" {closed}'
    server = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, str(installed_script()), str(place)
    )
    try:
        await until(lambda: is_listening(place), patience=PATIENCE)
        async with RawClient.connect(f"unix:{place}") as client:
            await client.write(b"GET /json HTTP/1.1\r\nHost: a\r\n\r\n")
            status = (await client.read_response()).status
        server.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(server.wait(), PATIENCE)
    finally:
        if server.returncode is None:
            server.kill()

    assert (status, code) == (200, 0)

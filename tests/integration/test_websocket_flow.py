"""Back-pressure of WebSockets, both ways, over real sockets and on both loops.  [ASGI-4]"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apps.websocket_cases import Recorder
from support.serving import serving
from support.waiting import until
from support.websockets import BINARY, CLOSE, PING, TEXT, FrameClient, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.serving import Receive, Scope, Send

# Seconds.  Only ever waited for by a test that is going to fail.
PATIENCE: Final = 10.0
MIB: Final = 1 << 20
MESSAGE: Final = bytes(65536)
LARGE: Final = 64 * MIB
# What the buffers of two sockets and a transport may hold, generously.
BUFFERS: Final = 16 * MIB
# By how much a process may grow for other reasons.
NOISE: Final = 24 * MIB


def resident() -> int:
    """Return the memory of this process, in which the server runs; 0 where that is not told."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


async def standing(count: Callable[[], int]) -> int:
    """Wait until *count* has not moved for a while, and return it."""
    async with asyncio.timeout(PATIENCE):
        before = -1
        while before != count():
            before = count()
            await asyncio.sleep(0.1)
    return before


class Source:
    """Sends without end, until it has sent `LARGE`."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while self.sent < LARGE:
            await send({"type": "websocket.send", "bytes": MESSAGE})
            self.sent += len(MESSAGE)


class Sink:
    """Takes messages only when it is let."""

    def __init__(self) -> None:
        self.taken = 0
        self.go_on = asyncio.Event()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        while True:
            await self.go_on.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            self.taken += len(message["bytes"])


async def test_slow_reader_makes_the_application_wait_and_gets_everything() -> None:
    """[ASGI-4] What a client does not read is not produced, and costs no memory."""
    app = Source()
    async with (
        serving(app) as server,
        FrameClient.connect(server.urls[0], receive_buffer=65536) as client,
    ):
        before = resident()
        assert await standing(lambda: app.sent) < BUFFERS
        assert resident() - before < NOISE
        read = 0
        while (got := await client.read()).opcode == BINARY:
            read += len(got.payload)
        assert (read, got.code) == (LARGE, 1000)


async def test_flooding_sender_is_not_read_until_the_application_takes_it() -> None:
    """[ASGI-4] Reading pauses, the window closes, the client cannot send; then all of it comes."""
    app = Sink()
    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        before = resident()
        sent = 0
        client.raw.patience = 60.0

        async def flood() -> None:
            nonlocal sent
            message = frame(BINARY, MESSAGE)
            for _ in range(LARGE // len(MESSAGE)):
                await client.raw.write(message)
                sent += len(MESSAGE)
            await client.send(CLOSE)

        flooding = asyncio.ensure_future(flood())
        assert await standing(lambda: sent) < BUFFERS
        assert resident() - before < NOISE
        (connection,) = server._assembly.wiring.connections  # type: ignore[union-attr]
        assert not connection.transport.is_reading()
        assert app.taken == 0
        app.go_on.set()
        async with asyncio.timeout(PATIENCE):
            await flooding
        assert await client.read_close() is None
        await until(lambda: app.taken == LARGE)


async def test_many_small_messages_are_held_to_the_number() -> None:
    """[ASGI-4] `ws_max_queue`, at its edge."""
    app = Sink()
    async with (
        serving(app, ws_max_queue=5) as server,
        FrameClient.connect(server.urls[0]) as client,
    ):
        (connection,) = server._assembly.wiring.connections  # type: ignore[union-attr]
        socket = connection.exchange.websocket  # type: ignore[union-attr]
        assert socket is not None
        await client.raw.write(frame(BINARY, b"x") * 5)
        await until(lambda: len(socket._inbox) == 5)
        assert connection.transport.is_reading()
        await client.raw.write(frame(BINARY, b"x") * 20)
        await until(lambda: not connection.transport.is_reading())
        assert len(socket._inbox) == 5
        app.go_on.set()
        await until(lambda: app.taken == 25)
        assert connection.transport.is_reading()


async def test_pings_without_end_of_a_client_that_does_not_read_are_bounded() -> None:
    """[ASGI-4] Its pongs must not fill the memory."""
    app = Recorder()
    async with (
        serving(app) as server,
        FrameClient.connect(server.urls[0], receive_buffer=4096) as client,
    ):
        before = resident()
        sent = 0
        client.raw.patience = 60.0

        async def flood() -> None:
            nonlocal sent
            pings = frame(PING, bytes(125)) * 500
            while sent < LARGE:
                await client.raw.write(pings)
                sent += len(pings)

        flooding = asyncio.ensure_future(flood())
        assert await standing(lambda: sent) < BUFFERS
        assert resident() - before < NOISE
        flooding.cancel()


async def test_waiting_send_ends_when_its_client_leaves() -> None:
    """[ASGI-4] It returns, and the next one raises an `OSError`."""
    raised: list[BaseException] = []
    ended = asyncio.Event()
    app = Source()

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except OSError as error:
            raised.append(error)
        ended.set()

    async with serving(noting) as server:
        async with FrameClient.connect(server.urls[0], receive_buffer=4096) as client:
            await standing(lambda: app.sent)
            client.raw.reset()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        assert len(raised) == 1


async def test_client_that_never_reads_is_cut() -> None:
    app = Source()
    async with (
        serving(app, write_timeout=0.3) as server,
        FrameClient.connect(server.urls[0], receive_buffer=4096),
    ):
        await until(lambda: server.statistics().cut == 1)
        await until(lambda: server.statistics().gate.open == 0)


async def test_sending_and_receiving_at_once_does_not_lock_up() -> None:
    """Both sides send much before they read: each reads while it waits to write."""
    count = 200

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()

        async def pour() -> None:
            for _ in range(count):
                await send({"type": "websocket.send", "bytes": MESSAGE})

        async with asyncio.TaskGroup() as group:
            group.create_task(pour())
            for _ in range(count):
                await receive()

    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:

        async def pour() -> None:
            message = frame(BINARY, MESSAGE)
            for _ in range(count):
                await client.raw.write(message)

        pouring = asyncio.ensure_future(pour())
        await asyncio.sleep(0.1)
        for _ in range(count):
            assert (await client.read()).payload == MESSAGE
        await asyncio.wait_for(pouring, PATIENCE)
        assert (await client.read()).code == 1000


async def test_receive_can_be_given_up_and_taken_up_again() -> None:
    """A pattern of applications that also listen to a broker: nothing is lost by it."""
    got: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        while len(got) < 20:
            try:
                async with asyncio.timeout(0.003):
                    got.append((await receive())["text"])
            except TimeoutError:
                continue

    async with serving(app) as server, FrameClient.connect(server.urls[0]) as client:
        for number in range(20):
            await client.send(TEXT, b"%d" % number)
            await asyncio.sleep(0.002)
        assert (await client.read()).code == 1000
        assert got == [str(number) for number in range(20)]

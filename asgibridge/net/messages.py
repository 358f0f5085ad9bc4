"""The reading half of a WebSocket: bytes in, messages out, and nobody drowned.  [ASGI-4]

`WebSocket` puts the handshake, sending, pings and the end on top of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from websockets.frames import Opcode
from websockets.protocol import State

from asgibridge.http.lifecycle import WEBSOCKET_MOVES, WebSocketEvent, WebSocketStage
from asgibridge.net.frames import MASKED, PLAIN, PLAIN_TEXT, measure, unmask

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from websockets.frames import Frame
    from websockets.server import ServerProtocol

    from asgibridge.net.connection import Connection

__all__ = ["READ_HIGH_WATER", "MessageReader"]

# Bytes of messages that wait for the application above which the socket is not read any more.
READ_HIGH_WATER: Final = 65536
_INVALID_DATA: Final = 1007  # RFC 6455 §7.4.1

_OPEN: Final = WebSocketStage.OPEN
_CLOSED: Final = WebSocketStage.CLOSED


class MessageReader(asyncio.Protocol):
    """The lower half of a WebSocket.  Loop thread only.

    Attributes:
        stage: how far the WebSocket is.
        ended: code and reason with which it ended; None while it goes on.
    """

    __slots__ = (
        "_buffer",
        "_connection",
        "_inbox",
        "_is_flooded",
        "_is_heard",
        "_is_held_up",
        "_is_plain_in",
        "_is_text",
        "_max_queue",
        "_max_size",
        "_message",
        "_needed",
        "_passing",
        "_protocol",
        "_readers",
        "_unread",
        "ended",
        "stage",
    )

    def __init__(
        self, connection: Connection, protocol: ServerProtocol, *, max_size: int, max_queue: int
    ) -> None:
        """Read messages of *max_size* bytes, and keep *max_queue* of them, from *connection*."""
        self._connection = connection
        self._protocol = protocol
        self._max_size = max_size
        self._max_queue = max_queue
        self.stage = WebSocketStage.CONNECTING
        self.ended: tuple[int, str] | None = None
        self._inbox: list[str | bytes] = []
        self._unread = 0  # bytes put into it since it was empty
        self._readers: list[asyncio.Future[None]] = []
        self._buffer: bytearray | None = None  # what has come and is not read yet
        self._needed = 0  # bytes that it must have before it is worth another look
        self._passing = 0  # bytes to come of a frame that the protocol reads
        self._message: bytearray | None = None  # what has come of a fragmented one
        self._is_text = False  # whether that one is text
        self._is_held_up = False  # whether nothing is read, since somebody has to catch up
        self._is_flooded = False  # whether that is the client, which does not read its pongs
        self._is_plain_in = False  # whether a plain frame may come next
        self._is_heard = False  # whether something has come since the last beat

    # --- the application's side

    def take(self) -> str | bytes | None:
        """Return the next message; None if there is none."""
        inbox = self._inbox
        if not inbox:
            return None
        message = inbox.pop(0)
        if not inbox:
            self._unread = 0
            if self._is_held_up:
                self._catch_up()
        return message

    def wait_message(self) -> Awaitable[None]:
        """Wait for a message, or the end."""
        if self._readers:  # another that waits, or did
            self._readers = [reader for reader in self._readers if not reader.done()]
        reader = self._connection.loop.create_future()
        if self._inbox or self.ended is not None:
            reader.set_result(None)
        else:
            self._readers.append(reader)
        return reader

    # --- what the loop calls

    def data_received(self, data: bytes) -> None:
        """Read frames, as far as the application keeps up."""
        self._is_heard = True
        buffer = self._buffer
        if buffer is None:
            size = len(data)
            consumed = self._read(data, size)
            if consumed < size:
                self._buffer = bytearray(data[consumed:])
        else:
            buffer += data
            if len(buffer) >= self._needed and not self._is_held_up:
                self._read_buffer(buffer)

    # --- reading

    def _read(self, buffer: bytes | bytearray, stop: int) -> int:
        """Read frames from *buffer* up to *stop*; return where it ended."""
        start = 0
        self._needed = 0
        while start < stop and self.stage is not _CLOSED:
            if self._passing:
                start = self._pass_on(buffer, start, stop)
            elif self._is_full():
                self._is_held_up = True
                self._connection.pause_reading()
                break
            else:
                payload, end = measure(buffer, start, stop)
                if not end:
                    break
                if self._is_plain_in and self._is_plain(buffer, start, end - payload):
                    if end > stop:
                        self._needed = end - start
                        break
                    data = unmask(buffer, payload, end)
                    self._deliver(data, is_text=buffer[start] == PLAIN_TEXT)
                    start = end
                else:
                    self._passing = end - start
        return start if self.stage is not _CLOSED else stop

    def _is_plain(self, buffer: bytes | bytearray, start: int, size: int) -> bool:
        """Say whether a frame that *size* allows is a whole message, masked, without extension."""
        return buffer[start] in PLAIN and buffer[start + 1] >= MASKED and size <= self._max_size

    def _read_buffer(self, buffer: bytearray) -> None:
        consumed = self._read(buffer, len(buffer))
        if consumed < len(buffer):
            del buffer[:consumed]
        else:
            self._buffer = None

    def _is_full(self) -> bool:
        """Say whether somebody has to catch up before more is read."""
        return self._is_flooded or (
            self.stage is _OPEN
            and (len(self._inbox) >= self._max_queue or self._unread > READ_HIGH_WATER)
        )

    def _catch_up(self) -> None:
        """Read what has been held up, then the socket, if everybody has caught up."""
        if not self._is_held_up or self._is_full():
            return
        self._is_held_up = False
        if self._buffer is not None:
            self._read_buffer(self._buffer)
        if not self._is_held_up and self.stage is not _CLOSED:
            self._connection.resume_reading()

    def _pass_on(self, buffer: bytes | bytearray, start: int, stop: int) -> int:
        """Have the protocol read on in a frame; return where that ended."""
        end = min(stop, start + self._passing)
        self._passing -= end - start
        protocol = self._protocol
        protocol.receive_data(bytes(buffer[start:end]))
        for event in protocol.events_received():
            self._take_frame(cast("Frame", event))  # after a handshake nothing else comes
        self._is_plain_in = protocol.state is State.OPEN and self._message is None
        self._send_out()
        return end

    def _take_frame(self, frame: Frame) -> None:
        """Put messages together; the protocol has seen to everything else."""
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._is_text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self._deliver(frame.data, is_text=self._is_text)
                else:
                    self._message = bytearray(frame.data)
            case Opcode.CONT if self._message is not None:
                # One buffer: a client that sends empty fragments must not cost an object each.
                self._message += frame.data
                if frame.fin:
                    message, self._message = self._message, None
                    self._deliver(message, is_text=self._is_text)
            case Opcode.PING:
                self._is_flooded = self._connection.is_write_paused
            case _:
                pass

    def _deliver(self, data: bytes | bytearray | memoryview, *, is_text: bool) -> None:
        """Give the application a message."""
        if self.stage is not _OPEN:
            return  # said after the goodbye
        if is_text:
            try:
                self._inbox.append(str(data, "utf-8"))
            except UnicodeDecodeError as error:
                self._fail(_INVALID_DATA, f"{error.reason} at position {error.start}")
                return
        else:
            self._inbox.append(bytes(data))
        self._unread += len(data)
        if self._readers:
            self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()

    def _move(self, event: WebSocketEvent) -> None:
        self.stage = WEBSOCKET_MOVES[self.stage, event]

    # --- for the upper half to do

    def _send_out(self) -> None:
        """Send what the protocol has to say."""
        raise NotImplementedError

    def _fail(self, code: int, reason: str) -> None:
        """Close without waiting for the client's close frame."""
        raise NotImplementedError

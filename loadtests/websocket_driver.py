"""Drive WebSockets, as wrk drives requests: `python -m loadtests.websocket_driver --help`.

A program of its own, so that it can have a core of its own.  It knows just enough of RFC 6455 to
send the same frame again and again and to compare what comes back with the bytes that must come,
which keeps it several times as fast as the servers.  It prints the same line as lua/summary.lua.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DriverError", "answer_frame", "connect", "main", "request_frame"]

# Seconds for anything that one socket waits for.
PATIENCE: Final = 10.0
# Broadcasts that may be on their way: enough that the server never waits for us.
IN_FLIGHT: Final = 8
_TEXT: Final = 0x81
_MASK: Final = b"\x37\xfa\x21\x3d"
_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class DriverError(Exception):
    """A socket was refused, closed, or brought something that was not expected."""


def _head(size: int, mask_bit: int) -> bytes:
    if size < 126:
        return bytes((_TEXT, mask_bit | size))
    if size < 65536:
        return bytes((_TEXT, mask_bit | 126)) + size.to_bytes(2, "big")
    return bytes((_TEXT, mask_bit | 127)) + size.to_bytes(8, "big")


def request_frame(payload: bytes) -> bytes:
    """Render *payload* as a client sends it."""
    key = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    masked = bytes(a ^ b for a, b in zip(payload, key, strict=True))
    return _head(len(payload), 0x80) + _MASK + masked


def answer_frame(payload: bytes) -> bytes:
    """Render *payload* as a server sends it, without compression."""
    return _head(len(payload), 0) + payload


def connect(port: int) -> socket.socket:
    """Open a WebSocket; a server that answers anything but 101 is an error.

    Raises:
        DriverError: It was refused.
        OSError: Nobody listens, or does not answer.
    """
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(_HANDSHAKE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = client.recv(1)  # not a byte more: what follows is counted
        if not data:
            raise DriverError(f"the server closed after {answer[:80]!r}")
        answer += data
    if b" 101 " not in answer.partition(b"\r\n")[0]:
        raise DriverError(f"the server answered {answer[:80]!r}")
    return client


@dataclass(slots=True, kw_only=True)
class _Client:
    socket: socket.socket
    sent_at: float = 0.0
    """When what it waits for was asked for."""
    got: bytes = b""
    """The beginning of a message."""


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What is counted once the warm-up is over."""

    messages: int = 0
    begun: float = 0.0
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)


class _Load:
    """One load on its way.  A message is counted when it has come back complete and right."""

    def __init__(self, port: int, connections: int, payload: bytes, mode: str) -> None:
        self._request = request_frame(payload)
        self._answer = answer_frame(payload)
        self._is_broadcast = mode == "broadcast"
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._published: list[float] = []
        self._heard = 0
        self._tally = _Tally()
        # No larger than needed: each call makes an object of that size first.
        self._chunk = max(4096, 2 * len(self._answer))
        for _ in range(connections):
            client = _Client(socket=connect(port))
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.EPOLLIN)
        self._publisher = next(iter(self._clients.values()))

    def close(self) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._poll.close()

    def run(self, warm_up: float, seconds: float) -> _Tally:
        """Put the load on for *warm_up* and then *seconds*, which count."""
        start = time.perf_counter()
        self._begin(start)
        self._turn_until(start + warm_up)
        self._tally = _Tally(begun=time.perf_counter())
        self._turn_until(self._tally.begun + seconds)
        self._tally.ended = time.perf_counter()
        return self._tally

    def _begin(self, now: float) -> None:
        if self._is_broadcast:
            for _ in range(IN_FLIGHT):
                self._publish(now)
        else:
            for client in self._clients.values():
                client.sent_at = now
                client.socket.sendall(self._request)

    def _publish(self, now: float) -> None:
        self._published.append(now)
        self._publisher.socket.sendall(self._request)

    def _turn_until(self, end: float) -> None:
        now = time.perf_counter()
        while now < end:
            events = self._poll.poll(PATIENCE)
            if not events:
                raise DriverError(f"nothing came for {PATIENCE:.0f} s")
            for descriptor, _ in events:
                now = time.perf_counter()
                self._read(self._clients[descriptor], now)

    def _read(self, client: _Client, now: float) -> None:
        data = client.socket.recv(self._chunk)
        if not data:
            raise DriverError("the server closed a WebSocket under load")
        answer = self._answer
        size = len(answer)
        if client.got:
            data = bytes(client.got) + data
        count, rest = divmod(len(data), size)
        expected = answer * count if count > 1 else answer  # comparing them at once costs least
        if count and not data.startswith(expected):
            raise DriverError(f"the server sent {data[:40]!r}, not the message")
        client.got = data[len(data) - rest :] if rest else b""
        for _ in range(count):
            self._on_message(client, now)

    def _on_message(self, client: _Client, now: float) -> None:
        tally = self._tally
        tally.messages += 1
        if not self._is_broadcast:
            tally.latencies.append(now - client.sent_at)
            client.sent_at = now
            client.socket.sendall(self._request)
            return
        self._heard += 1
        if self._heard % len(self._clients) == 0:  # as many as one broadcast makes
            tally.latencies.append(now - self._published.pop(0))
            self._publish(now)


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] * 1e6 if values else 0.0


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.websocket_driver")
    add = parser.add_argument
    add("--port", type=int, required=True)
    add("--connections", type=int, default=32)
    add("--bytes", type=int, default=64, help="size of a message")
    add("--mode", choices=("echo", "broadcast"), default="echo")
    add("--warm-up", type=float, default=1.0, help="seconds before the count begins")
    add("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    try:
        load = _Load(options.port, options.connections, b"x" * options.bytes, options.mode)
        with contextlib.closing(load):
            tally = load.run(options.warm_up, options.seconds)
    except (DriverError, OSError) as error:
        print(f"websocket_driver: {error}", file=sys.stderr)
        return 1
    tally.latencies.sort()
    summary = {
        "microseconds": round((tally.ended - tally.begun) * 1e6),
        "requests": tally.messages,
        "p50_us": _quantile(tally.latencies, 0.5),
        "p99_us": _quantile(tally.latencies, 0.99),
        "p999_us": _quantile(tally.latencies, 0.999),
        "errors": {},
        "cpu_seconds": sum(os.times()[:2]),
    }
    print("SUMMARY", json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

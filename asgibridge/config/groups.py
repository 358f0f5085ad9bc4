"""The headings under which settings stand in help and reference."""

from __future__ import annotations

from typing import Final

from asgibridge.config.option import Group

__all__ = [
    "APPLICATION",
    "LIMITS",
    "LISTENING",
    "LOGGING",
    "PROCESS",
    "RELOADING",
    "TIMEOUTS",
    "TLS",
    "WEBSOCKET",
    "WORKERS",
]

APPLICATION: Final = Group(title="Application", intro="What is served, and how it is found.")
LISTENING: Final = Group(title="Listening", intro="Where clients find the server.")
TLS: Final = Group(title="TLS", intro="How listeners speak https, all of them or none.")
PROCESS: Final = Group(title="Process", intro="What the serving process is made of.")
WORKERS: Final = Group(
    title="Workers", intro="How many processes serve, and when one is replaced by a fresh one."
)
RELOADING: Final = Group(title="Development", intro="For the machine where the code is written.")
LIMITS: Final = Group(title="Limits", intro="How much one process takes on. Sizes: 64k, 1m, 1g.")
TIMEOUTS: Final = Group(
    title="Timeouts", intro="How long anything may take. Times: 500ms, 30s, 5m."
)
WEBSOCKET: Final = Group(title="WebSocket", intro="What an ASGI application's WebSockets may do.")
LOGGING: Final = Group(title="Logging", intro="What the server tells about its work.")

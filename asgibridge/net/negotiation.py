"""The opening handshake of a WebSocket, as far as the `websockets` package knows it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from asgibridge.http.handshake import bad_handshake, check_handshake
from asgibridge.net.deflate import DeflateFactory

if TYPE_CHECKING:
    from asgibridge.http.request import RequestHead

__all__ = ["Agreement", "negotiate"]

# The package would tell of each connection.
_logger = logging.getLogger("asgibridge.websockets")
_logger.setLevel(logging.WARNING)

_COMPRESSING: Final = (DeflateFactory(),)
_SWITCHING: Final = 101


@dataclass(slots=True, kw_only=True)
class Agreement:
    """What a handshake has led to; one is made per WebSocket.

    Attributes:
        protocol: reads and writes the frames, from the first one on.
        accept: the value of `Sec-WebSocket-Accept`.
        extensions: the value of `Sec-WebSocket-Extensions`; None if there are none.
    """

    protocol: ServerProtocol
    accept: str
    extensions: str | None


def negotiate(head: RequestHead, *, max_size: int, compresses: bool) -> Agreement:
    """Answer the handshake in *head*.

    Raises:
        BadRequest: it breaks RFC 6455.
    """
    check_handshake(head)
    protocol = ServerProtocol(
        state=State.OPEN,  # the connection reads and writes the handshake's bytes
        max_size=max_size,
        extensions=_COMPRESSING if compresses else None,
        logger=_logger,
    )
    fields = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in head.headers
        if name in _ASKED or name.startswith(b"sec-websocket-")
    ]
    answer = protocol.accept(Request(path="/", headers=Headers(fields)))
    if answer.status_code != _SWITCHING:
        raise bad_handshake(str(protocol.handshake_exc))
    return Agreement(
        protocol=protocol,
        accept=answer.headers["Sec-WebSocket-Accept"],
        extensions=answer.headers.get("Sec-WebSocket-Extensions"),
    )


_ASKED: Final = frozenset({b"connection", b"upgrade"})

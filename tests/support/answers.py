"""What a client of exact bytes gets from a blocking socket: a whole answer, or the end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

__all__ = ["REQUEST", "AnswerCut", "read_answer"]

# For a path, without its first slash.
REQUEST: Final = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


class AnswerCut(Exception):  # noqa: N818 - named after what happened
    """The connection ended in the middle of an answer, or before it."""


def read_answer(sock: socket.socket) -> bytes:
    """Read one whole answer, whose body is `hello`, and return it in lower case.

    Raises:
        AnswerCut: it ends too early; the message is what came of it.
    """
    data = b""
    while not data.endswith(b"\r\n\r\nhello"):
        try:
            piece = sock.recv(65536)
        except ConnectionError as error:
            raise AnswerCut(f"{data!r} then {error!r}") from error
        if not piece:
            raise AnswerCut(f"{data!r} then the end")
        data += piece
    return data.lower()

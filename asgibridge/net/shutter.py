"""Keep new clients out of a listening socket's queue, while those in it can still be accepted.

Closing a listener resets whoever the kernel has connected and nobody has accepted yet: to them the
server was there, and lost their request.  So the queue has to be emptied before, and must not fill
again from behind.  A backlog of 0 does not do it: the kernel still queues one, time and again.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Final

__all__ = ["shut"]

# asm-generic/socket.h; the socket module has no name for it.
_SO_ATTACH_FILTER: Final = 26
# Classic BPF on the TCP header: byte 13 holds the flags, SYN is 2 and ACK 16.  A segment that would
# begin a connection is dropped; its client repeats it a second later, and is refused then, or
# reaches the server's successor.  Those whose handshake is under way still come in.
_DROP_SYN: Final = b"".join(
    struct.pack("=HBBI", code, if_true, if_false, value)
    for code, if_true, if_false, value in (
        (0x30, 0, 0, 13),  # ld  byte 13
        (0x54, 0, 0, 0x12),  # and SYN | ACK
        (0x15, 0, 1, 0x02),  # if  SYN alone
        (0x06, 0, 0, 0),  # ret 0: drop
        (0x06, 0, 0, 0xFFFFFFFF),  # ret all of it
    )
)


def shut(sock: socket.socket) -> None:
    """Let nobody else into the queue of *sock*, which must belong to this process alone.

    The next client on Linux gets no answer over TCP, and ECONNREFUSED on a Unix socket; elsewhere
    the queue can still take one client at a time.
    """
    try:
        if sys.platform != "linux":
            sock.listen(0)
        elif sock.family == socket.AF_UNIX:
            sock.shutdown(socket.SHUT_RD)  # unix_stream_connect() looks at that, accept does not
        else:
            program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
            count = len(_DROP_SYN) // 8
            described = struct.pack("@HP", count, ctypes.addressof(program))
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError:  # a kernel without it: as good as it gets
        sock.listen(0)

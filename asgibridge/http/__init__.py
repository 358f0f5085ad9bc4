"""HTTP/1.1 as pure functions of bytes: no loop, socket, clock, thread or log."""

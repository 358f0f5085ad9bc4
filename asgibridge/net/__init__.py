"""Sockets and the loop.  Knows no application."""
